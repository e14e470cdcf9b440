"""The frameworks that can train: each in a process of its own, since the core imports none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from lrsched._startup_lines import run_without_startup_lines

# More threads cost more than they bring on images this small, most of all on a busy machine.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


class Framework(NamedTuple):
    """Its title, the module that trains with it, and the extra that installs it."""

    title: str
    module: str
    extra: str


# By the name that it is imported by.
FRAMEWORKS = {
    "torch": Framework("PyTorch", "lrsched_torch.experiments", "torch"),
    "keras": Framework("Keras", "lrsched_tf.experiments", "tf"),
}


def run_part(framework: str, arguments: Mapping[str, Any]) -> int:
    """Run one framework's part, which shows its progress; returns the exit code of its process."""
    command = [sys.executable, "-m", FRAMEWORKS[framework].module, json.dumps(arguments)]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **ONE_THREAD, **os.environ}
    return run_without_startup_lines(command, environment)
