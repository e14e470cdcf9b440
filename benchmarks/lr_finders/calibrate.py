"""Regret of our rule on tasks whose curves had no part in its calibration.

Chosen anew on the other tasks: the width of the smoothing, the parts of the drop that are done and
lost, the exponent of the updates, the weight and reach of the edge, the factor of each schedule.
As shipped: the stretch of the start, where a sweep has diverged, what is an odd batch, and whether
the drop stands out of the noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
from yardstick import OURS, SCHEDULES, Task, plan

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


def left_out(tasks: Sequence[Task], group: Callable[[Task], str]) -> dict[str, dict[str, float]]:
    """{task: {sweep: mean regret}}, each with the constants that suit the other groups best.

    Rescaled copies count with their original as one task. The reading, the exponent and the edge
    are shared by the schedules; each has a factor of its own.
    """
    names = sorted({task.base for task in tasks})
    groups = np.array([group(next(t for t in tasks if t.base == name)) for name in names])
    table = np.concatenate([_regrets(tasks, names, reading) for reading in READINGS], axis=3)
    found = {}
    for place, name in enumerate(names):
        # [schedule, setting, factor]
        fit = table[groups != groups[place]].mean((0, 2))
        setting = fit.min(-1).mean(0).argmin()
        factors = fit[:, setting].argmin(-1)
        mine = [table[place, use, :, setting, factor] for use, factor in enumerate(factors)]
        found[name] = dict(zip(OURS, np.mean(mine, 0).tolist(), strict=True))
    return found


def _regrets(tasks: Sequence[Task], names: list[str], reading: dict[str, float]) -> np.ndarray:
    """Mean regret [task, schedule, sweep, setting, factor] over curves and copies of a task."""
    shape = (len(SCHEDULES), len(OURS), len(EXPONENTS) * len(EDGES), FACTORS.size)
    total, count = np.zeros((len(names), *shape)), np.zeros((len(names), 1, len(OURS), 1, 1))
    for task in tasks:
        place = names.index(task.base)
        for i, sweep in enumerate(OURS):
            for lr, loss in task.curves[sweep]:
                positions = _positions(lr, loss, len(plan(sweep, task.family)), reading)
                for use, truth in enumerate(task.truths.values()):
                    total[place, use, i] += (
                        truth.regret(task.habit)
                        if positions is None
                        else np.interp(positions, truth.x, truth.r)
                    )
                count[place, 0, i] += 1
    return total / count


def _positions(
    lr: np.ndarray, loss: np.ndarray, planned: int, reading: dict[str, float]
) -> np.ndarray | None:
    """log10 of the suggestions [setting, factor], as `lrsched.curve.suggestion` has them."""
    if suggest(lr, loss, num_steps=planned).lr is None:
        return None
    count, _ = features.readable(loss, planned)
    with mock.patch.multiple(features, **reading):
        curve = features.read(lr[:count], loss[:count])
        done, updates, edge = curve.done, curve.updates, curve.edge
    edge = float(curve.x[-1]) if edge is None else edge
    rows = []
    for exponent, (weight, reach) in itertools.product(EXPONENTS, EDGES):
        left = done + exponent * np.log10(updates / features.UPDATES_REFERENCE)
        best = left + weight * min(edge - left, reach) + FACTORS
        rows.append(np.minimum(np.maximum(best, curve.x[0]), edge))
    return np.array(rows)
