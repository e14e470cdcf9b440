"""Processes that train together, as torchrun would start them, and what they report."""

import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch


def run(program, *arguments, processes=2):
    """The reports of a program of this folder, one for each process that runs it."""
    folder = Path(__file__).parent
    command = [sys.executable, str(folder / program), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    port, root = free_port(), str(folder.parents[2])
    workers = [
        subprocess.Popen(command, env=environment(rank, processes, port, root), **pipes)
        for rank in range(processes)
    ]
    try:
        outputs = [worker.communicate(timeout=240) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors
    return [json.loads(text.split("REPORT")[1]) for text, _ in outputs]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(rank, processes, port, root):
    common = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    if processes == 1:
        return os.environ | common
    together = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return os.environ | common | together


def leave():
    """The end of a process: its group must be gone before the interpreter is.

    The models that held it may be in cycles of references. A thread of gloo that lives on gives
    back tensors to an interpreter that shuts down, and the process aborts.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()
