"""One of several processes that train together; prints as JSON what happened in it.

Run by test_two_processes.py as `python worker.py range_test:fsdp lightning:ddp`, with any such
parts, and with the environment that torchrun sets.
"""

import json
import os
import sys

import torch

from tests.lrsched_torch.integrations import worker_range_test
from tests.lrsched_torch.integrations.processes import leave


def lightning(kind):
    # Importing it takes seconds.
    from tests.lrsched_torch.integrations import worker_lightning

    return worker_lightning.report(kind)


PARTS = {"range_test": worker_range_test.report, "lightning": lightning}

if __name__ == "__main__":
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    names = [argument.split(":") for argument in sys.argv[1:]]
    print("REPORT" + json.dumps({f"{part}:{kind}": PARTS[part](kind) for part, kind in names}))
    leave()
