"""What suggestions are worth: regret of training with them, ours and the peers', from stored runs.

    python benchmarks/suggestion.py [--bench ../shared/suggestion_bench] [--plot regret.png]

The benchmark's own score module does the scoring: regret 0 is the loss that the best learning rate
reaches, 1 is no better than not training. Its folder is beside the repository, not in it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lrsched.peer_rules import PEERS, valley_index
from lrsched.suggestion import (
    EDGE_REACH,
    EDGE_WEIGHT,
    UPDATES_EXPONENT,
    UPDATES_REFERENCE,
    Reading,
    read,
    suggest,
)

REPO = Path(__file__).parents[1]
USES = {"onecycle": "one_cycle", "constant": "constant"}
SWEEPS = {100: "e7_100", 300: "e7_300", 1852: "kt_1852"}


def load(folder: Path) -> ModuleType:
    """The benchmark's score module, with its `store` and `peers`."""
    path = folder / "score.py"
    if not path.is_file():
        sys.exit(f"--bench must be the folder with score.py, got {folder}")
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("lrbench_score", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(lrs: Any, losses: Any, num_it: int, schedule: str) -> float | None:
    return suggest(lrs, losses, schedule=USES[schedule], num_steps=num_it).lr


def regret_table(bench: ModuleType, tasks: list[Any]) -> list[tuple[str, dict[str, float]]]:
    """(rule, numbers over both schedules), best first."""
    peers = {name: f for name, f in bench.peers.RULES.items() if name.removesuffix("_300") in PEERS}
    plain = {name: f for name, f in bench.peers.RULES.items() if name.startswith("no_finder")}
    rules = bench.adapt({**peers, **plain, "ours": ours})
    scored, _, _ = bench.evaluate(rules, tasks)
    rows = [(name, numbers["both"]) for name, numbers in scored.items()]
    return sorted(rows, key=lambda row: row[1]["mean"])


def curves(
    bench: ModuleType, tasks: list[Any], sweep: str
) -> Iterator[tuple[Any, str, Any, np.ndarray, np.ndarray]]:
    """(task, schedule, truth, lr, loss) for every stored curve of a sweep."""
    for task, schedule in itertools.product(tasks, USES):
        truth = bench.store.truth(task, schedule)
        for curve in bench.store.curves(task)[sweep].values():
            yield task, schedule, truth, curve["lr"], curve["loss"]


def confidence(bench: ModuleType, tasks: list[Any], sweep: str) -> str:
    """How the suggestions differ in regret by what they say of themselves."""
    sure, unsure, silent, inside = [], [], 0, []
    for _, schedule, truth, lr, loss in curves(bench, tasks, sweep):
        found = suggest(lr, loss, schedule=USES[schedule])
        if found.lr is None:
            silent += 1
            continue
        (sure if found.confident else unsure).append(truth.regret(found.lr))
        inside += [truth.regret(end) < 0.25 for end in found.band or ()]
    total = len(sure) + len(unsure) + silent
    return (
        f"{np.mean(np.array(sure) < 0.25):.0%} of {len(sure)} confident below 0.25 "
        f"(mean {np.mean(sure):.3f}); {len(unsure)} with doubt (mean {np.mean(unsure):.3f}); "
        f"{silent} of {total} none; {np.mean(inside):.0%} of the band's ends below 0.25"
    )


def left_out(bench: ModuleType, tasks: list[Any]) -> dict[int, float]:
    """Mean regret on tasks whose curves, with those of their kin, had no part in the calibration.

    Everything between the reading of a curve and the lr is fitted anew on the other tasks: the
    exponent of the updates, weight and reach of the edge, and a factor for each schedule.
    """
    factors = np.arange(-1.0, 0.6, 0.05)
    exponents, weights, reaches = (0.3, 0.4, 0.5, 0.6, 0.7), (0.0, 0.2, 0.35, 0.5), (1.0, 1.5, 2.0)
    settings = list(itertools.product(exponents, weights, reaches))
    assert (UPDATES_EXPONENT, EDGE_WEIGHT, EDGE_REACH) in settings
    kin, steps, uses, regrets = [], [], [], []
    for count, sweep in SWEEPS.items():
        for task, schedule, truth, lr, loss in curves(bench, tasks, sweep):
            kin.append(task.base or task.name)
            steps.append(count)
            uses.append(schedule)
            if suggest(lr, loss).lr is None:
                fallback = bench.FALLBACK.get(task.family, bench.FALLBACK_OTHER)
                regrets.append(np.full((len(settings), factors.size), truth.regret(fallback)))
                continue
            finite = np.isfinite(loss)
            reading = read(lr[finite], loss[finite])
            best = np.array([position(reading, *setting) for setting in settings])
            best = best[:, None] + factors
            regrets.append(np.interp(best, truth.x, truth.r))
    table = np.array(regrets)  # curve, setting, factor
    kinds, counts, schedules = np.array(kin), np.array(steps), np.array(uses)
    found = np.empty(len(table))
    for kind in np.unique(kinds):
        others = kinds != kind
        # The settings are shared by the schedules, the factor is not.
        means = np.array([table[others & (schedules == use)].mean(0) for use in USES])
        setting = means.min(-1).mean(0).argmin()
        for mean, use in zip(means, USES, strict=True):
            mine = ~others & (schedules == use)
            found[mine] = table[mine, setting, mean[setting].argmin()]
    return {count: float(found[counts == count].mean()) for count in SWEEPS}


def position(reading: Reading, exponent: float, weight: float, reach: float) -> float:
    """log10 of the suggestion before the schedule's factor, as `lrsched.suggestion` has it."""
    left = reading.done + exponent * math.log10(reading.updates / UPDATES_REFERENCE)
    edge = float(reading.x[-1]) if reading.edge is None else reading.edge
    return left + weight * min(edge - left, reach)


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


def draw(rows: list[tuple[str, dict[str, float]]], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    ax = figure.subplots()
    for place, (name, m) in enumerate(reversed(rows)):
        color = "tab:red" if name.startswith("ours") else "0.6"
        ax.barh(place, m["mean"], color=color)
        ax.plot([m["lo"], m["hi"]], [place, place], color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], fontsize="small")
    ax.set_xlabel("mean regret (0: the best learning rate, 1: no better than not training)")
    ax.set_xlim(0, 1)
    figure.savefig(path, dpi=120)
    print(f"\nplot: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = REPO.parent / "shared" / "suggestion_bench"
    parser.add_argument("--bench", type=Path, default=default, help=f"its folder ({default})")
    parser.add_argument("--tasks", help="comma-separated names; all by default")
    parser.add_argument("--plot", metavar="PNG", help="draw regret by rule")
    options = parser.parse_args()
    bench = load(options.bench.resolve())
    tasks = bench.store.tasks(names=options.tasks and options.tasks.split(","))

    rows = regret_table(bench, tasks)
    print(f"{len(tasks)} tasks, mean over 1cycle and constant training\n")
    print("| rule | mean regret [95% interval] | median | worst | failures | no answer (tasks) |")
    print("|---|---|---|---|---|---|")
    for name, m in rows:
        print(
            f"| {name} | {m['mean']:.3f} [{m['lo']:.2f}, {m['hi']:.2f}] | {m['median']:.3f} | "
            f"{m['worst']:.2f} | {m['fails']} of {m['n']} | {m['abstained_tasks']} |"
        )
    print("\nours, each task with the calibration of the others (mean regret):")
    for steps, regret in left_out(bench, tasks).items():
        print(f"  {steps:4d} steps: {regret:.3f}")
    print("\nours, by what it says of itself:")
    for steps, sweep in SWEEPS.items():
        print(f"  {steps:4d} steps: {confidence(bench, tasks, sweep)}")

    print(f"\n{valley_times()}")
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
