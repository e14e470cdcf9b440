"""A process whose errors and progress are shown, but not the lines that TensorFlow begins with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

# What its libraries say on import, of which TF_CPP_MIN_LOG_LEVEL stops only a part; errors stay.
STARTUP_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    rb"|E\d{4} \d\d:\d\d:.*Unable to register cu"
    rb"|To enable the following instructions:"
)
# Where one may begin that is not complete yet.
STARTUP_BEGIN = re.compile(rb"(WARNING|To ena|[IWE]\d|\d{4}-)")


def run_without_startup_lines(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and pass on what it writes to stderr, less those lines; returns its exit code.

    Args:
        command: The command and its arguments.
        environment: Environment variables of the process, which get the width for tqdm's bars.
    """
    width = str(shutil.get_terminal_size().columns)
    environment = {"TQDM_NCOLS": width, **environment}
    sys.stderr.flush()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None  # as asked for
        held = b""
        while chunk := os.read(process.stderr.fileno(), 65536):
            held = _pass_on(held + chunk)
        _pass_on(held, is_last=True)
    return process.returncode


def _pass_on(text: bytes, *, is_last: bool = False) -> bytes:
    """Write text to stderr, less start-up lines; returns what may be the beginning of one."""
    # A progress bar ends its lines with a return, or not at all.
    *lines, rest = re.split(rb"(?<=[\r\n])", text)
    held = b""
    if STARTUP_BEGIN.match(rest) and not is_last:
        rest, held = b"", rest
    kept = b"".join(line for line in (*lines, rest) if not STARTUP_LINE.match(line))
    sys.stderr.write(kept.decode(errors="replace"))
    sys.stderr.flush()
    return held
