"""Ratios of times inside one process: every round runs every case once, in shuffled order."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable
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


def ratios(
    cases: dict[str, Callable[[], object]], baseline: str, rounds: int = 15
) -> dict[str, Ratio]:
    """Median, quartiles and ratio of minima of every case over the baseline.

    The ratio of CPU time, the median over the rounds as well, is of all threads of the process;
    where other programs run, it is steadier than that of wall-clock time, and blind to waiting.
    """
    clocks = (time.perf_counter, time.process_time)
    times: dict[str, list[list[float]]] = {name: [] for name in cases}
    order = list(cases)
    enabled = gc.isenabled()
    gc.disable()
    try:
        for case in cases.values():
            case()
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                start = [clock() for clock in clocks]
                cases[name]()
                times[name].append([clock() - t for clock, t in zip(clocks, start, strict=True)])
    finally:
        if enabled:
            gc.enable()
    base = times[baseline]
    result = {}
    for name, own in times.items():
        wall, cpu = ([a[i] / b[i] for a, b in zip(own, base, strict=True)] for i in (0, 1))
        low, median, high = statistics.quantiles(wall, n=4)
        of_minima = min(own)[0] / min(base)[0]
        result[name] = Ratio(median, low, high, of_minima, statistics.median(cpu))
    return result
