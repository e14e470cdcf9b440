"""What the core costs, as ratios: values, scalar calls, memory and import.

python benchmarks/core.py
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from timing import ratios

import lrsched

STEPS = 1_000_000


def closure(step: int) -> float:
    """A 1cycle over 1,000 steps as one would write it by hand."""
    if step <= 299:
        return 0.1 + (0.004 - 0.1) / 2 * (1 + math.cos(math.pi * step / 299))
    return 4e-7 + (0.1 - 4e-7) / 2 * (1 + math.cos(math.pi * (step - 299) / 700))


def each(function: object, steps: range = range(1000)) -> None:
    for step in steps:
        function(step)  # type: ignore[operator]


def peak_over_result() -> float:
    schedule = lrsched.one_cycle(0.1, STEPS)
    schedule(0)
    tracemalloc.start()
    values = schedule.values()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / values.nbytes


def import_ratio(code: str, rounds: int = 15) -> float:
    """Seconds that `code` takes in a fresh process over those of `import numpy`, paired."""

    def seconds(code: str) -> float:
        code = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)

    seconds(code)
    return statistics.median(seconds(code) / seconds("import numpy") for _ in range(rounds))


def main() -> None:
    start = time.perf_counter()
    long, short = lrsched.one_cycle(0.1, STEPS), lrsched.one_cycle(0.1, 1000)
    angles = np.linspace(0, math.pi, STEPS)
    curve = ratios({"np.cos": lambda: np.cos(angles), "values": long.values}, "np.cos")
    calls = ratios({"closure": lambda: each(closure), "call": lambda: each(short)}, "closure", 41)
    print("                                     bound   ratio   [quartiles]")
    print(f"values of 1e6 steps / one np.cos      2.5   {curve['values']}")
    print(f"one int step / a math closure         8     {calls['call']}")
    print(f"peak memory of values / its result    1.25  {peak_over_result():7.3f}")
    print(f"import lrsched / import numpy         1.05  {import_ratio('import lrsched'):7.3f}")
    first_use = import_ratio("import lrsched; lrsched.one_cycle(0.1, 100)")
    print(f"  and its first schedule, NumPy too         {first_use:7.3f}")
    print(f"({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
