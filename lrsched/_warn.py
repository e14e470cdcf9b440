"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

# Between the user's call and a warning; of wrappers, contextlib's.
PASSED_OVER = frozenset(
    {"lrsched", "lrsched_tf", "lrsched_torch", "contextlib", "keras", "tensorflow", "torch"}
)


def warn_user(message: str) -> None:
    """Warn at the line outside of this distribution and the frameworks that led here.

    Counted by hand, since Python can leave out files from 3.12 on only.
    """
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in PASSED_OVER:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
