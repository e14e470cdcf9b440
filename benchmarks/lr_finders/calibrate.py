"""Regret of our rule on tasks whose curves had no part in its calibration.

Chosen anew on the other tasks: the width of the smoothing, the parts of the drop that are done and
lost, the exponent of the updates, the weight and reach of the edge, the factor of each schedule.
As shipped: the stretch of the start, where a sweep has diverged, what is an odd batch, and whether
the drop stands out of the noise.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from unittest import mock

import numpy as np
from finders import told as told_rule
from yardstick import SCHEDULES, SWEEPS, Task

from lrsched.curve import features
from lrsched.curve.suggestion import suggest

READINGS = [
    {"SMOOTH_DECADES": width, "DROP_DONE": done, "DROP_LOST": lost}
    for width, done, lost in itertools.product(
        (0.1, 0.15, 0.2, 0.3), (0.8, 0.85, 0.9, 0.95), (0.5, 0.8)
    )
]
EXPONENTS = (0.3, 0.4, 0.5, 0.6, 0.7)
EDGES = ((0.0, 1.0), *itertools.product((0.2, 0.35, 0.5), (1.0, 1.5, 2.0)))  # weight, reach
FACTORS = np.arange(-1.0, 0.6, 0.05)


def left_out(
    fitted: Sequence[Task], scored: Sequence[Task], names: dict[int, str], told: bool
) -> dict[str, list[float]]:
    """{task: mean regret for each sweep}, with what suits the `fitted` tasks of other kinds.

    Where no drop is seen, the answer is a habit, or if `told` what the rule as shipped guesses
    for a user who says whether the model is trained.

    Rescaled copies count with their original as one task. The reading, the exponent and the edge
    are shared by the schedules; each has a factor of its own.
    """
    sweeps, kinds = [*names.values()], {task.base: task.kind for task in (*fitted, *scored)}
    table = _regrets([*{task.name: task for task in (*fitted, *scored)}.values()], sweeps, told)
    found = {}
    for name in {task.base: None for task in scored}:
        others = {task.base for task in fitted if task.kind != kinds[name]}
        fit = np.mean([table[other] for other in sorted(others)], 0).mean(1)  # [schedule, ...]
        setting = fit.min(-1).mean(0).argmin()
        factors = fit[:, setting].argmin(-1)
        mine = [table[name][use, :, setting, factor] for use, factor in enumerate(factors)]
        found[name] = np.mean(mine, 0).tolist()
    return found


def _regrets(tasks: Sequence[Task], sweeps: Sequence[str], told: bool) -> dict[str, np.ndarray]:
    """{base: mean regret [schedule, sweep, setting, factor] over curves and copies of a task}."""
    totals: dict[str, list[np.ndarray]] = {}
    for task in tasks:
        for run in range(len(task.curves[sweeps[0]])):
            found = [
                [_regret(task, sweep, run, use, told) for sweep in sweeps] for use in SCHEDULES
            ]
            totals.setdefault(task.base, []).append(np.array(found))
    return {base: np.mean(found, 0) for base, found in totals.items()}


def _regret(task: Task, sweep: str, run: int, schedule: str, told: bool) -> np.ndarray:
    truth, (lr, loss) = task.truths[schedule], task.curves[sweep][run]
    positions = _positions(sweep, loss.tobytes())
    if positions is None:
        answer = told_rule(lr, loss, SWEEPS[sweep].size, schedule, task) if told else None
        shape = (len(READINGS) * len(EXPONENTS) * len(EDGES), FACTORS.size)
        return np.full(shape, truth.regret(answer or task.habit))
    return np.interp(positions, truth.x, truth.r)


@functools.lru_cache(None)  # shared by the schedules, and by who is told what
def _positions(sweep: str, losses: bytes) -> np.ndarray | None:
    """log10 of the suggestions [setting, factor], as `lrsched.curve.suggestion` has them."""
    loss = np.frombuffer(losses)
    lr, planned = SWEEPS[sweep][: loss.size], SWEEPS[sweep].size
    if suggest(lr, loss, num_steps=planned).lr is None:
        return None
    count, _ = features.readable(loss, planned)
    rows = []
    for reading in READINGS:
        with mock.patch.multiple(features, **reading):
            curve = features.read(lr[:count], loss[:count])
            done, updates, edge = curve.done, curve.updates, curve.edge
        edge = float(curve.x[-1]) if edge is None else edge
        for exponent, (weight, reach) in itertools.product(EXPONENTS, EDGES):
            left = done + exponent * np.log10(updates / features.UPDATES_REFERENCE)
            best = left + weight * min(edge - left, reach) + FACTORS
            rows.append(np.minimum(np.maximum(best, curve.x[0]), edge))
    return np.array(rows)
