"""Keras fixes its backend on import, so tests that import it run in a process per backend.

These processes run beside the other tests. Backends that compile have two of them, each with a part
of the tests, so that none of them goes on long after all others.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "backend"
RUNS = pytest.StashKey()
# Processes beside this one: more of them would only take time from each other.
AT_ONCE = 3

# Set for the processes that are started here.
collect_ignore = [] if "LRSCHED_BACKEND_TESTS" in os.environ else ["backend"]


def files(part):
    every, range_tests = ({*FOLDER.glob(f"{name}*.py")} for name in ("test_", "test_range_test"))
    return sorted(
        {"all": every, "range tests": range_tests, "the others": every - range_tests}[part]
    )


class Run:
    """A part of the tests on a backend, under way.

    Args:
        backend: Of Keras.
        part: As for `files`.
    """

    def __init__(self, backend, part):
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
            [*command, *files(part)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def is_running(self):
        return self._process.poll() is None

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


class Runs:
    """Runs of backends, of which the last begin when others have ended; a plugin of pytest.

    Args:
        parts: Arguments of each `Run`.
    """

    def __init__(self, parts):
        self.parts = list(parts)
        self._begun = []
        self.begin()

    def begin(self):
        """Begin what there is room for."""
        while len(self._running()) < AT_ONCE and len(self._begun) < len(self.parts):
            self._begun.append(Run(*self.parts[len(self._begun)]))

    def pytest_runtest_logfinish(self):
        self.begin()

    def _running(self):
        return [run for run in self._begun if run.is_running()]

    def result(self, part):
        """Exit status and output of a run, at its end."""
        index = self.parts.index(part)
        while index >= len(self._begun):
            self._running()[0].result()
            self.begin()
        return self._begun[index].result()

    def end(self):
        for run in self._begun:
            run.end()


def is_installed(backend):
    return find_spec("keras") is not None and find_spec(backend) is not None


def pytest_collection_modifyitems(items):
    """What waits for the backends comes last."""
    items.sort(key=lambda item: "runs" in getattr(item, "fixturenames", ()))


def pytest_collection_finish(session):
    """Start the backends that are asked for."""
    waiting = [item for item in session.items if "runs" in getattr(item, "fixturenames", ())]
    asked = [item.callspec.params["part"] for item in waiting]
    begun = [] if session.config.option.collectonly else asked
    session.stash[RUNS] = runs = Runs(part for part in begun if is_installed(part[0]))
    session.config.pluginmanager.register(runs)


def pytest_sessionfinish(session):
    """Leave nothing running, also after a failure or Ctrl-C."""
    if RUNS in session.stash:
        session.stash[RUNS].end()


@pytest.fixture
def runs(request):
    """The runs of the backends that were asked for and are installed."""
    return request.session.stash[RUNS]
