"""What a second look would be worth: range tests and the probes of `suggestion_probes.py`, live.

    python benchmarks/suggestion_refine.py [--bench FOLDER] [--jobs 2]
        [--tasks NAME,NAME]

Three runs of every task for both schedules, 300 steps of sweep and 300 of probes each: about 15
minutes in all, on one thread for each job. Data sets and models are those of the benchmark's
folder; regret is read from the stored trainings, as `suggestion.py` does.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import suggestion_data as data
import suggestion_fresh
import suggestion_probes as probes
import suggestion_tasks
import torch

from lrsched_torch.finder.lr_find import lr_find

SEEDS = (100, 101, 102)


def stored_tasks(folder: Path) -> dict[str, list[data.Task]]:
    return {
        "fresh tasks": data.fresh_tasks(),
        "new kinds": data.new_tasks(),
        "public tasks": data.public_tasks(folder),
    }


@functools.cache
def prepared(folder: Path) -> tuple[dict[str, Any], dict[str, data.Task]]:
    """(what makes the models and the data, what is stored of their trainings), by task."""
    (bench,) = data.bench_modules(folder, "tasks")
    torch.set_num_threads(1)
    recipes = (*bench.TASKS, *suggestion_tasks.define(bench), *suggestion_fresh.define(bench))
    stored = itertools.chain(*stored_tasks(folder).values())
    return {task.name: task for task in recipes}, {task.name: task for task in stored}


def regrets(folder: Path, name: str) -> np.ndarray:
    """[runs, (regret plain, regret refined, confident plain, confident refined)]."""
    recipes, stored = prepared(folder)
    return np.array(
        [
            one_run(recipes[name], stored[name], seed, schedule)
            for seed in SEEDS
            for schedule in data.SCHEDULES
        ]
    )


def one_run(task: Any, stored: data.Task, seed: int, schedule: str) -> tuple[float, ...]:
    run = task.make(seed)
    # Under the name by which lr_find puts the order of the batches back.
    run.loader.generator = run.loader.g
    use = data.SCHEDULES[schedule]
    curve = lr_find(run.model, run.optimizer(1e-3), run.criterion, run.loader)
    plain = curve.suggest(schedule=use)
    made = [
        probes.trained(task.make(seed), lr, use, probes.STEPS)
        for lr in probes.candidates(curve, use)
    ]
    refined, confident = probes.second_look(plain, made)
    truth, fallback = stored.truths[schedule], data.FALLBACK[stored.family]
    regrets = (truth.regret(lr or fallback) for lr in (plain.lr, refined))
    return (*regrets, plain.confident, confident)


def report(title: str, rows: dict[str, np.ndarray]) -> None:
    """Means over runs and schedules, task by task."""
    means = np.array([found.mean(0)[:2] for found in rows.values()])
    every = np.concatenate(list(rows.values()))
    lines = [
        f"{name} | {plain:.3f} | {refined:.3f}"
        for name, (plain, refined) in zip(rows, means, strict=True)
    ]
    lines.append("**mean** | **{:.3f}** | **{:.3f}**".format(*means.mean(0)))
    data.print_table("task | plain | refined", lines, f"{len(rows)} {title}")
    for column, name in enumerate(("plain", "refined")):
        sure = every[every[:, 2 + column] > 0, column]
        print(
            f"\n{name}: worst {every[:, column].max():.2f}; below 0.25 are "
            f"{(every[:, column] < 0.25).sum()} of {len(every)}, "
            f"{(sure < 0.25).sum()} of the {sure.size} confident ones"
        )


def main() -> None:
    parser = data.arguments(__doc__)
    parser.add_argument("--tasks", help="comma-separated names; all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    options = parser.parse_args()
    wanted = options.tasks and options.tasks.split(",")
    sets = {
        title: [task.name for task in tasks if not wanted or task.name in wanted]
        for title, tasks in stored_tasks(options.bench).items()
    }
    names = list(itertools.chain(*sets.values()))
    # A forked child of a process that has used torch may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        every = pool.map(functools.partial(regrets, options.bench), names)
        found = dict(zip(names, every, strict=True))
    for title, tasks in sets.items():
        if tasks:
            report(title, {name: found[name] for name in tasks})


if __name__ == "__main__":
    main()
