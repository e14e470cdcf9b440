"""A training in one of two processes, in DDP's plain loop and with Accelerate."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from lrsched_torch import OneCycleLR, steps_for

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


def ddp() -> tuple[Any, Any, list[float]]:
    """The plain loop: step() for every batch, an update for every second one."""
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
    return scheduler, bare, used


def accelerate() -> tuple[Any, Any, list[float]]:
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
    return scheduler, bare, used


def report(kind: str) -> dict[str, Any]:
    """What every update used, and what the training has led to."""
    scheduler, model, used = {"ddp": ddp, "accelerate": accelerate}[kind]()
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return {"used": used, "step": scheduler.last_epoch, "weights": weights.tolist()}
