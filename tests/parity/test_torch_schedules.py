"""Ours against torch.optim.lr_scheduler, where random arguments do not go (test_differential)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched_torch

OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.3, momentum=0.9),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.3, betas=(0.8, 0.97)),
}


def optimizer(kind: str, width: int = 1) -> torch.optim.Optimizer:
    return OPTIMIZERS[kind](
        [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(width)]
    )


def applied(optimizer: torch.optim.Optimizer) -> list[tuple[float, tuple[float, ...]]]:
    """lr and momentum, or betas, of every group."""
    return [
        (group["lr"], tuple(group.get("betas") or (group["momentum"],)))
        for group in optimizer.param_groups
    ]


def runs(name: str, kind: str, steps: int, width: int = 1, **arguments: Any) -> tuple[Any, Any]:
    """What torch's scheduler and ours set at each of `steps` steps."""
    found = []
    for module in (lr_scheduler, lrsched_torch):
        driven = optimizer(kind, width)
        scheduler = getattr(module, name)(driven, **arguments)
        values = [applied(driven)]
        for _ in range(steps - 1):
            driven.step()
            scheduler.step()
            values.append(applied(driven))
        found.append(values)
    return found[0], found[1]


def distance(theirs: Any, ours: Any) -> float:
    """Largest difference, relative to the largest lr for lrs."""
    peak = max(lr for values in theirs for lr, _ in values)
    worst = 0.0
    for before, after in zip(theirs, ours, strict=True):
        for (lr, momenta), (our_lr, our_momenta) in zip(before, after, strict=True):
            gaps = [a - b for a, b in zip(momenta, our_momenta, strict=True)]
            worst = max(worst, abs(lr - our_lr) / peak, *map(abs, gaps))
    return worst


@pytest.mark.parametrize("scale_mode", ["cycle", "iterations"])
@pytest.mark.parametrize("cycle_momentum", [False, True])
def test_cyclic_with_a_scale_function_equals_torch(scale_mode: str, cycle_momentum: bool) -> None:
    theirs, ours = runs(
        "CyclicLR",
        "sgd",
        50,
        width=2,
        base_lr=[0.01, 0.02],
        max_lr=[0.1, 0.5],
        step_size_up=4,
        step_size_down=6,
        scale_fn=lambda x: 0.5 * (1 + math.sin(x * math.pi / 2.0)),
        scale_mode=scale_mode,
        cycle_momentum=cycle_momentum,
    )
    assert distance(theirs, ours) < 1e-12


def test_a_late_start_equals_torch() -> None:
    """last_epoch=k starts at step k + 1, in torch and here."""
    values = []
    for module in (lr_scheduler, lrsched_torch):
        driven = optimizer("sgd")
        module.OneCycleLR(driven, max_lr=0.1, total_steps=20)
        again = module.OneCycleLR(driven, max_lr=0.1, total_steps=20, last_epoch=6)
        assert again.last_epoch == 7
        values.append([applied(driven)])
    assert distance(values[0], values[1]) < 1e-12


def test_a_dry_run_equals_torch() -> None:
    """Stepping without an optimizer, to plot or to test, moves on as torch does, and warns."""
    values = []
    for module in (lr_scheduler, lrsched_torch):
        driven = optimizer("sgd")
        scheduler = module.OneCycleLR(driven, max_lr=0.1, total_steps=20)
        found = [applied(driven)]
        with pytest.warns(UserWarning, match="before `optimizer.step\\(\\)`"):
            scheduler.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(18):
                found.append(applied(driven))
                scheduler.step()
        values.append([*found, applied(driven)])
    assert distance(values[0], values[1]) < 1e-12


def test_tensor_lrs_are_rounded_as_in_torch() -> None:
    values = []
    for module in (lr_scheduler, lrsched_torch):
        driven = torch.optim.SGD(
            [torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.3), momentum=0.9
        )
        scheduler = module.OneCycleLR(driven, max_lr=0.1, total_steps=20)
        for _ in range(10):
            driven.step()
            scheduler.step()
        values.append((driven.param_groups[0]["lr"], *scheduler.get_last_lr()))
    assert values[0] == values[1]
    assert values[1][0].dtype == torch.float32


def test_the_comparison_sees_a_wrong_value() -> None:
    theirs, ours = runs("OneCycleLR", "adam", 10, max_lr=0.1, total_steps=10)
    lr, betas = ours[5][0]
    for wrong in ((lr + 1e-10, betas), (lr, (betas[0] + 1e-10, betas[1]))):
        assert distance(theirs, [*ours[:5], [wrong], *ours[6:]]) > 1e-12
