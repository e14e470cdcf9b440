"""What suggestions are worth: regret of training with them, ours and the peers', from stored runs.

    python benchmarks/suggestion.py [--bench FOLDER] [--plot regret.png]

Scores the public tasks of the benchmark's folder where it is there, the 16 tasks of other kinds and
the ten fresh ones that are stored beside this file. Regret 0 is the loss that the best learning
rate reaches, 1 is no better than not training.
"""

from __future__ import annotations

import math
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import suggestion_data as data
from suggestion_data import FALLBACK, PROTOCOLS, SCHEDULES, Task
from suggestion_fit import SWEEPS, left_out

from lrsched.curve.cyclical import cyclical_range
from lrsched.curve.peer_rules import PEERS, RuleError, valley_index
from lrsched.curve.suggestion import suggest

# (lr, loss, updates planned, schedule, family) -> lr, None for no answer, NaN for a breakdown
Rule = Callable[[np.ndarray, np.ndarray, int, str, str], float | None]
COLUMNS = "rule | mean regret [95% interval] | median | worst | failures | no answer (tasks)"
RETURNS_NOTHING = ("lightning",)  # where the other peers raise or return NaN
NO_FINDER = {
    "no finder: 3e-4 / 1e-2": {"adam": 3e-4, "sgd": 1e-2},
    "no finder: 1e-3 / 1e-1": {"adam": 1e-3, "sgd": 1e-1},
}


@dataclass(frozen=True)
class Score:
    """Regret of a rule over tasks, schedules and range tests."""

    name: str
    mean: float
    low: float
    high: float
    median: float
    worst: float
    fails: int
    count: int
    silent_tasks: int

    def row(self) -> str:
        name = f"**{self.name}**" if self.name.startswith("ours") else self.name
        return (
            f"{name} | {self.mean:.3f} [{self.low:.2f}, {self.high:.2f}] | {self.median:.3f} | "
            f"{self.worst:.2f} | {self.fails} of {self.count} | {self.silent_tasks}"
        )


def ours(
    lr: np.ndarray, loss: np.ndarray, planned: int, schedule: str, family: str
) -> float | None:
    return suggest(lr, loss, schedule=SCHEDULES[schedule], num_steps=planned).lr


def peer(name: str) -> Rule:
    def rule(lr: np.ndarray, loss: np.ndarray, planned: int, *_: str) -> float | None:
        try:
            return PEERS[name](lr, loss, planned)
        except RuleError:
            return None if name in RETURNS_NOTHING else math.nan

    return rule


def constant(lrs: dict[str, float]) -> Rule:
    return lambda lr, loss, planned, schedule, family: lrs[family]


def rules() -> dict[str, tuple[str, Rule]]:
    """{name: (sweep, rule)}; each peer's on the sweep that it makes by default."""
    found: dict[str, tuple[str, Rule]] = {
        f"ours@{steps}": (protocol, ours) for steps, protocol in SWEEPS.items()
    }
    for name in PEERS:
        default = {"ktrain": "kt_1852", "lightning": "e8_100"}.get(name.split("_")[0], "e7_100")
        found[name] = (default, peer(name))
        if name.startswith("fastai"):
            found[f"{name}_300"] = ("e7_300", peer(name))
    for name, lrs in NO_FINDER.items():
        found[name] = ("e7_300", constant(lrs))
    return found


def score(name: str, protocol: str, rule: Rule, tasks: Sequence[Task]) -> Score:
    regrets, fails, silent = np.empty((len(tasks), 3, len(SCHEDULES))), 0, 0
    for i, task in enumerate(tasks):
        nothing = False
        for j, (lr, loss) in enumerate(task.curves[protocol]):
            for k, schedule in enumerate(SCHEDULES):
                truth = task.truths[schedule]
                found = rule(lr, loss, len(PROTOCOLS[protocol]), schedule, task.family)
                fails += found is not None and truth.fails(found)
                nothing |= found is None
                regrets[i, j, k] = truth.regret(FALLBACK[task.family] if found is None else found)
        silent += nothing
    low, high = interval(regrets.mean((1, 2)), [task.base for task in tasks])
    both = regrets.mean(2)
    return Score(
        *(name, float(both.mean()), low, high, float(np.median(both)), float(both.max())),
        *(fails, regrets.size, silent),
    )


