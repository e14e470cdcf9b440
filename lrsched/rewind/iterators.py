"""Iterators: what was read from them is gone, and named."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Hashable, Iterator, Sized
from types import GeneratorType
from typing import Any

from lrsched.rewind.kinds import PLAIN, Kind

# Of an iterator that does not tell where it is.
UNKNOWN = "unknown"
OF_PYTHON = ("builtins", itertools.__name__)


def position(part: Any) -> Hashable:
    """Return how far an iterator, or what it is pickled as, has got; `UNKNOWN` if it won't say."""
    if isinstance(part, tuple):
        return tuple(map(position, part))
    if isinstance(part, PLAIN):
        return part
    if isinstance(part, GeneratorType):
        return UNKNOWN
    if is_iterator(type(part)):
        try:
            with warnings.catch_warnings():
                # Python 3.14 does without, and only some of itertools then say where they are.
                warnings.simplefilter("ignore", DeprecationWarning)
                return position(part.__reduce__())
        except TypeError:
            return repr(part) if isinstance(part, itertools.count) else UNKNOWN
    return len(part) if isinstance(part, Sized) else None


def is_unknown(where: Hashable) -> bool:
    """Return whether a position does not tell everything."""
    return where == UNKNOWN or (isinstance(where, tuple) and any(map(is_unknown, where)))


def is_iterator(of: type) -> bool:
    """Return whether a type is an iterator of Python itself, such as a zip."""
    return issubclass(of, Iterator) and of.__module__ in OF_PYTHON


ITERATOR = Kind(digest=position)
