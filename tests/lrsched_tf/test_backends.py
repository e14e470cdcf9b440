import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def run(backend):
    environment = {
        "KERAS_BACKEND": backend,
        "LRSCHED_BACKEND_TESTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Two devices, for the tests of data parallelism.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
    return subprocess.run(
        [*command, "tests/lrsched_tf/backend"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def runs(request):
    """The runs of the backends that were asked for, two at a time."""
    here = [item for item in request.session.items if "runs" in getattr(item, "fixturenames", ())]
    asked = [item.callspec.params["backend"] for item in here]
    with ThreadPoolExecutor(2) as pool:
        yield {backend: pool.submit(run, backend) for backend in asked if installed(backend)}


def installed(backend):
    return find_spec("keras") is not None and find_spec(BACKENDS[backend]) is not None


# All the tests of a backend in one: minutes on a fast machine.
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_holds_on_the_backend(backend, runs):
    if not installed(backend):
        pytest.skip(f"keras with {backend} is not installed")
    done = runs[backend].result()
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode == 0, f"tests/lrsched_tf/backend fails with KERAS_BACKEND={backend}"
