"""Stored range tests and trainings of small tasks, on which learning-rate finders are scored.

NumPy is enough to read them. `record.py` writes them: SET.json has the trainings, SET.npz the raw
losses of the sweeps.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrsched.schedules import two_speed_sweep

HERE = Path(__file__).parent
SETS = {"public": "public tasks", "new": "new kinds", "fresh": "fresh tasks", "held": "held back"}
SCHEDULES = ("one_cycle", "constant")
GRID = 10 ** (-5 + np.arange(19) / 3)  # of the trainings
FALLBACK = {"sgd": 1e-2, "adam": 1e-3}
# Names of sweeps: by updates (those of two speeds are what a RangeTest does), by log10 of the knee.
TWO_SPEED = {n: f"two_{n}" for n in (100, 150, 300, 400, 600)}
EXPONENTIAL = {n: f"e7_{n}" for n in (100, 150, 300, 600)} | {1852: "kt_1852"}
KNEES = {-3.5: "two_300"} | {x: f"two_300_{x:g}" for x in (-5, -4.5, -4, -2.5)}
SWEEPS = {  # planned learning rates; a stored sweep ends early at a non-finite loss only
    **{name: np.geomspace(1e-7, 10, n) for n, name in EXPONENTIAL.items()},
    **{name: two_speed_sweep(1e-7, 10, n).values() for n, name in TWO_SPEED.items()},
    **{name: two_speed_sweep(1e-7, 10, 300, 10**x).values() for x, name in KNEES.items()},
    "kt_1852": 1e-7 * 1.01 ** np.arange(1852),  # ktrain's
    "e8_100": 1e-8 * 1e8 ** (np.delete(np.arange(101), 1) / 100),  # Lightning's
}
TRAINED = ("fine-tuning", "adapted")  # kinds whose models were trained before


class Truth:
    """Regret of a learning rate in training with one schedule.

    0 is the loss of the best learning rate of the grid, 1 that of not training (or of the best
    constant answer, where that is lower); linear in log lr between the points of the grid, medians
    over the seeds.

    Args:
        grid: Learning rates [n].
        losses: Final validation losses [seeds, n]; not finite where training diverged.
        reference: The loss of regret 1.
    """

    def __init__(self, grid: np.ndarray, losses: np.ndarray, reference: float) -> None:
        loss = np.median(np.where(np.isfinite(losses), losses, np.inf), 0)
        best = loss.min()
        loss = np.where(np.isfinite(loss), loss, reference)
        self.x = np.log10(grid)
        self.r = np.clip((loss - best) / (reference - best), 0, 1)
        self.best_lr = 10 ** self.x[loss.argmin()]

    def regret(self, lr: float) -> float:
        """NaN, which is what a rule that breaks down gives, has regret 1."""
        return float(np.interp(math.log10(lr), self.x, self.r)) if lr > 0 else 1.0

    def fails(self, lr: float) -> bool:
        """No lr at all, or one so high that training with it leads nowhere."""
        return not lr > 0 or (lr > self.best_lr and self.regret(lr) >= 0.99)


@dataclass(frozen=True)
class Task:
    """A task: `curves[sweep]` holds (lr, loss) of its range tests, `truths` a Truth a schedule.

    Tasks of a `kind` have something in common that a rule might have been fitted to. `base` is the
    name of the task whose rescaled copy this one is, or its own.
    """

    name: str
    kind: str
    family: str
    base: str
    batch_size: int
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    truths: dict[str, Truth]

    @property
    def habit(self) -> float:
        """What somebody takes who gets no answer."""
        return FALLBACK[self.family]

    @property
    def trained(self) -> bool:
        """Whether its model was trained before, which its user knows and no curve tells."""
        return self.kind in TRAINED

    @property
    def least(self) -> float:
        """Mean regret of one perfect lr, the same for both schedules."""
        grid = np.linspace(-6, 2, 1000)
        means = [np.interp(grid, truth.x, truth.r) for truth in self.truths.values()]
        return float(np.mean(means, 0).min())


def tasks(name: str) -> list[Task]:
    """The tasks of a set."""
    entries, losses = records(name)
    with (HERE / "tasks.csv").open(encoding="utf8", newline="") as file:
        sizes = {row["name"]: int(row["batch_size"]) for row in csv.DictReader(file)}
    return [_task(name, sizes[name], entries, losses) for name in entries]


def _task(name: str, batch_size: int, entries: Any, losses: dict[str, Any]) -> Task:
    entry = entries[name]
    original = entry.get("base", name)
    base, grid = entries[original], GRID / entry.get("shift", 1.0)
    truths = {
        schedule: Truth(grid, np.array(runs, float), base["reference_loss"])
        for schedule, runs in base["validation_loss"].items()
    }
    curves = {
        sweep: [_curve(SWEEPS[sweep], run) for run in losses[f"{name}/{sweep}"]]
        for sweep in SWEEPS
        if f"{name}/{sweep}" in losses
    }
    return Task(name, entry["kind"], entry["family"], original, batch_size, curves, truths)


def _curve(lrs: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lr, loss) up to the first loss that is not finite."""
    broken = np.flatnonzero(~np.isfinite(losses))
    end = broken[0] + 1 if broken.size else len(losses)
    return lrs[:end], np.asarray(losses[:end], float)


def records(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trainings by task, losses [run, step] of the sweeps by "task/sweep") of a set."""
    if not (HERE / f"{name}.json").is_file():
        return {}, {}
    with np.load(HERE / f"{name}.npz") as losses:
        return json.loads((HERE / f"{name}.json").read_text(encoding="utf8")), dict(losses)


def write_records(name: str, entries: dict[str, Any], losses: dict[str, Any]) -> None:
    """Write what `records` reads; diverged trainings as null, losses as float32."""
    for entry in entries.values():
        for schedule, runs in entry.get("validation_loss", {}).items():
            entry["validation_loss"][schedule] = [[_number(loss) for loss in run] for run in runs]
    lines = (f"{json.dumps(task)}: {json.dumps(entry)}" for task, entry in sorted(entries.items()))
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf8")
    arrays = {key: np.asarray(losses[key], np.float32) for key in sorted(losses)}
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def _number(loss: float | None) -> float | None:
    """To the precision of a float32."""
    return float(f"{loss:.7g}") if loss is not None and math.isfinite(loss) else None
