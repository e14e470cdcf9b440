"""Values of Python and NumPy: containers, arrays, random generators and iterators."""

from __future__ import annotations

import array
import random
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from itertools import count
from operator import is_, length_hint
from typing import Any, NamedTuple

import numpy as np

from lrsched.rewind.kinds import MAX_BYTES, PLAIN, Child, Kind, NotWritableError, Registry, Restore

# What containers are read and refilled by, since a subclass may refuse or do more: the first that
# fits.
BASES: Any = (OrderedDict, dict, list, deque, set)
# The position of an iterator that does not tell it.
UNKNOWN = -1


class Source(NamedTuple):
    """State of the process or the thread that no object leads to: its name, and functions."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


PROCESS = (
    Source("random numbers of Python", random.getstate, random.setstate),
    Source("random numbers of NumPy", np.random.get_state, np.random.set_state),
)


def children(container: Any) -> list[Child]:
    """Return the entries that are no plain values, by key or by number."""
    # A copy, since another thread may write to what is read here.
    items = list(container.items() if isinstance(container, dict) else enumerate(container))
    return [
        # True, as everything in a small container is small enough.
        (f"[{key!r}]" if isinstance(key, PLAIN) else f"[{type(key).__name__}]", value, True)
        for key, value in items
        if not issubclass(type(value), PLAIN)
    ]


def capture_container(container: Any) -> Restore:
    """Copy which entries there are; returns what gives the container just these."""
    of: Any = type(container)
    base = next(base for base in BASES if issubclass(of, base))
    content = _entries(container, base)

    def restore() -> None:
        if is_same(_entries(container, base), content):
            return
        base.clear(container)
        if isinstance(content, dict):
            for key, value in content.items():
                base.__setitem__(container, key, value)
        else:
            (base.update if base is set else base.extend)(container, content)

    return restore


def _entries(container: Any, base: Any) -> Any:
    """Return the entries in a container of a plain kind: its own copy() may give itself."""
    if issubclass(base, dict):
        return dict(base.items(container))
    return (set if base is set else list)(base.__iter__(container))


def is_same(entries: Any, others: Any) -> bool:
    """Return whether two containers have the same objects in the same order."""
    if isinstance(entries, set):
        # Those of the same entries may differ in the order in which they are read.
        return bool(entries == others)
    same = len(entries) == len(others) and all(map(is_, entries, others))
    return same and (
        not isinstance(entries, dict) or all(map(is_, entries.values(), others.values()))
    )


def _capture_array(values: Any) -> Restore:
    if not values.flags.writeable:
        raise NotWritableError("an array that is read-only")
    return partial(np.copyto, values, values.copy())


def _digest_array(values: Any) -> Hashable:
    """Return the shape of an array, and of a small one a CRC of the elements."""
    return tuple(values.shape) if values.nbytes > MAX_BYTES else zlib.crc32(values.tobytes())


def _capture_bits(generator: Any) -> Restore:
    bits = getattr(generator, "bit_generator", generator)
    return partial(setattr, bits, "state", bits.state)


def capture_state(generator: Any) -> Restore:
    """Capture what `get_state` returns; returns what sets it."""
    return partial(generator.set_state, generator.get_state())


def is_iterator(of: type) -> bool:
    """Return whether a type is an iterator of Python itself, such as a zip."""
    return issubclass(of, Iterator) and of.__module__ in ("builtins", "itertools")


def _position(iterator: Any) -> Hashable:
    """Return how far an iterator has got; `UNKNOWN` if it does not tell."""
    return repr(iterator) if isinstance(iterator, count) else length_hint(iterator, UNKNOWN)


ITERATOR = Kind(digest=_position)


def add_to(registry: Registry) -> None:
    """Add the kinds of containers, arrays and generators."""
    container = Kind(children, capture=capture_container, digest=len, entries=len)
    registry.add(container, dict, list, deque, set)
    # What is in it may change.
    registry.add(Kind(children, entries=len), tuple, frozenset)
    of_numpy = Kind(capture=_capture_array, digest=_digest_array, size=lambda array: array.nbytes)
    registry.add(of_numpy, np.ndarray)
    buffer = Kind(
        capture=lambda b: partial(b.__setitem__, slice(None), b[:]),
        digest=len,
        size=lambda b: memoryview(b).nbytes,
    )
    registry.add(buffer, bytearray, array.array)
    python = Kind(capture=lambda g: partial(g.setstate, g.getstate()), draws=True)
    registry.add(python, random.Random)
    # Cannot be asked for its state.
    registry.add(Kind(), random.SystemRandom)
    registry.add(Kind(capture=capture_state, draws=True), np.random.RandomState)
    bits = Kind(capture=_capture_bits, draws=True)
    registry.add(bits, np.random.Generator, np.random.BitGenerator)
