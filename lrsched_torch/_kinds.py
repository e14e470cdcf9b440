"""What kind of thing a value is, as far as holding and hashing it go."""

from __future__ import annotations

import array
import ctypes
import logging
import math
import random
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from multiprocessing.sharedctypes import SynchronizedBase
from types import MemberDescriptorType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
CONTAINERS = (dict, list, deque, set)
GENERATORS = (
    torch.Generator,
    random.Random,
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
)
BUFFERS: Any = (
    *(bytearray, array.array, SynchronizedBase),
    *(ctypes._SimpleCData, ctypes.Array, ctypes.Structure),
)
LOGGING = (logging.Filterer, logging.LoggerAdapter)
# Of a longer attribute only the order is kept, unless its entries are plain: it is data, not state.
MAX_ENTRIES = 1000
# Of a library's own object, only what its attributes hold themselves is told apart.
OPAQUE = (sys.stdlib_module_names - {"argparse", "collections", "types"}) | {
    "accelerate",
    "lightning",
    "pytorch_lightning",
    "torch",
}


class Kind:
    """What is done with a value depends on it alone; strings, since members of an Enum are slow."""

    PLAIN = "plain"  # cannot change
    TENSOR = "tensor"
    ARRAY = "array"
    BUFFER = "buffer"  # memory beside those: bytes that can change
    GENERATOR = "generator"  # of random numbers, with a state that can be read
    CONTAINER = "container"  # can be refilled
    FIXED = "fixed"  # a container that cannot change, though what is in it can
    MAPPING = "mapping"  # that is no dict
    LOGGING = "logging"  # caches its verdicts
    MODULE = "module"  # or an optimizer: holds a state of its own
    LIBRARY = "library"  # a function, a class, and objects of libraries
    OBJECT = "object"


KINDS = {
    Kind.PLAIN: PLAIN,
    Kind.TENSOR: torch.Tensor,
    Kind.ARRAY: np.ndarray,
    Kind.BUFFER: BUFFERS,
    # Cannot be asked for its state.
    Kind.LIBRARY: (random.SystemRandom, type),
    Kind.GENERATOR: GENERATORS,
    Kind.CONTAINER: CONTAINERS,
    Kind.FIXED: (tuple, frozenset),
    Kind.MAPPING: Mapping,
    Kind.LOGGING: LOGGING,
    Kind.MODULE: (nn.Module, Optimizer),
}


SIZED = {
    *(Kind.PLAIN, Kind.TENSOR, Kind.ARRAY, Kind.BUFFER, Kind.GENERATOR),
    *(Kind.CONTAINER, Kind.FIXED),
}


def kind_of(value: Any) -> str:
    """The kind of a value."""
    kind: Any = type(value)
    return _kind_of(kind)


@lru_cache(1024)
def _kind_of(kind: Any) -> str:
    for name, classes in KINDS.items():
        if issubclass(kind, classes):
            return name
    return Kind.LIBRARY if _is_of_library(kind) else Kind.OBJECT


def _is_of_library(kind: Any) -> bool:
    return kind.__module__.partition(".")[0] in OPAQUE


def is_open(value: Any) -> bool:
    """Whether the attributes of an object are held: not those of one that a library made."""
    kind = kind_of(value)
    return kind is Kind.OBJECT or (kind is Kind.MAPPING and not _is_of_library(type(value)))


def entries_of(container: Any) -> Iterable[Any]:
    """The values of a mapping, and what is in any other container."""
    return container.values() if isinstance(container, Mapping) else container


def kinds_in(container: Any) -> set[str]:
    """The kinds of the entries of a container."""
    return {*map(_kind_of, {*map(type, entries_of(container))})}


def is_flat(container: Any) -> bool:
    """Whether all entries are plain, or tuples of what is plain: nothing in them can change."""
    return holds_only(container, {Kind.PLAIN})


def holds_only(container: Any, kinds: set[str]) -> bool:
    """Whether all entries are of some kinds, or tuples of such."""
    entries = entries_of(container)
    types = {*map(type, entries)}
    if types == {tuple}:
        types = {*map(type, chain.from_iterable(entries))}
    return kinds.issuperset(map(_kind_of, types))


def size_of(value: Any) -> float:
    """How many numbers a copy of a value holds.

    Infinite where it cannot be copied whole: in it are objects, or too many entries that are not
    plain.
    """
    match kind_of(value):
        case Kind.PLAIN | Kind.GENERATOR:
            return 1
        case Kind.TENSOR:
            return int(value.numel())
        case Kind.ARRAY:
            return int(value.size)
        case Kind.BUFFER:
            return len(bytes(memory_of(value)))
        case Kind.CONTAINER | Kind.FIXED:
            if is_flat(value):
                return len(value)
            if len(value) <= MAX_ENTRIES and kinds_in(value) <= SIZED:
                return sum(map(size_of, entries_of(value)))
    return math.inf


def memory_of(buffer: Any) -> Any:
    """The memory that a number or array has that processes share, or else the buffer itself."""
    return buffer.get_obj() if isinstance(buffer, SynchronizedBase) else buffer


def attributes_of(value: Any) -> dict[str, Any]:
    """What an object holds, in its dict and in slots."""
    attributes = dict(getattr(value, "__dict__", {}))
    for name, slot in slots_of(value).items():
        with suppress(AttributeError):  # an empty one
            attributes[name] = slot.__get__(value)
    return attributes


def slots_of(value: Any) -> dict[str, Any]:
    """What reads and writes the slots of an object."""
    kind: Any = type(value)
    return _slots_of(kind)


@lru_cache(1024)
def _slots_of(kind: Any) -> dict[str, Any]:
    return {
        name: member
        for base in reversed(kind.__mro__)
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    }
