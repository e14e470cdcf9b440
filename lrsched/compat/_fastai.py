"""The fit methods of fastai's Learner (2.8), in steps where fastai counts epochs.

fastai places step i of n at the position i / n, so its last value, at position 1, is never used;
the knots here lie one step after torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrsched._validate import (
    check_fraction,
    check_int,
    check_momentum,
    check_number_of_segments,
    check_positive,
    check_sequence,
)
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment


def fastai_fit_one_cycle(
    lr_max: float,
    total_steps: int,
    div: float = 25.0,
    div_final: float = 1e5,
    pct_start: float = 0.25,
    moms: Sequence[float] = (0.95, 0.85, 0.95),
) -> tuple[Schedule, Schedule]:
    """fit_one_cycle -> (lr, momentum); `total_steps` is `n_epoch * len(dls.train)`.

    `div_final` divides `lr_max`, not the first lr as torch's `final_div_factor` does.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or `moms` not of three values.
    """
    lr_max = check_positive("lr_max", lr_max)
    div, div_final = check_positive("div", div), check_positive("div_final", div_final)
    moms = [
        check_momentum("moms", m) for m in check_sequence("moms", moms, "three momentum values")
    ]
    if len(moms) != 3:
        raise ValueError(f"moms must be three values (start, peak, end), got {len(moms)}")
    lr = _two_cosines(total_steps, pct_start, lr_max / div, lr_max, lr_max / div_final)
    return lr, _two_cosines(total_steps, pct_start, *moms)


def fastai_fit_flat_cos(
    lr: float, total_steps: int, div_final: float = 1e5, pct_start: float = 0.75
) -> Schedule:
    """fit_flat_cos: hold `lr`, then a cosine to `lr / div_final`; momentum is not cycled.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    lr, div_final = check_positive("lr", lr), check_positive("div_final", div_final)
    return _two_cosines(total_steps, pct_start, lr, lr, lr / div_final)


def _two_cosines(
    total_steps: int, pct_start: float, start: float, middle: float, end: float
) -> Schedule:
    total_steps = check_int("total_steps", total_steps, 1)
    knot = check_fraction("pct_start", pct_start) * total_steps
    knots = (0, start), (knot, middle), (total_steps, end)
    return Schedule.through(knots, ("cos", "cos"), total_steps=total_steps)


def fastai_fit_sgdr(n_cycles: int, cycle_len: int, lr_max: float, cycle_mult: int = 2) -> Schedule:
    """fit_sgdr: `n_cycles` cosines from `lr_max` to 0; `cycle_len` in steps.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    lr_max = check_positive("lr_max", lr_max)
    n_cycles, cycle_len = check_int("n_cycles", n_cycles, 1), check_int("cycle_len", cycle_len, 1)
    cycle_mult = check_int("cycle_mult", cycle_mult, 1)
    check_number_of_segments("n_cycles", n_cycles)
    segments, start = [], 0
    for cycle in range(n_cycles):
        end = start + cycle_len * cycle_mult**cycle
        segments.append(Segment(start, end, lr_max, 0.0, "cos"))
        start = end
    return Schedule(tuple(segments), start)
