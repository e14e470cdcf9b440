"""Stored range tests and trainings of small tasks: what suggestions are scored on.

The public tasks are no part of the repository. Those of other kinds lie next to this file,
where `suggestion_tasks.py` records them, as do the fresh ones, which had no part in any choice.
NumPy is enough to read them. What the scripts that read them share is here too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PUBLIC = HERE / "suggestion_bench"  # a folder, or a link to one, that need not be there
NEW, FRESH = "suggestion_tasks", "suggestion_fresh"  # records: NAME.json and NAME.npz beside this

SCHEDULES = {"onecycle": "one_cycle", "constant": "constant"}  # our names of them
FALLBACK = {"sgd": 1e-2, "adam": 1e-3}  # what somebody takes who gets no answer
PROTOCOLS = {  # planned learning rates; a stored sweep ends early at a non-finite loss only
    "e7_100": np.geomspace(1e-7, 10, 100),
    "e7_300": np.geomspace(1e-7, 10, 300),
    "e8_100": 1e-8 * 1e8 ** (np.delete(np.arange(101), 1) / 100),  # Lightning's
    "kt_1852": 1e-7 * 1.01 ** np.arange(1852),  # ktrain's
}
# Tasks of a kind have something in common that a rule might have been fitted to.
KINDS = {
    "language model": ("code_",),
    "autoencoder": ("_ae", "_vae"),
    "batch norm": ("resnet", "mlpbn", "cnnbn"),
    "fine-tuning": ("finetune", "frozen", "resume"),
    "regression": ("diabetes",),
    "tabular": ("wine", "cancer"),
    "contrastive": ("supcon",),
    "transformer": ("former",),
    "deep": ("deep",),
    "bounded loss": ("hinge", "negprob"),
    "other optimizer": ("lion", "nadam", "rmsprop"),
    "flat start": ("smallinit",),
    "convex": ("logreg",),
    "cnn": ("mnist_cnn", "mnist1d_cnn"),
    "mlp": ("digits_mlp_",),
}


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
    """A task: `curves[protocol]` holds (lr, loss) of three range tests, `truths` a Truth each.

    `base` is the name of the task whose rescaled copy this one is, or its own.
    """

    name: str
    family: str
    base: str
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    truths: dict[str, Truth]

    @property
    def kind(self) -> str:
        return next(k for k, parts in KINDS.items() if any(p in self.base for p in parts))


def curves_of(losses: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    return {
        protocol: [(PROTOCOLS[protocol][: len(loss)], loss) for loss in runs]
        for protocol, runs in losses.items()
    }


def new_tasks() -> list[Task]:
    """Tasks of new kinds, on which rules may be calibrated if they are scored by kinds left out."""
    return _recorded_tasks(NEW)


def fresh_tasks() -> list[Task]:
    """Tasks of further kinds, which only score what has been settled without them."""
    return _recorded_tasks(FRESH)


def _recorded_tasks(records: str) -> list[Task]:
    entries, losses = stored_records(records)
    tasks = []
    for name, entry in entries.items():
        runs = {
            p: [v for k, v in losses.items() if k.startswith(f"{name}/{p}/")] for p in PROTOCOLS
        }
        trained = {s: np.array(v, float) for s, v in entry["validation_loss"].items()}
        truths = {
            s: Truth(np.array(entry["grid"]), v, entry["reference_loss"])
            for s, v in trained.items()
        }
        tasks.append(Task(name, entry["family"], name, curves_of(runs), truths))
    return tasks


def public_tasks(folder: Path = PUBLIC) -> list[Task]:
    """The tasks of the benchmark's folder; none where it is absent."""
    tasks = []
    for path in sorted((folder / "results" / "curves").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf8"))
        task, sweeps = record["task"], record["sweeps"]
        base = task["base"] or task["name"]
        truth = json.loads((folder / "results" / "truth" / f"{base}.json").read_text("utf8"))
        reference = min(truth["const_loss"], truth["init_loss"])
        grid = np.array(truth["grid"]) / task["shift"]
        truths = {
            s: Truth(grid, np.array(list(truth["val"][s].values()), float), reference)
            for s in SCHEDULES
        }
        runs = {p: [np.array(c["loss"], float) for c in sweeps[p].values()] for p in PROTOCOLS}
        tasks.append(Task(task["name"], task["family"], base, curves_of(runs), truths))
    return tasks


def stored_records(records: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trainings by task, losses of the sweeps by "task/protocol/seed") of NEW or FRESH."""
    trainings = HERE / f"{records}.json"
    if not trainings.is_file():
        return {}, {}
    with np.load(HERE / f"{records}.npz") as losses:
        return json.loads(trainings.read_text(encoding="utf8")), dict(losses)


def store_records(records: str, entries: dict[str, Any], losses: dict[str, Any]) -> None:
    """Write what `stored_records` reads; diverged trainings as null."""
    for entry in entries.values():
        entry["validation_loss"] = {
            schedule: [[_number(loss) for loss in run] for run in runs]
            for schedule, runs in entry["validation_loss"].items()
        }
    write_entries(HERE / f"{records}.json", entries)
    arrays = {key: np.asarray(losses[key], np.float32) for key in sorted(losses)}
    np.savez_compressed(HERE / f"{records}.npz", **arrays)


def write_entries(path: Path, entries: Mapping[str, Any]) -> None:
    """JSON with a line for each entry."""
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items()))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf8")


def _number(loss: float | None) -> float | None:
    """To the precision of a float32."""
    return float(f"{loss:.7g}") if loss is not None and math.isfinite(loss) else None


def add_optimizers(bench: Any, optimizers: Mapping[str, tuple[Any, str, bool]]) -> None:
    """Tell the benchmark how optimizers are built, their family, and if their momentum cycles."""
    for name, (build, family, cycles) in optimizers.items():
        bench.OPTIMIZERS[name] = lambda p, lr, build=build: build(p, lr=lr)
        bench.FAMILY[name] = family
        if cycles:
            bench.CYCLES_MOMENTUM.add(name)


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with the option for the benchmark's folder; `doc` is that of the script."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--bench", type=Path, default=PUBLIC, help=f"the public tasks ({PUBLIC})")
    return parser


def bench_modules(folder: Path, *names: str) -> list[ModuleType]:
    """Modules of the benchmark's folder, which need torch."""
    sys.path.insert(0, str(folder.resolve()))
    return [import_module(name) for name in names]


def print_table(columns: str, rows: Sequence[str], title: str | None = None) -> None:
    """Markdown; columns and cells are separated by " | "."""
    if title:
        print(f"\n### {title}\n")
    print(f"| {columns} |")
    print("|---" * len(columns.split(" | ")) + "|")
    for row in rows:
        print(f"| {row} |")
