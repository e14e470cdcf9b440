"""One of two processes that train together; prints as JSON what every update used.

Run by test_two_processes.py as `python worker.py ddp|accelerate`, with the environment that
torchrun sets.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from lrsched_torch import OneCycleLR, steps_for
from tests.lrsched_torch.integrations.processes import leave

EPOCHS, SAMPLES, BATCH, ACCUMULATE = 3, 40, 2, 2


def training(batches: int) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    total_steps = steps_for(EPOCHS, batches, accumulate=ACCUMULATE)
    return model, optimizer, OneCycleLR(optimizer, 0.1, total_steps, after_end="raise")


def data() -> TensorDataset:
    inputs = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def report(scheduler: Any, model: Any, used: list[float]) -> None:
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    found = {"used": used, "step": scheduler.last_epoch, "weights": weights.tolist()}
    print("REPORT" + json.dumps(found))


def ddp() -> None:
    """The plain loop: step() for every batch, an update for every second one."""
    torch.distributed.init_process_group("gloo")
    sampler: Any = torch.utils.data.distributed.DistributedSampler(data())
    loader = DataLoader(data(), BATCH, sampler=sampler)
    bare, optimizer, scheduler = training(len(loader))
    model = torch.nn.parallel.DistributedDataParallel(bare)
    used = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for batch, (inputs, targets) in enumerate(loader, 1):
            torch.nn.functional.mse_loss(model(inputs), targets).backward()
            if batch % ACCUMULATE == 0:
                used.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()
    report(scheduler, bare, used)


def accelerate() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    loader = accelerator.prepare(DataLoader(data(), BATCH))
    bare, optimizer, scheduler = training(len(loader))
    model, optimizer, prepared = accelerator.prepare(bare, optimizer, scheduler)
    used = []
    for _ in range(EPOCHS):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                accelerator.backward(torch.nn.functional.mse_loss(model(inputs), targets))
                if accelerator.sync_gradients:
                    used.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                prepared.step()
                optimizer.zero_grad()
    report(scheduler, bare, used)
    accelerator.end_training()


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"ddp": ddp, "accelerate": accelerate}[sys.argv[1]]()
    leave()
