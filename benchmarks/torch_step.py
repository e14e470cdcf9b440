"""What a PyTorch scheduler's `step()` costs, as ratios to torch's OneCycleLR in the same run.

python benchmarks/torch_step.py            # opcodes and times
python benchmarks/torch_step.py --opcodes  # opcodes alone, the same in every run of an interpreter
"""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from counts import opcodes
from timing import ratios

import lrsched
import lrsched_torch

STEPS, STEPS_A_ROUND = 200_000, 8192
WIDTHS = (1, 10, 100)
# Bounds of the median ratio at each width, by what is scheduled.
BOUNDS = {
    "lr": (0.20, 0.12, 0.10),
    "lr and momentum": (0.18, 0.12, 0.10),
    "lr and beta_1": (0.18, 0.12, 0.10),
    "policy of three": (0.20, 0.13, 0.10),
    # 100 schedules to evaluate, not one: no bound is set for it.
    "lr per group": (None, None, None),
    "tensor lr": (None, None, 0.18),
}
# Of the bytecodes, by the number of groups.
OPCODE_BOUNDS = {
    "lr": {1: 0.30, 10: 0.15, 100: 0.12},
    "lr and momentum": {1: 0.30, 10: 0.16, 100: 0.14},
    "lr and beta_1": {1: 0.30, 10: 0.19, 100: 0.17},
    "policy of three": {1: 0.32, 10: 0.21, 100: 0.19},
    "tensor lr": {100: 0.08},
}


def optimizer(kind: str, width: int) -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(width)]
    if kind == "tensor lr":
        return torch.optim.SGD([{**group, "lr": torch.tensor(0.1)} for group in groups], lr=0.1)
    if kind == "lr and beta_1":
        return torch.optim.Adam(groups, lr=0.1)
    decay = 0.1 if kind == "policy of three" else 0.0
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=decay)


def schedulers(kind: str, width: int) -> tuple[Any, Any]:
    """torch's scheduler and ours, each on an optimizer of its own."""
    max_lr: Any = 0.1
    if kind == "lr per group":
        max_lr = [0.1 * 0.9**i for i in range(width)]
    cycles = kind in ("lr and momentum", "lr and beta_1", "policy of three")
    options: Any = {"total_steps": STEPS, "cycle_momentum": cycles}
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer(kind, width), max_lr, **options)
    if kind == "policy of three":
        policy = lrsched.Policy(
            lr=lrsched.one_cycle(0.1, STEPS),
            momentum=lrsched.one_cycle_momentum(STEPS),
            weight_decay=lrsched.cosine(0.1, 0.01, STEPS),
        )
        return peer, lrsched_torch.ScheduleLR(optimizer(kind, width), policy)
    return peer, lrsched_torch.OneCycleLR(optimizer(kind, width), max_lr, **options)


def step_peer(scheduler: Any, count: int) -> None:
    for _ in range(count):
        scheduler.step()


def step_ours(scheduler: Any, count: int) -> None:
    """Steps of ours, each told of an update as the hook in the optimizer would."""
    counter = scheduler._counter
    for _ in range(count):
        counter.made = 1
        scheduler.step()


def opcode_ratio(width: int, kind: str = "lr", calls: int = 1024) -> float:
    """Bytecodes of our `step()`, those that compute the values included, over torch's."""
    peer, ours = schedulers(kind, width)

    def step() -> None:
        ours._counter.made = 1
        ours.step()

    return opcodes(step, calls) / opcodes(peer.step, calls)


def time_ratio(kind: str, width: int) -> Any:
    peer, ours = schedulers(kind, width)
    steps = STEPS_A_ROUND // (1 if width == 1 else 8)
    cases = {
        "torch": functools.partial(step_peer, peer, steps),
        "ours": functools.partial(step_ours, ours, steps),
    }
    return ratios(cases, "torch")["ours"]


def watching_ratio() -> Any:
    """An optimizer step that is counted, over one that is not."""
    plain, counted = optimizer("lr and beta_1", 1), optimizer("lr and beta_1", 1)
    scheduler = lrsched_torch.ScheduleLR(counted, lrsched.constant(0.1))
    for each in (plain, counted):
        each.param_groups[0]["params"][0].grad = torch.ones(1)

    def steps(optimizer: torch.optim.Optimizer) -> None:
        for _ in range(STEPS_A_ROUND):
            optimizer.step()

    cases = {"plain": functools.partial(steps, plain), "counted": functools.partial(steps, counted)}
    ratio = ratios(cases, "plain", rounds=31)["counted"]
    scheduler.close()
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opcodes", action="store_true")
    only_opcodes = parser.parse_args().opcodes
    torch.set_num_threads(1)
    # There is no optimizer.step() between the steps of torch's.
    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
    print("step() over that of torch's OneCycleLR")
    print("scheduled                   groups   bound    ratio")
    for kind, opcode_bounds in OPCODE_BOUNDS.items():
        for width, bound in opcode_bounds.items():
            ratio = opcode_ratio(width, kind)
            print(f"{kind + ', opcodes':<26} {width:>7}   {bound:5.2f}  {ratio:7.3f}")
    if only_opcodes:
        return
    for kind, bounds in BOUNDS.items():
        for width, bound in zip(WIDTHS, bounds, strict=True):
            goal = "     " if bound is None else f"{bound:5.2f}"
            print(f"{kind:<26} {width:>7}   {goal}  {time_ratio(kind, width)}", flush=True)
    print(f"Adam.step() with its updates counted / without        {watching_ratio()}")


if __name__ == "__main__":
    main()