def interval(regrets: np.ndarray, bases: list[str]) -> tuple[float, float]:
    """95% bootstrap interval of the mean; copies of a task are drawn together."""
    groups = [np.flatnonzero(np.array(bases) == base) for base in sorted(set(bases))]
    draws = np.random.default_rng(0).integers(len(groups), size=(1000, len(groups)))
    means = [regrets[np.concatenate([groups[i] for i in draw])].mean() for draw in draws]
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high


def print_left_out(sets: dict[str, list[Task]]) -> None:
    """Tasks of these sets take part in every calibration."""
    every = [task for tasks in sets.values() for task in tasks]
    found = {
        "left out by kind": left_out(every, lambda task: task.kind),
        "left out one by one": left_out(every, lambda task: task.base),
    }
    rows = []
    for title, tasks in reversed(sets.items()):
        for how, regrets in found.items():
            means = np.mean([[regrets[task.base][n] for n in SWEEPS] for task in tasks], 0)
            rows.append(" | ".join([f"{title}, {how}", *(f"{mean:.3f}" for mean in means)]))
    columns = " | ".join(["mean regret", *(f"{steps} steps" for steps in SWEEPS)])
    data.print_table(columns, rows, "Ours, calibrated on other tasks")


def print_confidence(sets: dict[str, list[Task]]) -> None:
    """How the suggestions differ in regret by what they say of themselves."""
    columns = (
        "tasks, steps | confident: regret < 0.25 | mean | in doubt: number | mean | no answer | "
        "band's ends < 0.25"
    )
    data.print_table(columns, by_sweep(confidence, sets), "Ours, by what it says of itself")


def by_sweep(row: Callable[[list[Task], str], str], sets: dict[str, list[Task]]) -> list[str]:
    return [
        f"{title}, {steps} | {row(tasks, protocol)}"
        for title, tasks in sets.items()
        for steps, protocol in SWEEPS.items()
    ]


def confidence(tasks: list[Task], protocol: str) -> str:
    sure: list[float] = []
    unsure: list[float] = []
    ends: list[bool] = []
    silent = 0
    for task in tasks:
        for lr, loss in task.curves[protocol]:
            for schedule, truth in task.truths.items():
                found = suggest(lr, loss, schedule=SCHEDULES[schedule])
                if found.lr is None:
                    silent += 1
                    continue
                (sure if found.confident else unsure).append(truth.regret(found.lr))
                ends += [truth.regret(end) < 0.25 for end in found.band or ()]
    doubt = f"{np.mean(unsure):.3f}" if unsure else ""
    return (
        f"{np.mean(np.array(sure) < 0.25):.0%} of {len(sure)} | {np.mean(sure):.3f} | "
        f"{len(unsure)} | {doubt} | {silent} | {np.mean(ends):.0%}"
    )


def print_cyclical(sets: dict[str, list[Task]]) -> None:
    """Training with the ends of the cyclical range: one-cycle up to the upper, the lower constant.

    The lower one should train, but more slowly than the best constant lr.
    """
    columns = (
        "tasks, steps | max_lr: regret < 0.25 | base_lr: regret < 0.9 | below the best lr | "
        "all three | max_lr / base_lr | no answer"
    )
    data.print_table(columns, by_sweep(cyclical, sets), "The cyclical range")


