"""How the command line ends on bad input: one sentence, and exit code 2."""

from __future__ import annotations

import sys
from typing import NoReturn

BAD_INPUT = 2


def sentence(error: Exception) -> str:
    """What is wrong, on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror}"
    return " ".join(str(error).split())


def fail(error: Exception) -> NoReturn:
    """Print what is wrong, and exit."""
    print(f"error: {sentence(error)}", file=sys.stderr)
    raise SystemExit(BAD_INPUT)
