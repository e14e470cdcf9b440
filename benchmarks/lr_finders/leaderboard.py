"""What learning-rate finders are worth: regret of training with what they suggest.

    python leaderboard.py [TABLE ...] [--sets new,fresh] [--finder FILE.py] [--plot PNG]

Seconds, from stored sweeps and trainings. Regret 0 is the loss that the best learning rate reaches,
1 is no better than not training.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

import calibrate
import numpy as np
from finders import Rule, finders, ours
from yardstick import OURS, SCHEDULES, SETS, Task, plan, tasks

from lrsched.curve.suggestion import suggest

Sets = dict[str, list[Task]]
Row = tuple[str, float, float, float, float, float, str, int]
STEPS = [f"{len(plan(sweep))} steps" for sweep in OURS]


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row)
        print(f"| {' | '.join(cells)} |")


def regrets(sweep: str, rule: Rule, tasks: Sequence[Task]) -> tuple[np.ndarray, int, int]:
    """(regret [task, run, schedule], answers that are none or ruin a training, silent tasks)."""
    found, fails, silent = np.empty((len(tasks), 3, len(SCHEDULES))), 0, 0
    for i, task in enumerate(tasks):
        answers = []
        for j, (lr, loss) in enumerate(task.curves[sweep]):
            for k, (schedule, truth) in enumerate(task.truths.items()):
                answer = rule(lr, loss, len(plan(sweep, task.family)), schedule, task.family)
                answers.append(answer)
                fails += answer is not None and truth.fails(answer)
                found[i, j, k] = truth.regret(task.habit if answer is None else answer)
        silent += None in answers
    return found, fails, silent


def interval(means: np.ndarray, bases: list[str]) -> tuple[float, float]:
    """95% bootstrap interval of the mean over tasks; copies of a task are drawn together."""
    groups = [np.flatnonzero(np.array(bases) == base) for base in sorted(set(bases))]
    draws = np.random.default_rng(0).integers(len(groups), size=(1000, len(groups)))
    drawn = [means[np.concatenate([groups[i] for i in draw])].mean() for draw in draws]
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return low, high


def by_finder(sets: Sets, options: argparse.Namespace) -> None:
    columns = [
        "finder",
        "mean regret",
        "95% interval",
        "median",
        "worst",
        "failures",
        "no answer (tasks)",
    ]
    means: dict[str, dict[str, tuple[float, float, float]]] = {}
    for title, members in sets.items():
        rows, bases = [], [task.base for task in members]
        for name, (sweep, rule) in finders(options.finder).items():
            found, fails, silent = regrets(sweep, rule, members)
            low, high = interval(found.mean((1, 2)), bases)
            both, count = found.mean(2), f"{fails} of {found.size}"
            spread = f"{low:.2f} to {high:.2f}"
            row = (name, both.mean(), spread, np.median(both), both.max(), count, silent)
            means.setdefault(title, {})[name] = (float(both.mean()), low, high)
            rows.append(row)
        rows.sort(key=lambda row: row[1])
        print_table(f"{len(members)} {title}", columns, rows)
        print(f"\nOne perfect lr for each task: {np.mean([task.least for task in members]):.3f}")
    if options.plot:
        draw(means, options.plot)


def by_task(sets: Sets, options: argparse.Namespace) -> None:
    for title, members in sets.items():
        table = [regrets(sweep, ours, members)[0].mean((1, 2)).tolist() for sweep in OURS]
        rows = [(task.name, *row) for task, *row in zip(members, *table, strict=True)]
        print_table(f"{title}, ours by task", ("mean regret", *STEPS), rows)


def left_out(sets: Sets, options: argparse.Namespace) -> None:
    """Calibrated on the public tasks and the new kinds, less what is scored."""
    fitted, rows = [*tasks("public"), *tasks("new")], []
    for way, group in {"by kind": lambda t: t.kind, "one by one": lambda t: t.base}.items():
        found = calibrate.left_out(fitted, group)
        for title, members in sets.items():
            if {task.base for task in members} <= found.keys():
                means = np.mean(
                    [[found[task.base][sweep] for sweep in OURS] for task in members], 0
                )
                rows.append((f"{title}, left out {way}", *means.tolist()))
    print_table("Ours, calibrated on other tasks", ("mean regret", *STEPS), rows)


def confidence(sets: Sets, options: argparse.Namespace) -> None:
    """How suggestions differ in regret by what they say of themselves."""
    columns = (
        *("tasks, steps", "confident: regret < 0.25", "mean", "in doubt: number", "mean"),
        *("no answer", "band's ends < 0.25"),
    )
    rows = [
        (f"{title}, {len(plan(sweep))}", *confidence_of(members, sweep))
        for title, members in sets.items()
        for sweep in OURS
    ]
    print_table("Ours, by what it says of itself", columns, rows)


def confidence_of(members: list[Task], sweep: str) -> tuple[Any, ...]:
    answers = [
        (suggest(lr, loss, schedule=schedule, num_steps=len(plan(sweep, task.family))), truth)
        for task in members
        for lr, loss in task.curves[sweep]
        for schedule, truth in task.truths.items()
    ]
    given = [(found, truth) for found, truth in answers if found.lr]
    sure = np.array([truth.regret(found.lr) for found, truth in given if found.confident])
    unsure = [truth.regret(found.lr) for found, truth in given if not found.confident]
    ends = np.mean([truth.regret(end) < 0.25 for found, truth in given for end in found.band])
    doubt = float(np.mean(unsure)) if unsure else ""
    good, silent = f"{np.mean(sure < 0.25):.0%} of {len(sure)}", len(answers) - len(given)
    return good, float(sure.mean()), len(unsure), doubt, silent, f"{ends:.0%}"


def draw(tables: dict[str, dict[str, tuple[float, float, float]]], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(tables), 5), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for ax, (title, means) in zip(axes, tables.items(), strict=True):
        names = sorted(means, key=means.__getitem__)
        for place, (mean, low, high) in enumerate(means[name] for name in names):
            ax.barh(place, mean, color="tab:red" if names[place].startswith("ours") else "0.6")
            ax.plot([low, high], [place, place], color="black", linewidth=1)
        ax.set_yticks(range(len(names)), names, fontsize="small")
        ax.invert_yaxis()
        ax.set(title=title, xlabel="mean regret (0: best lr, 1: as not training)", xlim=(0, 1))
    figure.savefig(path, dpi=110)


TABLES = {"finders": by_finder, "left-out": left_out, "confidence": confidence, "tasks": by_task}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all")
    parser.add_argument("--sets", default="public,new,fresh", help="public,new,fresh,held")
    parser.add_argument("--finder", metavar="FILE", help="score the FINDERS of this file too")
    parser.add_argument("--plot", metavar="PNG", help="draw regret by finder")
    options = parser.parse_args()
    sets = {SETS[name]: tasks(name) for name in options.sets.split(",")}
    for table in options.tables or TABLES:
        TABLES[table](sets, options)


if __name__ == "__main__":
    main()
