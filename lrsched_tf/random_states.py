"""The states of generators of random numbers."""

from __future__ import annotations

import random
import zlib
from typing import Any

import numpy as np

from lrsched_tf.modules import is_of


def checksum(array: Any) -> int:
    """CRC of the bytes of an array."""
    array = np.ascontiguousarray(array)
    return zlib.crc32(repr(array).encode() if array.dtype.hasobject else array.view(np.uint8))


def random_state(generator: Any) -> Any:
    """The state of a random number generator; None for anything else."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.BitGenerator):
        return generator.state
    if is_of("torch", "Generator", generator):
        return generator.get_state()
    if is_of("tensorflow", "random.Generator", generator):
        return generator.state.numpy()
    return None


def set_random_state(generator: Any, state: Any) -> None:
    """Put a state from `random_state` back."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.BitGenerator):
        generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.state.assign(state)


def checksum_of_state(state: Any) -> int:
    """CRC of what `random_state` gives."""
    if hasattr(state, "numpy"):
        return checksum(state.numpy())
    if isinstance(state, np.ndarray):
        return checksum(state)
    if isinstance(state, dict):
        state = tuple(state.items())
    if isinstance(state, tuple) and any(
        isinstance(part, (dict, tuple, list, np.ndarray)) for part in state
    ):
        return hash(tuple(map(checksum_of_state, state)))
    return zlib.crc32(repr(state).encode())
