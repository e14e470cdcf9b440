"""Ctrl-C, made to wait for the end of something that must not be left half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class deferred_interrupt:  # noqa: N801 - used as a function: `with deferred_interrupt():`
    """What Ctrl-C does, it does at the end of the block.

    Without effect outside of the main thread, and where Ctrl-C runs no Python.
    """

    # Not made of a generator: Ctrl-C at the wrong place would leave that suspended, and what comes
    # after its `yield` would happen when the garbage collector finds it.

    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._ended = self._waiting = False

    def __enter__(self) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._take)

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        # Where another one has come in between, that stays. Should it put this one back later,
        # this one passes on what it gets.
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._take:
            signal.signal(signal.SIGINT, self._handler)
        self._ended = True
        if self._handler is not None and self._waiting:
            self._handler(signal.SIGINT, sys._getframe())

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._ended and self._must_wait(frame):
            self._waiting = True
        elif self._handler is not None:
            self._handler(number, frame)

    def _must_wait(self, frame: FrameType | None) -> bool:
        """Whether Ctrl-C, which came in this frame, waits for the end."""
        return True


class single_interrupt(deferred_interrupt):  # noqa: N801 - used as a function too
    """Ctrl-C ends the block as ever, but the end of the block itself is whole.

    A second one, while the first is on its way out, waits for the end, and so does one that comes
    while the owner's `__exit__` runs.

    Args:
        owner: A context, whose `__enter__` enters this as the last thing that it does, and whose
            `__exit__` leaves it when everything is back.
    """

    def __init__(self, owner: Any) -> None:
        super().__init__()
        self._owner = owner
        self._came = False

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._owner = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._runs("__enter__", frame):
            # Its block will not begin, and nobody leave it.
            self.__exit__()
        super()._take(number, frame)

    def _must_wait(self, frame: FrameType | None) -> bool:
        came, self._came = self._came, True
        # Where nothing is handled, the one before has been caught, or raised nothing.
        leaving = came and sys.exc_info()[1] is not None
        return leaving or self._runs("__exit__", frame)

    def _runs(self, name: str, frame: FrameType | None) -> bool:
        """Whether a method of the owner is at work in this frame or in one that it came from."""
        owner = self._owner
        if owner is None:
            return False
        code = getattr(type(owner), name).__code__
        while frame is not None:
            if frame.f_code is code and frame.f_locals.get("self") is owner:
                return True
            frame = frame.f_back
        return False


class WholeEnd:
    """A context that puts something back at its end, all of it, whatever brings the end about.

    Ctrl-C ends the block; one that comes while `_put_back` is at work, or on the way there, waits
    until that is done.

    Args:
        owner: The context that enters and leaves this one in its own `__enter__` and `__exit__`;
            None where it is used in `with` itself.
    """

    def __init__(self, owner: Any | None = None) -> None:
        self._interrupt = single_interrupt(self if owner is None else owner)

    def __enter__(self) -> Any:
        self._interrupt.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Also where the block has set a handler of its own.
            with deferred_interrupt():
                self._put_back()
        finally:
            self._interrupt.__exit__()

    def _put_back(self) -> None:
        raise NotImplementedError
