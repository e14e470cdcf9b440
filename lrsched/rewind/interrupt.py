"""Ctrl-C, made to wait for the end of something that must not be left half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


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
