"""Shared by all tests: the root of the repository, and how hard hypothesis tries."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).parents[1]

# Before a framework is imported, here or in a process that tests start: models of a few neurons
# train several times as fast on one thread, most of all while other processes use the cores.
for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")

# A process started in the background may ignore Ctrl-C, which some tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Shared machines stall; an example's time says nothing about its truth.
settings.register_profile(
    "lrsched", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
# In CI always the same examples: a new find belongs to the desk of whoever can mend it.
settings.register_profile("ci", settings.get_profile("lrsched"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "lrsched")


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO
