"""Containers: their entries, in their order."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import partial
from operator import is_
from typing import Any

from lrsched.rewind.kinds import Kind, Registry, Restore, is_plain

# What containers are read and refilled by, since a subclass may refuse or do more: the first that
# fits.
BASES: Any = (OrderedDict, dict, list, deque, set)


def children(container: Any) -> list[tuple[str, Any]]:
    """Return the entries that are no plain values, by key or by number."""
    # A copy, since another thread may write to what is read here.
    items = list(container.items() if isinstance(container, dict) else enumerate(container))
    return [(f"[{_label(key)}]", v) for key, v in items if not is_plain(v)]


def _label(key: Any) -> str:
    return repr(key) if is_plain(key) else type(key).__name__


def capture(container: Any) -> Restore:
    """Copy which entries there are; returns what gives the container just these."""
    return partial(refill, container, _entries(container))


def refill(container: Any, content: Any) -> None:
    """Give a container just these entries, by methods that its class cannot refuse."""
    base = _base_of(container)
    if is_same(_entries(container), content):
        return
    base.clear(container)
    if isinstance(content, dict):
        for key, value in content.items():
            base.__setitem__(container, key, value)
    else:
        (base.update if base is set else base.extend)(container, content)


def _entries(container: Any) -> Any:
    """Return the entries in a container of a plain kind: its own copy() may give itself."""
    base = _base_of(container)
    if issubclass(base, dict):
        return dict(base.items(container))
    return (set if base is set else list)(base.__iter__(container))


def _base_of(container: Any) -> Any:
    kind: Any = type(container)
    return kind if kind in BASES else next(base for base in BASES if issubclass(kind, base))


def is_same(entries: Any, others: Any) -> bool:
    """Return whether two containers have the same objects in the same order."""
    if isinstance(entries, set):
        # Those of the same entries may differ in the order in which they are read.
        return bool(entries == others)
    same = len(entries) == len(others) and all(map(is_, entries, others))
    return same and (
        not isinstance(entries, dict) or all(map(is_, entries.values(), others.values()))
    )


CONTAINER = Kind(children, capture=capture, digest=len, entries=len)
# What is in it may change.
FIXED = Kind(children, entries=len)


def add_to(registry: Registry) -> None:
    """Add the kinds of Python's containers."""
    registry.add(CONTAINER, dict, list, deque, set)
    registry.add(FIXED, tuple, frozenset)
