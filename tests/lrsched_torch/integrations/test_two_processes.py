"""Two processes that train together with gloo, in DDP's plain loop and with Accelerate."""

from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from tests.lrsched_torch.integrations.processes import run

# 40 samples in batches of 2 are 10 batches for each of two processes, or 5 updates, 3 times.
STEPS = 15


@pytest.mark.parametrize("kind", ["ddp", "accelerate"])
def test_the_schedule_is_stepped_once_for_every_common_update(kind):
    if kind == "accelerate" and find_spec("accelerate") is None:
        pytest.skip("needs accelerate, of the integrations extra")
    first, second = run("worker.py", kind)
    assert first["used"] == second["used"] == list(lrsched.one_cycle(0.1, STEPS).values())
    assert first["step"] == second["step"] == STEPS
    assert first["weights"] == second["weights"]
