"""A snapshot of everything that some objects lead to, and what restores it in place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from lrsched.rewind.kinds import (
    MAX_BYTES,
    MAX_ENTRIES,
    Child,
    Kind,
    NotWritableError,
    Registry,
    Restore,
)
from lrsched.rewind.objects import attributes_of, restore_attributes
from lrsched.rewind.values import UNKNOWN, Source

# Entries of a container whose order is restored also where it is data.
MAX_ORDERED = 2**21

# The path of a value, as in "model.table['seen']", the value, its kind, those of its attributes
# that are state, and whether its content may be captured; else it is only watched.
Node = tuple[str, Any, Kind, dict[str, Any] | None, bool]


def walk(roots: Iterable[Child], registry: Registry) -> Iterator[Node]:
    """Yield everything that some objects lead to, each value once.

    Args:
        roots: Objects with their names.
        registry: Says what a value leads to.
    """
    queue = deque[Child](roots)
    # The values too, whose ids must not become those of others, and whether of any size.
    seen: dict[int, tuple[Any, bool]] = {}
    while queue:
        path, value, *given = queue.popleft()
        kind, whole = registry.of(value), any(given)
        if kind is None:
            continue
        known = seen.get(id(value))
        sized = kind.entries is not None or kind.size is not None
        if known is not None and (known[1] >= whole or not sized):
            continue
        seen[id(value)] = value, whole
        captured = opened = True
        if kind.entries is not None and not whole:
            opened = is_small(value, registry)
            captured = opened or kind.entries(value) <= MAX_ORDERED
        elif kind.size is not None and not whole:
            captured = kind.size(value) <= MAX_BYTES
        attributes = None if kind.attributes is None else dict(kind.attributes(value))
        yield path, value, kind, attributes, captured
        if opened:
            queue += [(path + label, *child) for label, *child in kind.children(value)]
        if attributes is not None:
            queue += [(f"{path}.{name}", part) for name, part in attributes.items()]
            queue.append((f"{path}.__class__", type(value)))


def is_small(container: Any, registry: Registry) -> bool:
    """Return whether a container is state rather than data, with all that is in it."""
    entries, size, pending, seen = 0, 0, [container], set[int]()
    for value in pending:
        kind = registry.of(value)
        if kind is None or id(value) in seen:
            continue
        seen.add(id(value))
        if kind.entries is not None:
            entries += kind.entries(value)
        elif kind.size is not None:
            size += kind.size(value)
        if entries > MAX_ENTRIES or size > MAX_BYTES:
            return False
        if kind.entries is not None:
            pending += [child for _, child, *_ in kind.children(value)]
        if kind.attributes is attributes_of:  # and not a model, say
            pending += attributes_of(value).values()
    return True


class Snapshot:
    """State of everything that some objects lead to, at construction.

    Made before a trial by the range tests, which call `restore` after it. Values are written back
    in place, so who refers to them, and compiled functions, see them as before.

    Args:
        roots: Objects with their names.
        registry: Says what to do with a value.
        sources: State of the process, restored after everything else.
        verify: Digest what is not captured, so that `differences` can tell whether it has changed.
    """

    def __init__(
        self,
        roots: Iterable[Child],
        registry: Registry,
        *,
        sources: Iterable[Source] = (),
        verify: bool = True,
    ) -> None:
        # The first, since to capture a state may draw from them.
        self._sources = [(s.name, partial(s.write, s.read())) for s in sources]
        self._restores: list[tuple[str, Restore]] = []
        # What tells whether a value has changed, and what that said before.
        self._watched: list[tuple[str, Callable[[], Hashable], Hashable]] = []
        self._suspendable: list[tuple[str, Callable[[], Restore]]] = []
        self._resumes: list[tuple[str, Restore]] = []
        self._failed: list[str] = []
        self._values: dict[int, Any] = {}
        for path, value, kind, attributes, captured in walk(roots, registry):
            self._values[id(value)] = value
            if kind.suspend is not None:
                self._suspendable.append((path, partial(kind.suspend, value)))
            done = False
            if captured and kind.capture is not None:
                with suppress(NotWritableError):
                    self._restores.append((path, kind.capture(value)))
                    done = True
            if attributes is not None and kind.attributes is not None:
                restore = partial(restore_attributes, value, kind.attributes, attributes)
                self._restores.append((path, restore))
            if verify and not done and kind.digest is not None:
                digest = partial(kind.digest, value)
                self._watched.append((path, digest, digest()))

    def values(self) -> Iterable[Any]:
        """Return everything that the walk has come to."""
        return self._values.values()

    def __contains__(self, value: object) -> bool:
        """Return whether the walk has come to an object."""
        return id(value) in self._values

    def suspend(self) -> None:
        """Set aside what is under way, such as epochs of loaders, until `restore`."""
        if not self._resumes:
            self._resumes = [(path, suspend()) for path, suspend in self._suspendable]

    def restore(self, *, sources: bool = True) -> None:
        """Restore everything, whatever part of it fails; may be called again.

        Args:
            sources: The state of the process too; False lets that go on from where it is.
        """
        self._failed = []
        resumes, self._resumes = self._resumes, []
        self._run(resumes)
        self._run(self._restores)
        if sources:
            self._run(self._sources)

    def _run(self, restores: Sequence[tuple[str, Restore]]) -> None:
        for path, restore in restores:
            try:
                restore()
            except Exception:
                self._failed.append(path)

    def differences(self) -> list[str]:
        """Return the paths of what could not be restored, or has changed and cannot be."""
        changed = (path for path, digest, before in self._watched if digest() != before)
        return list(dict.fromkeys((*self._failed, *changed)))

    def notes(self) -> list[str]:
        """Return sentences on what may have changed and does not tell."""
        unknown = (path for path, _, before in self._watched if before == UNKNOWN)
        return [f"{path} is an iterator: what was read from it is gone." for path in unknown]