def cyclical(tasks: list[Task], protocol: str) -> str:
    rows = []
    sweeps = [(task, *curve) for task in tasks for curve in task.curves[protocol]]
    for task, lr, loss in sweeps:
        found = cyclical_range(lr, loss, len(PROTOCOLS[protocol]))
        if found.base_lr is not None:
            base, top = found
            constant = task.truths["constant"]
            works = task.truths["onecycle"].regret(top) < 0.25
            rows.append((works, constant.regret(base) < 0.9, base < constant.best_lr, top / base))
    table = np.array(rows, float)
    shares = [*table[:, :3].mean(0), table[:, :3].all(1).mean()]
    low, middle, high = np.quantile(table[:, 3], (0.1, 0.5, 0.9))
    return (
        " | ".join(f"{share:.0%}" for share in shares)
        + f" | {middle:.0f} ({low:.0f} to {high:.0f}) | {len(sweeps) - len(rows)} of {len(sweeps)}"
    )


def best_single(tasks: list[Task]) -> float:
    """Mean regret of one perfect lr for each task, the same for both schedules."""
    grid = np.linspace(-6, 2, 1000)
    means = [
        np.mean([np.interp(grid, truth.x, truth.r) for truth in task.truths.values()], 0).min()
        for task in tasks
    ]
    return float(np.mean(means))


def valley_by_definition(losses: Any) -> int:
    """Two nested loops over the items of a tensor, which is how fastai goes about it."""
    lengths, longest, end = [1] * len(losses), 1, 0
    for i in range(1, len(losses)):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] <= lengths[j]:
                lengths[i] = lengths[j] + 1
        if lengths[i] > longest:
            longest, end = lengths[i], i
    third = longest / 3
    return end - longest + int(third) + int(third / 2)


def valley_times(count: int = 1000) -> str:
    losses = np.cumsum(np.random.default_rng(0).standard_normal(count))
    fast = milliseconds(lambda: valley_index(losses))
    text = f"valley of {count} losses: {fast:.2f} ms"
    try:
        import torch
    except ImportError:
        return f"{text} (torch, to compare with loops over a tensor, is not installed)"
    tensor = torch.from_numpy(losses)
    start = time.perf_counter()
    index = valley_by_definition(tensor)
    slow = (time.perf_counter() - start) * 1e3
    assert index == valley_index(losses)
    return f"{text}, {slow / fast:.0f} times faster than loops over a tensor ({slow:.0f} ms)"


def milliseconds(function: Callable[[], object]) -> float:
    timer = timeit.Timer(function)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e3


def draw(tables: dict[str, list[Score]], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(tables), 5), layout="constrained")
    for ax, (title, scores) in zip(
        figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True
    ):
        names = [entry.name for entry in scores]
        for place, entry in enumerate(scores):
            color = "tab:red" if entry.name.startswith("ours") else "0.6"
            ax.barh(place, entry.mean, color=color)
            ax.plot([entry.low, entry.high], [place, place], color="black", linewidth=1)
        ax.set_yticks(range(len(names)), names, fontsize="small")
        ax.invert_yaxis()
        ax.set_title(title)
        ax.set_xlabel("mean regret (0: best lr, 1: no better than not training)")
        ax.set_xlim(0, 1)
    figure.savefig(path, dpi=110)
    print(f"\nplot: {path}")


def main() -> None:
    parser = data.arguments(__doc__)
    parser.add_argument("--plot", metavar="PNG", help="draw regret by rule")
    options = parser.parse_args()
    sets = {"public tasks": data.public_tasks(options.bench), "new kinds": data.new_tasks()}
    if not sets["public tasks"]:
        print(f"The public tasks are left out: {options.bench} has none (see --bench).")
        del sets["public tasks"]

    print_left_out(sets)
    sets["fresh tasks"] = data.fresh_tasks()
    tables = {}
    for title, tasks in sets.items():
        scores = [score(name, *rule, tasks) for name, rule in rules().items()]
        tables[title] = sorted(scores, key=lambda entry: entry.mean)
        rows = [entry.row() for entry in tables[title]]
        data.print_table(COLUMNS, rows, f"{len(tasks)} {title}")
        print(f"\nOne perfect lr for each task: {best_single(tasks):.3f}")
    print_confidence(sets)
    print_cyclical(sets)
    print(f"\n{valley_times()}")
    if options.plot:
        draw(tables, options.plot)


if __name__ == "__main__":
    main()
