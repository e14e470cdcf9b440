"""Python's call stack: what is running now, and the line of the user's that led here."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Iterator
from types import FrameType

# Between the user's call and what happens here; of wrappers, contextlib's.
PASSED_OVER = frozenset({"lrsched", "lrsched_tf", "keras", "contextlib", "tensorflow", "torch"})


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def running_fit() -> FrameType | None:
    """The innermost `fit` that is being run here."""
    return next((f for f in outwards(sys._getframe(1)) if f.f_code.co_name == "fit"), None)


def warn_user(message: str) -> None:
    """Warn at the line outside of this package and of Keras that led here."""
    names = (frame.f_globals.get("__name__", "") for frame in outwards(sys._getframe(0)))
    passed = itertools.takewhile(lambda name: name.partition(".")[0] in PASSED_OVER, names)
    warnings.warn(message, UserWarning, stacklevel=1 + len(list(passed)))
