"""Endless cosine restarts, as torch and Keras both have them."""

from __future__ import annotations

from lrsched.engine.schedule import HORIZON, Schedule
from lrsched.engine.segment import Segment

# A schedule is a list of segments; far more than this and it should be a table.
MAX_CYCLES = 10_000


def endless_cosine_restarts(
    base_lr: float, min_lr: float, first_steps: int, cycle_mult: float, gamma: float
) -> Schedule:
    """Cosine cycles that meet at their ends; each `cycle_mult` as long, `gamma` as high.

    Cycles of one length are a loop; growing ones are written out as long as they end before
    step 2**31 - 1.
    """
    if cycle_mult == 1:
        return Schedule(
            (Segment(0, first_steps, base_lr, min_lr, "cos"),),
            loop_from=0,
            period=first_steps,
            gamma=gamma,
            every=first_steps,
            floor=min_lr,
        )
    segments: list[Segment] = []
    start, height = 0.0, base_lr - min_lr
    mult = min(cycle_mult, 2.0**32)  # no second cycle ends in time, and no power overflows
    # The sum of the series, since the rounding of its terms would add up.
    while (end := first_steps * (mult ** (len(segments) + 1) - 1) / (mult - 1)) <= HORIZON:
        segments.append(Segment(start, end, min_lr + height, min_lr, "cos"))
        if len(segments) > MAX_CYCLES:
            raise ValueError(
                f"the cycle multiplier must be 1, or so far above it that {MAX_CYCLES} cycles "
                f"reach step 2**31, got {cycle_mult!r}"
            )
        start, height = end, height * gamma
    return Schedule(tuple(segments))
