"""Random number generators: objects, and the global ones of the process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lrsched.rewind.kinds import Child, Kind, Registry, Restore


class Source(NamedTuple):
    """State of the process or the thread that no object leads to.

    Attributes:
        name: What messages call it.
        read: Returns the present state.
        write: Sets a state that `read` has returned.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


PROCESS = (
    Source("random numbers of Python", random.getstate, random.setstate),
    Source("random numbers of NumPy", np.random.get_state, np.random.set_state),
)


def _capture_python(generator: random.Random) -> Restore:
    return partial(generator.setstate, generator.getstate())


def _capture_bits(bits: Any) -> Restore:
    return partial(setattr, bits, "state", bits.state)


def capture_state(generator: Any) -> Restore:
    """Capture what `get_state` returns; returns what sets it."""
    return partial(generator.set_state, generator.get_state())


def _capture_numpy(generator: Any) -> Restore:
    return _capture_bits(generator.bit_generator)


def _seeds(generator: Any) -> Iterable[Child]:
    """Return what others are spawned from; before NumPy 1.25, nothing is."""
    bits = getattr(generator, "bit_generator", generator)
    return [(".seed_seq", getattr(bits, "seed_seq", None))]


def add_to(registry: Registry) -> None:
    """Add the kinds of the generators of Python and NumPy."""
    registry.add(Kind(capture=_capture_python, draws=True), random.Random)
    registry.add(Kind(capture=capture_state, draws=True), np.random.RandomState)
    registry.add(Kind(_seeds, capture=_capture_numpy, draws=True), np.random.Generator)
    registry.add(Kind(_seeds, capture=_capture_bits, draws=True), np.random.BitGenerator)
    # How many were spawned cannot be written.
    spawned = Kind(digest=lambda seeds: seeds.n_children_spawned)
    registry.add(spawned, np.random.SeedSequence)
    # Cannot be asked for its state.
    registry.add(Kind(), random.SystemRandom)
