"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

SKIPPED = ("lrsched_torch", "contextlib")


def warn(text: str) -> None:
    """Warn at the call or the `with` that has led here, also if by way of an ExitStack.

    Counted by hand, since Python can leave out files from 3.12 on only.
    """
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in SKIPPED:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
