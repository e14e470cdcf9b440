"""Ratios of times inside one process: every round runs every case once, in shuffled order."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Ratio(NamedTuple):
    """Time of a case over the time of the baseline in the same round."""

    median: float
    low: float
    high: float
    of_minima: float
    of_cpu: float

    def __str__(self) -> str:
        return (
            f"{self.median:7.3f}  [{self.low:.3f}, {self.high:.3f}]  min/min {self.of_minima:.3f}  "
            f"cpu {self.of_cpu:.3f}"
        )


# Seconds by the clock and of CPU, of every round of every case.
Times = dict[str, list[tuple[float, float]]]


def ratios(
    cases: dict[str, Callable[[], object]], baseline: str, rounds: int = 15
) -> dict[str, Ratio]:
    """Median, quartiles and ratio of minima of every case over the baseline."""
    return compare(measure(cases, rounds), baseline)


def measure(cases: dict[str, Callable[[], object]], rounds: int) -> Times:
    """The times of every case, after a call of each that does not count."""
    times: Times = {name: [] for name in cases}
    order = list(cases)
    enabled = gc.isenabled()
    gc.disable()
    try:
        for case in cases.values():
            case()
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                wall, cpu = time.perf_counter(), time.process_time()
                cases[name]()
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    finally:
        if enabled:
            gc.enable()
    return times


def pool(parts: Iterable[Times]) -> Times:
    """The rounds of several processes as if they were of one; each keeps its own baseline."""
    pooled: Times = {}
    for times in parts:
        for name, own in times.items():
            pooled.setdefault(name, []).extend(own)
    return pooled


def compare(times: Times, baseline: str) -> dict[str, Ratio]:
    """Every case over the baseline, round by round.

    The ratio of CPU time, the median over the rounds as well, is of all threads of the process;
    where other programs run, it is steadier than that of wall-clock time, and blind to waiting.
    """
    base = times[baseline]
    result = {}
    for name, own in times.items():
        wall, cpu = ([a[i] / b[i] for a, b in zip(own, base, strict=True)] for i in (0, 1))
        low, median, high = statistics.quantiles(wall, n=4)
        of_minima = min(own)[0] / min(base)[0]
        result[name] = Ratio(median, low, high, of_minima, statistics.median(cpu))
    return result
