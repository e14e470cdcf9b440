"""The end of a range test, which puts everything back whatever brings it about."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lrsched._interrupt import deferred_interrupt, single_interrupt
from lrsched_torch._batches import Batches
from lrsched_torch._strangers import Strangers
from lrsched_torch._warning import warn
from lrsched_torch.snapshot import Snapshot

if TYPE_CHECKING:
    from typing_extensions import Self


class Undoing:
    """Puts everything back at the end of its block, and warns of what it could not.

    Ctrl-C ends the block; one that comes while everything is put back, or on the way there, waits
    until that is done.

    Args:
        snapshot: The state of before.
        sources: What else is begun and put back, in the order of its beginning; may grow.
        owner: The context that enters and leaves this one in its own `__enter__` and `__exit__`;
            None where it is used in `with` itself.

    Attributes:
        notes: At the end, what the reader of the curve should know.
    """

    def __init__(
        self, snapshot: Snapshot, sources: Sequence[Batches | Strangers], owner: Any | None = None
    ) -> None:
        self._snapshot, self._sources = snapshot, sources
        self._interrupt = single_interrupt(self if owner is None else owner)
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        self._interrupt.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left: list[str] = []
        try:
            # Also for a loop that has set a handler of its own.
            with deferred_interrupt():
                self._put_back(left)
        finally:
            self._interrupt.__exit__()
        parts = (*self._sources, self._snapshot)
        self.notes += [note for part in parts for note in part.notes()]
        if left:
            text = f"The range test could not put back: {', '.join(dict.fromkeys(left))}."
            self.notes.append(text)
            warn(f"{text} (pass what keeps it in stateful=[...])")

    def _put_back(self, left: list[str]) -> None:
        with ExitStack() as end:
            end.callback(self._snapshot.restore)
            # The last first: two of the same loader were begun in different states.
            for source in self._sources:
                end.callback(_put_back_source, source, left)
        left += self._snapshot.remains()
        partly = self._snapshot.partly_checked()
        if partly:
            self.notes.append(f"Too large to be put back and checked whole: {', '.join(partly)}.")


def _put_back_source(source: Batches | Strangers, left: list[str]) -> None:
    source.restore()
    left += source.remains()
