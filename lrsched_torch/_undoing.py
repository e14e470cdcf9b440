"""The end of a range test, which puts everything back whatever brings it about."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from lrsched.rewind.interrupt import WholeEnd
from lrsched_torch._batches import Batches
from lrsched_torch._warning import warn
from lrsched_torch.finder.unknown_optimizers import UnknownOptimizers
from lrsched_torch.snapshot import Snapshot


class Undoing(WholeEnd):
    """Puts everything back at the end of its block, and warns of what it could not.

    Args:
        snapshot: The state of before.
        sources: What else is begun and put back, in the order of its beginning; may grow.
        owner: As for `WholeEnd`.

    Attributes:
        notes: At the end, what the reader of the curve should know.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        sources: Sequence[Batches | UnknownOptimizers],
        owner: Any | None = None,
    ) -> None:
        super().__init__(owner)
        self._snapshot, self._sources = snapshot, sources
        self._left: list[str] = []
        self.notes: list[str] = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        parts = (*self._sources, self._snapshot)
        self.notes += [note for part in parts for note in part.notes()]
        if self._left:
            text = f"The range test could not put back: {', '.join(dict.fromkeys(self._left))}."
            self.notes.append(text)
            warn(f"{text} (pass what keeps it in stateful=[...])")

    def _put_back(self) -> None:
        with ExitStack() as end:
            end.callback(self._snapshot.restore)
            # The last first: two of the same loader were begun in different states.
            for source in self._sources:
                end.callback(self._put_back_source, source)
        self._left += self._snapshot.remains()
        partly = self._snapshot.partly_checked()
        if partly:
            self.notes.append(f"Too large to be put back and checked whole: {', '.join(partly)}.")

    def _put_back_source(self, source: Batches | UnknownOptimizers) -> None:
        source.restore()
        self._left += source.remains()
