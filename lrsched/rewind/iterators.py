"""Iterators: what was read from them is gone, and named."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Iterator, Sized
from contextlib import suppress
from itertools import count
from typing import Any

from lrsched.rewind.kinds import Child, Kind, is_plain

# Of an iterator that does not tell where it is.
UNKNOWN = "unknown"
OF_PYTHON = ("builtins", "itertools")


def position(part: Any) -> Hashable:
    """Return how far an iterator, or a part of one, has got; `UNKNOWN` if it does not tell."""
    if isinstance(part, tuple):
        return tuple(map(position, part))
    if is_plain(part):
        return repr(part)
    if is_iterator(type(part)):
        return position(_parts(part)) or (repr(part) if isinstance(part, count) else UNKNOWN)
    return len(part) if isinstance(part, Sized) else None


def _parts(iterator: Any) -> tuple[Any, ...]:
    """Return what an iterator is made of, such as what a zip reads from; () if it does not tell.

    Generators do not, nor do those of itertools from Python 3.14 on.
    """
    with warnings.catch_warnings(), suppress(TypeError):
        warnings.simplefilter("ignore", DeprecationWarning)
        return tuple(iterator.__reduce__())
    return ()


def _children(iterator: Any) -> Iterable[Child]:
    """Return what an iterator reads from, also by way of others."""
    pending = [*_parts(iterator)]
    for part in pending:
        if isinstance(part, tuple) or is_iterator(type(part)):
            pending += part if isinstance(part, tuple) else _parts(part)
        elif not (is_plain(part) or isinstance(part, type)):
            yield ".source", part


def is_unknown(where: Hashable) -> bool:
    """Return whether a position does not tell everything."""
    return where == UNKNOWN or (isinstance(where, tuple) and any(map(is_unknown, where)))


def is_iterator(of: type) -> bool:
    """Return whether a type is an iterator of Python itself, such as a zip."""
    return issubclass(of, Iterator) and of.__module__ in OF_PYTHON


ITERATOR = Kind(_children, digest=position)
