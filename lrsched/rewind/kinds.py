"""What a snapshot does with the values of a type: the record of it, and where to look it up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

Restore = Callable[[], object]
# The way from a value to one that it leads to, that value, and where it matters, the access to it.
Child = tuple[str, Any] | tuple[str, Any, "Access"]

PLAIN = (bool, int, float, complex, str, bytes, type(None))
# How many types a registry remembers.
MAX_TYPES = 4096


class NotWritableError(Exception):
    """A value has no content that could be written back in place; raised by a `capture`."""


class Access(IntEnum):
    """What may be done with a value, by the way that a walk has come to it.

    Attributes:
        PASSED: A variable of the code around, where a user notes what he sees: only what it leads
            to is restored.
        LIMITED: Restored if it is small enough to be state rather than data.
        WHOLE: Restored whatever its size.
    """

    PASSED = 0
    LIMITED = 1
    WHOLE = 2


class Limits(NamedTuple):
    """How large state may be; of what is larger, only the length is watched.

    Attributes:
        entries: Of a container, with those of the containers in it.
        bytes: Of an array, or of all arrays in a container.
    """

    entries: int = 10_000
    bytes: int = 2**24


def no_children(value: Any) -> Iterable[Child]:
    """Return no children."""
    return ()


@dataclass(frozen=True)
class Kind:
    """What a snapshot does with values of some types; each function looks at one value alone.

    Attributes:
        children: The values that one leads to, beside its attributes.
        attributes: Reads those attributes of an object that are state; None leaves them alone.
        capture: Copies the content and returns a function that writes it back in place; None where
            nothing can be written, or nothing changes. Raises NotWritableError where that goes for
            one value; any other error is the user's, before anything has changed.
        digest: What tells whether a value that is not captured has changed, in short; None where
            that is not looked at.
        entries: Counts the entries of a container.
        size: Counts the bytes of an array.
        counts: What its attributes hold counts to the size of a container that it is in.
        draws: Decides which batches come next, so that it is state even in a training loop.
        suspend: Sets aside what is under way, and returns a function that resumes it.
    """

    children: Callable[[Any], Iterable[Child]] = no_children
    attributes: Callable[[Any], dict[str, Any]] | None = None
    capture: Callable[[Any], Restore] | None = None
    digest: Callable[[Any], Hashable] | None = None
    entries: Callable[[Any], int] | None = None
    size: Callable[[Any], int] | None = None
    counts: bool = False
    draws: bool = False
    suspend: Callable[[Any], Restore] | None = None


class Registry:
    """Kinds by type; of several that fit, the one that was added last counts.

    Args:
        default: Gives the kind of a type for which there is none, or with the one that there is,
            what is made of it; None leaves values of the type alone.
    """

    def __init__(self, default: Callable[[type, Kind | None], Kind | None]) -> None:
        self._entries: list[tuple[type | str, Kind]] = []
        self._default = default
        self._of_type = lru_cache(MAX_TYPES)(self._search)

    def add(self, kind: Kind, *types: type | str) -> None:
        """Add the kind of some types.

        Args:
            kind: What to do with values of the types, and of those derived from them.
            types: Classes, or the names of classes of a module that may never be imported, with a
                colon between: "torch:Generator".
        """
        self._entries += [(of, kind) for of in types]
        self._of_type.cache_clear()

    def of(self, value: Any) -> Kind | None:
        """Return the kind of a value; None where it is left alone."""
        of: Any = type(value)
        return self._of_type(of)

    def _search(self, of: Any) -> Kind | None:
        kinds = (kind for known, kind in reversed(self._entries) if derives(of, known))
        return self._default(of, next(kinds, None))


@lru_cache(MAX_TYPES)
def derives(of: Any, known: Any) -> bool:
    """Return whether a type is a class, or one by the name of it, or derived from that."""
    if isinstance(known, str):
        module, _, name = known.partition(":")
        if module not in sys.modules:
            return False
        known = attrgetter(name)(sys.modules[module])
    return issubclass(of, known)


def is_plain(value: Any) -> bool:
    """Return whether a value is one that cannot change; a proxy is not asked for its class."""
    of: Any = type(value)
    return issubclass(of, PLAIN)


def is_a(value: Any, *known: type | str) -> bool:
    """Return whether a value is an instance of a class, or of one by its name."""
    of: Any = type(value)
    return any(derives(of, one) for one in known)
