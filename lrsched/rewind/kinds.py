"""What a snapshot does with the values of a type: the record of it, and where to look it up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

Restore = Callable[[], object]
# The way from a value to one that it leads to, that value, and whether that is state of any size.
Child = tuple[str, Any] | tuple[str, Any, bool]

PLAIN = (bool, int, float, complex, str, bytes, type(None))
# Larger values are data rather than state: the entries of a container, with those of the containers
# in it, and the bytes of an array, or of all arrays in a container.
MAX_ENTRIES = 10_000
MAX_BYTES = 2**24
# How many types a registry remembers.
MAX_TYPES = 4096


class NotWritableError(Exception):
    """A value has no content that could be written back in place; raised by a `capture`."""


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
        draws: Is a random generator.
        suspend: Sets aside what is under way, and returns a function that resumes it.
    """

    children: Callable[[Any], Iterable[Child]] = lambda value: ()
    attributes: Callable[[Any], dict[str, Any]] | None = None
    capture: Callable[[Any], Restore] | None = None
    digest: Callable[[Any], Hashable] | None = None
    entries: Callable[[Any], int] | None = None
    size: Callable[[Any], int] | None = None
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
        """Add the kind of some types, and of those derived from them.

        Args:
            kind: What to do with values of the types.
            types: Classes, or the names of classes of a module that may never be imported, with a
                colon between: "torch:Generator".
        """
        self._entries += [(of, kind) for of in types]
        self._of_type.cache_clear()

    def of(self, value: Any) -> Kind | None:
        """Return the kind of a value; None where it is left alone."""
        # A proxy is not asked for its class.
        of: Any = type(value)
        return None if issubclass(of, PLAIN) else self._of_type(of)

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


def is_a(value: Any, *known: type | str) -> bool:
    """Return whether a value is an instance of a class, or of one by its name."""
    of: Any = type(value)
    return any(derives(of, one) for one in known)
