"""Two processes that train together with gloo, in DDP's plain loop and with Accelerate."""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched

# 40 samples in batches of 2 are 10 batches for each of two processes, or 5 updates, 3 times.
STEPS = 15


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(kind, repo):
    port = str(free_port())
    workers = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(repo),
        }
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), kind]
        workers.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    try:
        outputs = [worker.communicate(timeout=240) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors
    return [json.loads(text.split("REPORT")[1]) for text, _ in outputs]


@pytest.mark.parametrize("kind", ["ddp", "accelerate"])
def test_the_schedule_is_stepped_once_for_every_common_update(kind, repo):
    if kind == "accelerate" and find_spec("accelerate") is None:
        pytest.skip("needs accelerate, of the integrations extra")
    first, second = run(kind, repo)
    assert first["used"] == second["used"] == list(lrsched.one_cycle(0.1, STEPS).values())
    assert first["step"] == second["step"] == STEPS
    assert first["weights"] == second["weights"]
