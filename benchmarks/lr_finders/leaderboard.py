"""What learning-rate finders are worth: regret of training with what they suggest.

    python leaderboard.py [TABLE ...] [--sets new,fresh] [--family sgd] [--finder FILE.py]

Seconds, from stored sweeps and trainings. Regret 0 is the loss that the best learning rate reaches,
1 is no better than not training.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import calibrate
import numpy as np
from finders import Rule, finders, ours
from yardstick import EXPONENTIAL, KNEES, SCHEDULES, SETS, SWEEPS, TWO_SPEED, Task, tasks

from lrsched.curve.suggestion import suggest

Sets = dict[str, list[Task]]
LENGTHS = sorted({*EXPONENTIAL, *TWO_SPEED})
OURS = ("two_100", "two_300", "two_600")  # whose suggestions are looked into
USUAL_KNEE = -3.5
# log10 of a tenth of the own lr, where that is below the usual knee: of 1e-3 for Adam and its like,
# 1e-2 for SGD, and a tenth of these to go on with a trained model.
OWN_KNEES = {"fresh, adam": -4, "trained, adam": -5, "trained, sgd": -4}


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
                answer = rule(lr, loss, len(SWEEPS[sweep]), schedule, task)
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
    rows = []
    for name, (sweep, rule) in finders(options.finder).items():
        means, cells, fails, silent = [], [], 0, 0
        for members in sets.values():
            found, failed, nothing = regrets(sweep, rule, members)
            low, high = interval(found.mean((1, 2)), [task.base for task in members])
            means.append(float(found.mean()))
            cells.append(f"{found.mean():.3f} [{low:.2f}, {high:.2f}]")
            fails, silent = fails + failed, silent + nothing
        shown = f"**{name}**" if name.startswith("ours") else name
        rows.append((np.mean(means), shown, *cells, fails, silent))
    rows.sort(key=lambda row: row[0])
    columns = ("mean regret [95% interval]", *sets, "failures", "no answer (tasks)")
    least = [float(np.mean([task.least for task in members])) for members in sets.values()]
    best = ("one perfect lr for each task", *least, 0, 0)
    print_table("Finders", columns, [best, *(row[1:] for row in rows)])


def by_task(sets: Sets, options: argparse.Namespace) -> None:
    for title, members in sets.items():
        table = [regrets(sweep, ours, members)[0].mean((1, 2)).tolist() for sweep in OURS]
        rows = [(task.name, *row) for task, *row in zip(members, *table, strict=True)]
        print_table(f"{title}, ours by task", ("mean regret", *OURS), rows)


def left_out(sets: Sets, options: argparse.Namespace) -> None:
    """Calibrated on the public tasks and the new kinds, less the kind that is scored."""
    fitted, scored = [*tasks("public"), *tasks("new")], [t for s in sets.values() for t in s]
    paces = {
        "two speeds": (TWO_SPEED, False),
        "told": (TWO_SPEED, True),
        "equal ratios": (EXPONENTIAL, False),
    }
    found = {pace: calibrate.left_out(fitted, scored, *how) for pace, how in paces.items()}
    cells = []
    for members, (pace, (names, _)) in itertools.product(sets.values(), paces.items()):
        mine = np.array([found[pace][task.base] for task in members])
        cells.append(dict(zip(names, mine.mean(0).tolist(), strict=True)))
    rows = [(steps, *(cell.get(steps, "") for cell in cells)) for steps in LENGTHS]
    columns = map(", ".join, itertools.product(sets, paces))
    print_table("Ours, calibrated on other tasks", ("left out by kind, updates", *columns), rows)


def by_sweep(sets: Sets, options: argparse.Namespace) -> None:
    """The rule as shipped, on sweeps of both paces and of several lengths."""
    rows = []
    for steps in LENGTHS:
        cells = []
        for members, names in itertools.product(sets.values(), (TWO_SPEED, EXPONENTIAL)):
            sweep = names.get(steps)
            cells.append(float(regrets(sweep, ours, members)[0].mean()) if sweep else "")
        rows.append((steps, *cells))
    columns = map(", ".join, itertools.product(sets, ("two speeds", "equal ratios")))
    print_table("Ours as shipped, by sweep", ("updates", *columns), rows)


def by_knee(sets: Sets, options: argparse.Namespace) -> None:
    """For tasks that have a sweep at each of the knees: public ones and new kinds."""
    members = [t for s in sets.values() for t in s if {*KNEES.values()} <= {*t.curves}]
    if not members:
        return
    kinds = np.array([f"{'trained' if t.trained else 'fresh'}, {t.family}" for t in members])
    found = {x: regrets(sweep, ours, members)[0].mean((1, 2)) for x, sweep in KNEES.items()}
    usual, groups = found[USUAL_KNEE], sorted(set(kinds.tolist()))
    table = {f"10^{x:g}": means for x, means in found.items()}
    own = [found[OWN_KNEES.get(kind, USUAL_KNEE)][i] for i, kind in enumerate(kinds.tolist())]
    table["a tenth of the own lr"] = np.array(own)
    rows = []
    for knee, means in table.items():
        low, high = interval(means - usual, [task.base for task in members])
        cells = [float(means[kinds == group].mean()) for group in groups]
        less = f"{(means - usual).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append((knee, *cells, float(means.mean()), less))
    titles = (f"{group} ({np.sum(kinds == group)})" for group in groups)
    columns = ("knee", *titles, f"all ({len(members)})", f"less 10^{USUAL_KNEE} [95% interval]")
    print_table("Ours by two speeds, 300 updates, by knee", columns, rows)


def confidence(sets: Sets, options: argparse.Namespace) -> None:
    """How suggestions differ in regret by what they say of themselves."""
    columns = (
        *("tasks, steps", "confident: regret < 0.25", "mean", "in doubt: number", "mean"),
        *("no answer", "band's ends < 0.25", "other runs in the band"),
    )
    rows = [
        (f"{title}, {sweep.removeprefix('two_')}", *confidence_of(members, sweep))
        for title, members in sets.items()
        for sweep in options.sweeps.split(",")
    ]
    print_table("Ours, by what it says of itself", columns, rows)


def confidence_of(members: list[Task], sweep: str) -> tuple[Any, ...]:
    planned = len(SWEEPS[sweep])
    runs = [
        (truth, [suggest(*curve, schedule=use, num_steps=planned) for curve in task.curves[sweep]])
        for task in members
        for use, truth in task.truths.items()
    ]
    silent = sum(found.lr is None for _, answers in runs for found in answers)
    given = [(found, truth) for truth, answers in runs for found in answers if found.lr]
    sure = np.array([truth.regret(found.lr) for found, truth in given if found.confident])
    unsure = [truth.regret(found.lr) for found, truth in given if not found.confident]
    ends = np.mean([truth.regret(end) < 0.25 for found, truth in given for end in found.band])
    inside = [
        one.band[0] <= other.lr <= one.band[1]
        for _, answers in runs
        for one, other in itertools.permutations([found for found in answers if found.lr], 2)
    ]
    doubt = float(np.mean(unsure)) if unsure else ""
    good, bands = f"{np.mean(sure < 0.25):.0%} of {len(sure)}", (ends, np.mean(inside))
    return good, float(sure.mean()), len(unsure), doubt, silent, *(f"{x:.0%}" for x in bands)


TABLES = {
    "finders": by_finder,
    "left-out": left_out,
    "confidence": confidence,
    "tasks": by_task,
    "sweeps": by_sweep,
    "knees": by_knee,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all")
    parser.add_argument("--sets", default=",".join(SETS), help="public,new,fresh,held")
    parser.add_argument("--family", help="score tasks of sgd or of adam alone")
    parser.add_argument("--max-batch", type=int, default=9999, help="score tasks of small batches")
    parser.add_argument("--sweeps", default=",".join(OURS), help="of the table confidence")
    parser.add_argument("--finder", metavar="FILE", help="score the FINDERS of this file too")
    options = parser.parse_args()
    sets = {
        SETS[name]: members
        for name in options.sets.split(",")
        if (
            members := [
                task
                for task in tasks(name)
                if options.family in (None, task.family) and task.batch_size <= options.max_batch
            ]
        )
    }
    for table in options.tables or TABLES:
        TABLES[table](sets, options)


if __name__ == "__main__":
    main()
