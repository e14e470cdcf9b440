"""Record range tests and trainings of tasks: python record.py [--tasks NAMES] [--sweeps NAMES]

What is stored already stays. A task takes one to three minutes on a core; the name of a task seeds
its runs, so it must not change.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
import yardstick
from recipes import Recipe, Run, recipes

TRAINING_SEEDS, SWEEP_SEEDS = (0, 1, 2), (100, 101, 102)


def set_lr(run: Run, lr: float) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = lr


def sweep(recipe: Recipe, seed: int, lrs: np.ndarray) -> np.ndarray:
    """Losses of a range test; NaN after one that is not finite, which alone ends it early."""
    run, losses = Run(recipe, seed), np.full(len(lrs), np.nan)
    for i, (lr, batch) in enumerate(zip(lrs.tolist(), run.batches(), strict=False)):
        set_lr(run, lr)
        losses[i] = run.step(batch)
        if not math.isfinite(losses[i]):
            break
    return losses


def train(recipe: Recipe, seed: int, lr: float, schedule: str) -> float:
    """Validation loss at the end; inf where the training diverged."""
    run = Run(recipe, seed)
    set_lr(run, lr)
    one_cycle = schedule == "one_cycle" and torch.optim.lr_scheduler.OneCycleLR(
        run.optimizer, lr, recipe.steps, cycle_momentum=recipe.cycles_momentum
    )
    for step, batch in zip(range(recipe.steps), run.batches(), strict=False):
        if not math.isfinite(run.step(batch)):
            return math.inf
        if one_cycle and step < recipe.steps - 1:
            one_cycle.step()
    return run.validation_loss()


def trainings(recipe: Recipe) -> dict[str, Any]:
    """What the store keeps of a task, and its trainings where it is no copy of another."""
    about = {"kind": recipe.kind, "family": recipe.family}
    if recipe.base:
        return {**about, "base": recipe.base, "shift": recipe.shift}
    runs = [Run(recipe, seed) for seed in TRAINING_SEEDS]
    untrained = float(np.median([run.validation_loss() for run in runs]))
    losses = {
        schedule: [
            [train(recipe, seed, lr, schedule) for lr in yardstick.GRID] for seed in TRAINING_SEEDS
        ]
        for schedule in yardstick.SCHEDULES
    }
    reference = min(untrained, runs[0].ignoring())
    return {**about, "reference_loss": reference, "validation_loss": losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", help="comma-separated names; all by default")
    parser.add_argument("--sweeps", default=",".join(yardstick.SWEEPS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for recipe in recipes():
        if options.tasks and recipe.name not in options.tasks.split(","):
            continue
        entries, losses = yardstick.records(recipe.set)
        if recipe.name not in entries:
            entries[recipe.name] = trainings(recipe)
        for name in options.sweeps.split(","):
            if (key := f"{recipe.name}/{name}") not in losses:
                lrs = yardstick.SWEEPS[name]
                losses[key] = np.stack([sweep(recipe, seed, lrs) for seed in SWEEP_SEEDS])
        yardstick.write_records(recipe.set, entries, losses)
        print(f"recorded {recipe.name}", flush=True)


if __name__ == "__main__":
    main()
