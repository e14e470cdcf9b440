"""Runs tests/lrsched_tf/backend once for each backend of Keras, in processes side by side."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")
COMMAND = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]


def start(backend, log):
    environment = {
        "KERAS_BACKEND": backend,
        "LRSCHED_BACKEND_TESTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Two devices, for the tests of data parallelism.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        # The models are tiny, and the processes share the cores.
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
    }
    with log.open("w") as output:
        return subprocess.Popen(
            [*COMMAND, "tests/lrsched_tf/backend"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """The process and the log of each backend that is installed and asked for."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params["backend"] for item in here}
    logs = tmp_path_factory.mktemp("backends")
    found = [name for name in BACKENDS if name in asked and find_spec(name) and find_spec("keras")]
    processes = {name: (start(name, logs / name), logs / name) for name in found}
    yield processes
    for process, _ in processes.values():
        process.kill()
        process.wait()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_holds_on_the_backend(backend, running):
    if backend not in running:
        pytest.skip(f"keras with {backend} is not installed")
    process, log = running[backend]
    failed = process.wait()
    print(log.read_text(encoding="utf-8", errors="replace")[-20_000:])
    assert not failed, f"tests/lrsched_tf/backend fails with KERAS_BACKEND={backend}"
