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

    def __str__(self) -> str:
        return (
            f"{self.median:7.3f}  [{self.low:.3f}, {self.high:.3f}]  min/min {self.of_minima:.3f}"
        )


def ratios(
    cases: dict[str, Callable[[], object]], baseline: str, rounds: int = 15
) -> dict[str, Ratio]:
    """Median, quartiles and ratio of minima of every case over the baseline."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    enabled = gc.isenabled()
    gc.disable()
    try:
        for case in cases.values():
            case()
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                start = time.perf_counter()
                cases[name]()
                times[name].append(time.perf_counter() - start)
    finally:
        if enabled:
            gc.enable()
    base = times[baseline]
    result = {}
    for name, own in times.items():
        paired = [a / b for a, b in zip(own, base, strict=True)]
        low, median, high = statistics.quantiles(paired, n=4)
        result[name] = Ratio(median, low, high, min(own) / min(base))
    return result
