"""Schedules of Transformers' `get_scheduler`."""

from __future__ import annotations

import math

from lrsched._validate import check_at_most, check_int, check_number_of_segments, check_positive
from lrsched.engine.schedule import Schedule


def transformers_linear_with_warmup(
    base_lr: float, num_warmup_steps: int, num_training_steps: int
) -> Schedule:
    """get_linear_schedule_with_warmup: up from 0, down to 0 at step `num_training_steps`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, warmup, last = _checked(base_lr, num_warmup_steps, num_training_steps)
    knots = (0, 0.0), (warmup, base_lr), (last, 0.0)
    return Schedule.through(knots, ("linear", "linear"), total_steps=last)


def transformers_cosine_with_warmup(
    base_lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5
) -> Schedule:
    """get_cosine_schedule_with_warmup: up from 0, then `num_cycles` cosine waves.

    Holds at the end of a half wave after `num_training_steps`, where Transformers goes on.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, warmup, last = _checked(base_lr, num_warmup_steps, num_training_steps)
    half_waves = 2 * check_positive("num_cycles", num_cycles)
    length = (last - warmup) / half_waves
    check_number_of_segments("num_cycles", half_waves + 1)
    count = math.ceil(half_waves)
    knots = [(0.0, 0.0)]
    knots += [(warmup + k * length, 0.0 if k % 2 else base_lr) for k in range(count + 1)]
    return Schedule.through(knots, ["linear", *["cos"] * count], total_steps=last)


def _checked(base_lr: float, warmup: int, last: int) -> tuple[float, int, int]:
    warmup = check_int("num_warmup_steps", warmup, 0)
    last = check_int("num_training_steps", last, 1)
    check_at_most("num_warmup_steps", warmup, "num_training_steps", last)
    return check_positive("base_lr", base_lr), warmup, last
