"""Why the second look is as it is: its design chosen on other kinds of tasks.

    python benchmarks/suggestion_design.py [--bench FOLDER] [--record]

Scores what `suggestion_probes.py` would say with other constants, and successive halving, on short
trainings of the public tasks and the new kinds that are stored beside this file. `--record` runs
them anew, about 10 minutes, with the data sets of the benchmark's folder. Rescaled copies of tasks
are left out. The fresh tasks have no part in this.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import suggestion_data as data
import suggestion_probes as look

import lrsched

RECORDS = data.HERE / "suggestion_design.json"
SEEDS = (100, 101, 102)  # those of the stored sweeps
LENGTHS = (20, 40, 60, 100)
# What is recorded: seven probes around the centre of the design that was chosen.
RECORDED = {"PROBES": 7, "PROBE_FACTOR": 10**0.25, "BELOW_RISE": 10.0}
Levels = dict[float, list[float]]  # lr -> the level at which probes of each length end


@dataclass(frozen=True)
class Case:
    """One sweep of a task, what it is for, and short trainings around its suggestion."""

    task: data.Task
    curve: lrsched.LossCurve
    use: str
    levels: Levels

    def probes(self, lrs: Sequence[float], steps: int) -> list[look.Probe]:
        """As they were recorded, each at the recorded lr that is nearest to the one wanted."""
        near = [min(self.levels, key=lambda lr: abs(math.log(lr / wanted))) for wanted in lrs]
        place = LENGTHS.index(steps)
        return [look.Probe(lr, (self.levels[lr][place],) * steps) for lr in dict.fromkeys(near)]

    def regret(self, lr: float | None) -> float:
        return self.task.truths[self.use].regret(lr or data.FALLBACK[self.task.family])


@dataclass(frozen=True)
class Design:
    """Of a second look: the constants of `suggestion_probes.py`, and what it does not have.

    Attributes:
        probes, steps, decades: How many, how long, how far apart.
        tie: Standard errors within which levels are alike.
        below: Decades from the rise of a silent sweep to the probe in the middle.
        halving: (number, steps) of a second round, for the best of the first.
        unlearned: Taken where no probe learned: the "middle", "lowest" or what the "sweep" says.
    """

    probes: int
    steps: int
    decades: float
    tie: float = 1.0
    below: float = 1.0
    halving: tuple[int, int] | None = None
    unlearned: str = "middle"

    def lr(self, case: Case) -> float | None:
        constants = {
            "PROBES": self.probes,
            "PROBE_FACTOR": 10**self.decades,
            "BELOW_RISE": 10**self.below,
            "TIE_OVER_ERROR": self.tie,
        }
        with mock.patch.multiple(look, **constants):
            lrs = look.candidates(case.curve, data.SCHEDULES[case.use])
            found = case.curve.suggest(schedule=data.SCHEDULES[case.use])
            probes = case.probes(lrs, self.steps)
            if self.halving:
                number, steps = self.halving
                kept = sorted(probes, key=lambda probe: probe.level)[:number]
                probes = case.probes(sorted(probe.lr for probe in kept), steps)
            lr, learned = look.choice(found, probes)
        if all(probe.level == math.inf for probe in probes):
            return None
        if learned or self.unlearned == "middle":
            return lr
        return probes[0].lr if self.unlearned == "lowest" else found.lr

    def __str__(self) -> str:
        halved = ", then {} of {}".format(*self.halving) if self.halving else ""
        return (
            f"{self.probes} probes of {self.steps} steps{halved}, 10^{self.decades} apart, "
            f"tie {self.tie}, {self.below} decades below the rise, else {self.unlearned}"
        )


CHOSEN = Design(3, 100, 0.25)
TIES = (0.5, 1.0, 2.0)
DESIGNS = [
    Design(*shape, tie, below)
    for shape, tie, below in itertools.product(
        ((3, 60, 0.25), (3, 60, 0.5), (3, 100, 0.25), (3, 100, 0.5), (5, 60, 0.25)),
        TIES,
        (0.75, 1.0, 1.25),
    )
]
HALVING = [
    Design(probes, 20, 0.25, tie, halving=halving)
    for (probes, halving), tie in itertools.product(
        ((5, (2, 100)), (5, (3, 60)), (7, (4, 40)), (7, (2, 60))), TIES
    )
]


def cases(bench: Path) -> list[Case]:
    """All that are recorded, without the public ones where their folder is absent."""
    records = json.loads(RECORDS.read_text(encoding="utf8"))
    found = []
    for task in (*data.public_tasks(bench), *data.new_tasks()):
        for key, stored in records.get(task.name, {}).items():
            seed, use = key.split()
            levels = {float(lr): [_level(x) for x in ends] for lr, ends in stored.items()}
            found.append(Case(task, swept(task, int(seed)), use, levels))
    return found


def _level(stored: float | None) -> float:
    return math.inf if stored is None else stored


def swept(task: data.Task, seed: int) -> lrsched.LossCurve:
    """A stored sweep as a range test sees it: up to where it stops."""
    lr, loss = task.curves["e7_300"][SEEDS.index(seed)]
    test = lrsched.RangeTest(lr[0], data.PROTOCOLS["e7_300"][-1], len(data.PROTOCOLS["e7_300"]))
    test.record_all(loss.tolist())
    return test.curve


def record(bench: Path) -> None:
    import suggestion_tasks
    import torch

    (tasks,) = data.bench_modules(bench, "tasks")
    torch.set_num_threads(1)
    recipes = {task.name: task for task in (*tasks.TASKS, *suggestion_tasks.define(tasks))}
    records = {}
    for task in (*data.public_tasks(bench), *data.new_tasks()):
        if task.base != task.name:
            continue
        records[task.name] = {
            f"{seed} {use}": levels(recipes[task.name], swept(task, seed), seed, schedule)
            for seed in SEEDS
            for use, schedule in data.SCHEDULES.items()
        }
        print(f"recorded {task.name}", flush=True)
    data.write_entries(RECORDS, records)


def levels(
    recipe: Any, curve: lrsched.LossCurve, seed: int, schedule: str
) -> dict[str, list[float | None]]:
    with mock.patch.multiple(look, **RECORDED):
        lrs = look.candidates(curve, schedule)
    found = {}
    for lr in lrs:
        runs = [look.trained(recipe.make(seed), lr, schedule, n) for n in LENGTHS]
        found[f"{lr:.7g}"] = [
            float(f"{run.level:.6g}") if math.isfinite(run.level) else None for run in runs
        ]
    return found


def rise_distances(every: Sequence[Case]) -> dict[str, float]:
    """Decades from the best one-cycle lr up to where the sweep's loss rises for good, by task."""
    gaps: dict[str, list[float]] = {}
    for case in every:
        calm = look.calm_until(case.curve)
        if case.use == "onecycle" and calm is not None:
            gap = math.log10(calm / case.task.truths[case.use].best_lr)
            gaps.setdefault(case.task.name, []).append(gap)
    return {name: float(np.mean(found)) for name, found in gaps.items()}


