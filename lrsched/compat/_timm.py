"""Schedulers of timm (1.0), in steps where timm counts epochs or updates."""

from __future__ import annotations

from lrsched._validate import (
    check_at_most,
    check_bool,
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    grown,
)
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment


def timm_cosine(
    base_lr: float,
    t_initial: int,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
) -> Schedule:
    """CosineLRScheduler: `cycle_limit` cosines, then `lr_min`.

    The warmup takes the place of the first `warmup_t` steps, so that the lr falls to that of the
    cosine when it ends; with `warmup_prefix=True` the cosines come after it. timm finds the cycle
    by a logarithm, which can be one cycle off at the very step of a restart; here a restart is a
    knot. Noise and `k_decay` are left out.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, lr_min = check_positive("base_lr", base_lr), check_non_negative("lr_min", lr_min)
    steps, warmup = check_int("t_initial", t_initial, 1), check_int("warmup_t", warmup_t, 0)
    first_lr = check_non_negative("warmup_lr_init", warmup_lr_init)
    mult, decay = check_positive("cycle_mul", cycle_mul), check_positive("cycle_decay", cycle_decay)
    check_at_most("1", 1, "cycle_mul", mult, "cycles may grow, not shrink")
    check_number_of_segments("cycle_limit", check_int("cycle_limit", cycle_limit, 1))
    segments = [Segment(0, warmup, first_lr, base_lr)] if warmup else []
    start = float(warmup if check_bool("warmup_prefix", warmup_prefix) else 0)
    for cycle in range(cycle_limit):
        end = start + steps * grown("cycle_mul", mult, cycle)
        if end > warmup:
            peak, enters = base_lr * grown("cycle_decay", decay, cycle), max(start, float(warmup))
            segments.append(Segment(start, end, peak, lr_min, "cos", enters=enters))
        start = end
    if start <= warmup:
        segments.append(Segment(warmup, warmup + 1, lr_min, lr_min))
    return Schedule(tuple(segments), max(int(start), warmup, 1))
