"""Trainings in one of several processes, which follow a schedule, with range tests in them."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lrsched_torch import OneCycleLR, range_test

SAMPLES, BATCH, WIDTH = 96, 4, 8


class Net(nn.Module):
    """Running statistics, dropout, and a counter of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 16)
        self.middle = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.2))
        self.last = nn.Linear(16, 1)
        self.calls, self.fails_at, self.fails_in = 0, -1, ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        middle = self.middle(self.first(x).relu())
        if self.calls == self.fails_at and self.fails_in == "forward":
            raise ZeroDivisionError
        if self.calls == self.fails_at and self.fails_in == "backward":
            middle.register_hook(fail)
        return self.last(middle)


def fail(gradient: torch.Tensor) -> None:
    raise ZeroDivisionError


def samples() -> TensorDataset:
    inputs = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


class Training:
    """DDP in a plain loop."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        random.seed(rank())
        self.net, self.used = Net(), list[float]()
        self.prepare()
        # Not the same on all processes, as dropout should be.
        torch.manual_seed(rank())

    def prepare(self) -> None:
        sampler: Any = DistributedSampler(samples())
        self.loader: Any = DataLoader(samples(), BATCH, sampler=sampler)
        self.model: Any = nn.parallel.DistributedDataParallel(self.net)
        self.optimizer: Any = torch.optim.AdamW(self.net.parameters(), lr=0.01)
        self.scheduler: Any = OneCycleLR(self.optimizer, 0.05, 60)
        self.stateful: list[Any] = []

    def loss(self, batch: Any) -> torch.Tensor:
        outputs = self.model(batch[0])
        if self.net.calls == self.net.fails_at and self.net.fails_in == "loss":
            raise ZeroDivisionError
        return nn.functional.mse_loss(outputs, batch[1])

    def step(self, batch: Any) -> torch.Tensor:
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def train(self, batches: int, between: Any = None) -> list[float]:
        """Ends in the middle of an epoch; `between` runs before the fourth batch."""
        losses = []
        for index, batch in zip(range(batches), self.loader):  # noqa: B905
            if between is not None and index == 3:
                between()
            losses.append(self.step(batch).item())
            if self.has_updated():
                self.used.append(float(self.optimizer.param_groups[0]["lr"]))
            self.scheduler.step()
        return losses

    def find(self, spoil: Any = None, **options: Any) -> tuple[Any, list[float]]:
        """The curve, and the losses of the updates of this process alone."""
        own: list[float] = []
        batches: list[float] = []
        settings = {"start_lr": 1e-4, "end_lr": 10.0, "num_steps": 40, **options}
        test = range_test(self.model, self.optimizer, stateful=self.stateful, **settings)
        with test:
            for batch in test.batches(self.loader):
                loss = self.step(batch)
                if spoil is not None:
                    loss = spoil(loss, len(own))
                batches.append(loss.item())
                test.record(loss)
                if self.has_updated():
                    own.append(sum(batches) / len(batches))
                    batches.clear()
        return test.curve, own

    def has_updated(self) -> bool:
        return True

    def everything(self) -> dict[str, str]:
        tensors = dict(self.net.named_parameters())
        tensors |= dict(self.net.named_buffers())
        found = {name: digest(value) for name, value in tensors.items()}
        for name, value in self.net.named_parameters():
            found[f"gradient of {name}"] = digest(value.grad)
            found[f"id of {name}"] = str(id(value))
        states = self.optimizer.state_dict()["state"].values()
        found["optimizer"] = str([[digest(v) for v in state.values()] for state in states])
        found["lr"] = str([float(group["lr"]) for group in self.optimizer.param_groups])
        found["random"] = digest(torch.get_rng_state()) + str(hash(random.getstate()))
        found["calls"] = str(self.net.calls)
        return found | self.more()

    def more(self) -> dict[str, str]:
        return {}


class Sharded(Training):
    """FSDP2."""

    def prepare(self) -> None:
        from torch.distributed.fsdp import fully_shard

        sampler: Any = DistributedSampler(samples())
        self.loader = DataLoader(samples(), BATCH, sampler=sampler)
        for part in (self.net.first, self.net.middle):
            fully_shard(part)
        self.model = fully_shard(self.net)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scheduler = OneCycleLR(self.optimizer, 0.05, 60)
        self.stateful = []


class Accelerated(Training):
    """Accelerate, with an update for every second batch and a shuffling loader."""

    def prepare(self) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DataLoaderConfiguration

        self.accelerator = Accelerator(
            cpu=True,
            gradient_accumulation_steps=2,
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
        )
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.01)
        self.model, self.optimizer, self.loader, self.scheduler = self.accelerator.prepare(
            self.net,
            optimizer,
            DataLoader(samples(), BATCH, shuffle=True),
            OneCycleLR(optimizer, 0.05, 60),
        )
        self.stateful = [self.accelerator]

    def step(self, batch: Any) -> torch.Tensor:
        with self.accelerator.accumulate(self.model):
            loss = self.loss(batch)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss

    def has_updated(self) -> bool:
        return self.accelerator.sync_gradients

    def more(self) -> dict[str, str]:
        state = self.accelerator.gradient_state
        return {
            "accelerator": str((self.accelerator.step, state.sync_gradients)),
            "id of loaders": str([loader is self.loader for loader in state.dataloader_references]),
            "iteration": str(self.loader.iteration),
        }


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def digest(value: Any) -> str:
    if value is None:
        return "none"
    if hasattr(value, "to_local"):
        value = value.to_local()
    if not isinstance(value, torch.Tensor):
        return str(value)
    return hashlib.sha256(value.detach().clone().numpy().tobytes()).hexdigest()[:12]


def nothing(training: Training) -> Any:
    return None


def twice(training: Training) -> Any:
    training.find()
    curve, own = training.find()
    return {"curve": list(curve.loss), "lr": list(curve.lr), "own": own, "notes": curve.notes}


def not_a_number_on_one(training: Training) -> Any:
    def spoil(loss: torch.Tensor, index: int) -> torch.Tensor:
        return loss * float("nan") if index == 13 and rank() == 1 else loss

    curve, _ = training.find(spoil)
    return {"length": len(curve), "reason": curve.stop_reason}


def evaluation(training: Training) -> Any:
    training.model.eval()
    with torch.no_grad():
        training.model(samples().tensors[0])
    training.model.train()


def evaluation_and_test(training: Training) -> Any:
    """A forward pass alone leaves whole parameters in the root of a sharded model."""
    evaluation(training)
    return len(training.find()[0])


def error_in_forward(training: Training) -> Any:
    return raised_in(training, "forward")


def error_in_loss(training: Training) -> Any:
    """Before the backward pass, which leaves whole parameters in the root of a sharded model."""
    return raised_in(training, "loss")


def error_in_backward(training: Training) -> Any:
    return raised_in(training, "backward")


def raised_in(training: Training, where: str) -> Any:
    net = training.net
    net.fails_at, net.fails_in = net.calls + 9, where
    try:
        training.find()
    except ZeroDivisionError:
        return True
    finally:
        net.fails_at, net.fails_in = -1, ""
    return False


BETWEEN = [nothing, twice, not_a_number_on_one, evaluation, evaluation_and_test]
BETWEEN += [error_in_forward, error_in_loss, error_in_backward]


def trace(make: Any, between: Any, first: bool) -> dict[str, Any]:
    """What a training says and leaves with something at its start, or in the midst of an epoch."""
    training, found = make(), {}

    def run() -> None:
        before = training.everything()
        found["said"] = between(training)
        after = training.everything()
        found["changed"] = [name for name in before if before[name] != after.get(name)]

    if first:
        run()
    found["losses"] = [training.train(7, None if first else run), training.train(9)]
    found["lrs"] = training.used
    end = training.everything()
    found["end"] = {name: end[name] for name in end if not name.startswith("id of")}
    return found


def report(kind: str) -> dict[str, Any]:
    """What is left after each range test."""
    make = {"ddp": Training, "fsdp": Sharded, "accelerate": Accelerated}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = {
            between.__name__: trace(make, between, first=False)
            for between in BETWEEN
            # DDP itself does not survive it.
            if kind == "fsdp" or between is not error_in_backward
        }
        found["nothing at the start"] = trace(make, nothing, first=True)
        found["at the start"] = trace(make, twice, first=True)
    return found