def report_distances(every: Sequence[Case]) -> None:
    gaps = rise_distances(every)
    kinds = {case.task.name: case.task.kind for case in every}
    left = [
        float(np.median([gap for name, gap in gaps.items() if kinds[name] != kind]))
        for kind in set(kinds.values())
    ]
    values = np.array(list(gaps.values()))
    print(
        f"\nThe loss rises for good {np.median(values):.2f} decades above the best one-cycle lr "
        f"(median of {values.size} tasks; standard deviation {values.std():.2f}; "
        f"{min(left):.2f} to {max(left):.2f} without one of the kinds)"
    )


class Table:
    """Regret of designs by task, means over sweeps and schedules."""

    def __init__(self, every: Sequence[Case], rules: dict[Any, Callable[[Case], float | None]]):
        tasks = {case.task.name: case.task for case in every}
        self.rules = list(rules)
        self.new = np.array([name.startswith("k_") for name in tasks])
        self.kinds = np.array([task.kind for task in tasks.values()])
        places = {name: [c for c in every if c.task.name == name] for name in tasks}
        self.regrets = np.array(
            [
                [np.mean([case.regret(rule(case)) for case in own]) for own in places.values()]
                for rule in rules.values()
            ]
        )

    def best(self, among: np.ndarray) -> int:
        return int(self.regrets[:, among].mean(1).argmin())

    def left_out(self) -> tuple[np.ndarray, list[Any]]:
        """(regret of each task with the rule that suits the other kinds best, these rules)."""
        picks = [self.best(self.kinds != kind) for kind in self.kinds]
        return self.regrets[picks, np.arange(len(picks))], [self.rules[pick] for pick in picks]

    def row(self, title: str, regrets: np.ndarray) -> str:
        public = f"{regrets[~self.new].mean():.3f}" if (~self.new).any() else ""
        return f"{title} | {regrets[self.new].mean():.3f} | {public}"


def report(every: Sequence[Case]) -> None:
    def plain(case: Case) -> float | None:
        return case.curve.suggest(schedule=data.SCHEDULES[case.use]).lr

    table = Table(every, {"plain": plain})
    rows = [table.row("plain suggestion", table.regrets[0])]
    table = Table(every, {design: design.lr for design in (CHOSEN, replace(CHOSEN, tie=0.0))})
    rows.append(table.row("second look as scored live", table.regrets[0]))
    rows.append(table.row("the probe with the lowest end", table.regrets[1]))
    chosen: list[str] = []
    for title, designs in (
        (f"one round, of {len(DESIGNS)}", DESIGNS),
        ("the same, the distance below the rise left at 1", [d for d in DESIGNS if d.below == 1]),
        (f"halving, of {len(HALVING)}", HALVING),
        ("what is taken where none learned, of 3", unlearned()),
    ):
        table = Table(every, {design: design.lr for design in designs})
        regrets, picks = table.left_out()
        rows.append(table.row(f"{title}: chosen by kind", regrets))
        if (~table.new).any():
            on_public = table.regrets[table.best(~table.new)]
            rows.append(table.row(f"{title}: chosen on the public tasks", on_public))
        chosen += [
            f"{title}: by kind, for {picks.count(pick)} of {len(picks)} tasks: {pick}"
            for pick in sorted(set(picks), key=picks.count, reverse=True)
        ]
    data.print_table("mean regret | new kinds | public tasks", rows)
    print("", *chosen, sep="\n")
    report_distances(every)


def unlearned() -> list[Design]:
    return [replace(CHOSEN, unlearned=what) for what in ("middle", "lowest", "sweep")]


def main() -> None:
    parser = data.arguments(__doc__)
    parser.add_argument("--record", action="store_true", help="train anew")
    options = parser.parse_args()
    if options.record:
        record(options.bench)
    report(cases(options.bench))


if __name__ == "__main__":
    main()
