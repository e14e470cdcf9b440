"""A snapshot of everything that some objects lead to, and what restores it in place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from lrsched.rewind.generators import Source
from lrsched.rewind.iterators import is_unknown
from lrsched.rewind.kinds import (
    Access,
    Child,
    Kind,
    Limits,
    NotWritableError,
    Registry,
    Restore,
    is_plain,
)
from lrsched.rewind.objects import is_training_loop, restore_attributes

LIMITS = Limits()
# Bytes of an entry of a container, whose order is captured also where it is data.
ENTRY = 8


class Node(NamedTuple):
    """A value that a walk has come to.

    Attributes:
        path: The way to it, as in "model.table['seen']".
        value: The value.
        kind: What is done with values of its type.
        attributes: Those of its attributes that are state, or None.
        captured: Whether its content may be captured; else it is only watched.
    """

    path: str
    value: Any
    kind: Kind
    attributes: dict[str, Any] | None
    captured: bool


class Watched(NamedTuple):
    """A value that is not captured, with what tells whether it has changed."""

    path: str
    value: Any
    digest: Callable[[Any], Hashable]
    before: Hashable

    def has_changed(self) -> bool:
        return self.digest(self.value) != self.before


def walk(roots: Iterable[Child], registry: Registry, limits: Limits = LIMITS) -> Iterator[Node]:
    """Yield everything that some objects lead to, each value once.

    Args:
        roots: Objects with their names.
        registry: Says what a value leads to.
        limits: Larger containers and arrays are data, and not opened.
    """
    queue = deque[Child](roots)
    # The values too, whose ids must not become those of others.
    seen: dict[int, tuple[Any, Access]] = {}
    while queue:
        path, value, *given = queue.popleft()
        access = given[0] if given else Access.LIMITED
        kind = None if is_plain(value) else registry.of(value)
        if kind is None:
            continue
        is_variable = kind.entries is not None or kind.size is not None
        known = seen.get(id(value))
        if known is not None and (known[1] >= access or not is_variable):
            continue
        seen[id(value)] = value, access
        captured = opened = True
        if is_variable and access is not Access.WHOLE:
            captured, opened = _permitted(value, kind, access, registry, limits)
        attributes = None if kind.attributes is None else dict(kind.attributes(value))
        if attributes and kind.counts and is_training_loop(attributes):
            # What decides about the batches, and none of its notes.
            queue += (part for part in _parts(path, attributes) if _draws(registry, part[1]))
            continue
        if captured or access is not Access.PASSED:
            yield Node(path, value, kind, attributes, captured)
        if opened:
            inherited = [] if kind.entries is None else [_inherited(access)]
            queue += [
                (path + label, child, *(own or inherited))
                for label, child, *own in kind.children(value)
            ]
        if attributes is not None:
            queue += _parts(path, attributes)
            queue.append((f"{path}.__class__", type(value)))


def _parts(path: str, attributes: dict[str, Any]) -> Iterator[Child]:
    for name, part in attributes.items():
        if not is_plain(part):
            yield f"{path}.{name}", part


def _draws(registry: Registry, value: Any) -> bool:
    kind = registry.of(value)
    return kind is not None and kind.draws


def _inherited(access: Access) -> Access:
    """Return the access to what is in a container: of a small one, everything is small enough."""
    return access if access is Access.PASSED else Access.WHOLE


def _permitted(
    value: Any, kind: Kind, access: Access, registry: Registry, limits: Limits
) -> tuple[bool, bool]:
    """Return whether a container or an array may be captured, and whether it may be opened."""
    if access is Access.PASSED:
        return False, kind.entries is not None and kind.entries(value) <= limits.entries
    if kind.entries is not None:
        length = kind.entries(value)
        return length * ENTRY <= limits.bytes, is_small(value, registry, limits)
    small = kind.size is None or kind.size(value) <= limits.bytes
    return small, True


def is_small(container: Any, registry: Registry, limits: Limits) -> bool:
    """Return whether a container is state rather than data, with all that is in it."""
    entries, size, pending, seen = 0, 0, [container], set[int]()
    for value in pending:
        kind = None if is_plain(value) else registry.of(value)
        if kind is None or id(value) in seen:
            continue
        seen.add(id(value))
        if kind.entries is not None:
            entries += kind.entries(value)
        elif kind.size is not None:
            size += kind.size(value)
        if entries > limits.entries or size > limits.bytes:
            return False
        if kind.entries is not None:
            pending += [child for _, child, *_ in kind.children(value)]
        if kind.counts and kind.attributes is not None:
            pending += kind.attributes(value).values()
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
        limits: Larger containers and arrays are data, of which only the length is watched.
    """

    def __init__(
        self,
        roots: Iterable[Child],
        registry: Registry,
        *,
        sources: Iterable[Source] = (),
        verify: bool = True,
        limits: Limits = LIMITS,
    ) -> None:
        # The first, since to capture a state may draw from them.
        self._sources = [(s.name, partial(s.write, s.read())) for s in sources]
        self._restores: list[tuple[str, Restore]] = []
        self._watched: list[Watched] = []
        self._suspendable: list[tuple[str, Any, Callable[[Any], Restore]]] = []
        self._resumes: list[tuple[str, Restore]] = []
        self._failed: list[str] = []
        self._values: dict[int, Any] = {}
        for node in walk(roots, registry, limits):
            self._values[id(node.value)] = node.value
            if node.kind.suspend is not None:
                self._suspendable.append((node.path, node.value, node.kind.suspend))
            if not self._capture(node) and verify:
                self._watch(node)

    def _capture(self, node: Node) -> bool:
        """Capture the content of a value, if that is possible, and its attributes."""
        path, value, kind, attributes, permitted = node
        done = False
        if kind.capture is not None and permitted:
            with suppress(NotWritableError):
                self._restores.append((path, kind.capture(value)))
                done = True
        if attributes is not None and kind.attributes is not None:
            restore = partial(restore_attributes, value, kind.attributes, attributes)
            self._restores.append((path, restore))
        return done

    def _watch(self, node: Node) -> None:
        if node.kind.digest is not None:
            before = node.kind.digest(node.value)
            self._watched.append(Watched(node.path, node.value, node.kind.digest, before))

    def values(self) -> Iterable[Any]:
        """Return everything that the walk has come to."""
        return self._values.values()

    def __contains__(self, value: object) -> bool:
        """Return whether the walk has come to an object."""
        return id(value) in self._values

    def suspend(self) -> None:
        """Set aside what is under way, such as epochs of loaders, until `restore`."""
        if not self._resumes:
            self._resumes = [(path, suspend(value)) for path, value, suspend in self._suspendable]

    def resume(self) -> None:
        """Resume what was set aside."""
        resumes, self._resumes = self._resumes, []
        self._run(resumes)

    def restore(self, *, sources: bool = True) -> None:
        """Restore everything, whatever part of it fails; may be called again.

        Args:
            sources: The state of the process too; False lets that go on from where it is.
        """
        self._failed = []
        self.resume()
        self._run(self._restores)
        if sources:
            self.restore_sources()

    def restore_sources(self) -> None:
        """Restore the state of the process."""
        self._run(self._sources)

    def _run(self, restores: Sequence[tuple[str, Restore]]) -> None:
        for path, restore in restores:
            try:
                restore()
            except Exception:
                self._failed.append(path)

    def differences(self) -> list[str]:
        """Return the paths of what could not be restored, or has changed and cannot be."""
        changed = [watched.path for watched in self._watched if watched.has_changed()]
        return list(dict.fromkeys((*self._failed, *changed)))

    def notes(self) -> list[str]:
        """Return sentences on what may have changed and does not tell."""
        unknown = (watched.path for watched in self._watched if is_unknown(watched.before))
        return [f"{path} is an iterator: what was read from it is gone." for path in unknown]
