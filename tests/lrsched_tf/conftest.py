"""Keras fixes its backend on import, so tests that import it run in a process per backend.

These processes start with the first of all tests and run beside the others.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import pytest

ROOT = Path(__file__).parents[2]
RUNS = pytest.StashKey()

# Set for the processes that are started here.
collect_ignore = [] if "LRSCHED_BACKEND_TESTS" in os.environ else ["backend"]


class Run:
    """All tests of a backend, under way.

    Args:
        backend: Of Keras.
    """

    def __init__(self, backend):
        two_devices = "--xla_force_host_platform_device_count=2"  # for tests of data parallelism
        environment = {
            "KERAS_BACKEND": backend,
            "LRSCHED_BACKEND_TESTS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {two_devices}",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
        self._output = TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [*command, "tests/lrsched_tf/backend"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def result(self):
        """Exit status and output, at the end of the tests."""
        status = self._process.wait()
        self._output.seek(0)
        return status, self._output.read()

    def end(self):
        """End the tests, if they still run."""
        self._process.kill()
        self._process.wait()
        self._output.close()


def installed(backend):
    return find_spec("keras") is not None and find_spec(backend) is not None


def pytest_collection_modifyitems(items):
    """What waits for the backends comes last."""
    items.sort(key=lambda item: "runs" in getattr(item, "fixturenames", ()))


def pytest_collection_finish(session):
    """Start the backends that are asked for."""
    waiting = [item for item in session.items if "runs" in getattr(item, "fixturenames", ())]
    asked = [item.callspec.params["backend"] for item in waiting]
    begun = [] if session.config.option.collectonly else filter(installed, asked)
    session.stash[RUNS] = {backend: Run(backend) for backend in begun}


def pytest_sessionfinish(session):
    """Leave nothing running, also after a failure or Ctrl-C."""
    for run in session.stash.get(RUNS, {}).values():
        run.end()


@pytest.fixture
def runs(request):
    """The runs of the backends that were asked for and are installed."""
    return request.session.stash[RUNS]
