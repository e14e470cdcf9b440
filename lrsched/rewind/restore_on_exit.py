"""The end of a trial, which restores everything whatever brings the end about."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any, Protocol

from lrsched._warn import warn_user


class DeferredInterrupt:
    """Context manager that has Ctrl-C wait for the end of its block.

    Without effect outside of the main thread, and where Ctrl-C runs no Python. Not made of a
    generator: Ctrl-C at the wrong place would leave that suspended.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._waiting = False

    def __enter__(self) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._waiting = True

    def __exit__(self, *error: object) -> None:
        # Where another handler has come in between, that stays.
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._take:
            signal.signal(signal.SIGINT, self._handler)
        if self._waiting:
            signal.raise_signal(signal.SIGINT)


class Restorable(Protocol):
    """What can be restored, such as a snapshot."""

    def restore(self) -> None: ...
    def differences(self) -> list[str]: ...
    def notes(self) -> list[str]:
        """Return nothing."""
        return []


AT_ONCE = (
    "another range test runs in another thread: both draw from the same random generators, so "
    "that neither curve is what it would be alone, and the generators end elsewhere"
)
# The trials that run, with their threads.
_running: list[tuple[RestoreOnExit, int]] = []


class RestoreOnExit:
    """Context manager that restores snapshots at its end, and warns of what could not be.

    Ctrl-C while it does so waits until everything is restored. Warns of trials in other threads.

    Args:
        parts: Restored in the reverse order.
        remedy: Added to the warning.

    Attributes:
        parts: May grow.
        notes: At the end, what the reader of the curve should know.
    """

    def __init__(self, *parts: Restorable, remedy: str = "") -> None:
        self.parts, self._remedy = [*parts], remedy
        self.notes: list[str] = []

    def __enter__(self) -> RestoreOnExit:
        thread = threading.get_ident()
        others = [trial for trial, at in [*_running] if at != thread]
        _running.append((self, thread))
        if others:
            for trial in (self, *others):
                trial.notes.append(AT_ONCE)
            warn_user(f"{AT_ONCE} (run one after the other, or in processes)")
        return self

    def __exit__(self, *error: object) -> None:
        _running[:] = [entry for entry in _running if entry[0] is not self]
        # Not kept, for the copies in them.
        parts, self.parts = self.parts, []
        with DeferredInterrupt(), ExitStack() as end:
            for part in parts:
                end.callback(part.restore)
        left = dict.fromkeys(path for part in parts for path in part.differences())
        self.notes += dict.fromkeys(note for part in parts for note in part.notes())
        if left:
            text = f"The range test could not put back: {', '.join(left)}."
            self.notes.append(text)
            warn_user(text + self._remedy)
