"""Schedules of Transformers' `get_scheduler`."""

from __future__ import annotations

import math

from lrsched._validate import (
    check_at_most,
    check_choice,
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
)
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment

# Shape and power of the way up and of the way down.
WARMUPS = {"linear": ("linear", 1.0), "cosine": ("cos", 1.0), "1-sqrt": ("poly", 0.5)}
DECAYS = {"linear": "linear", "cosine": "cos", "1-sqrt": "sqrt"}


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
    segments = [Segment(0, warmup, 0.0, base_lr)] if warmup else []
    segments += _waves(warmup, last, base_lr, 0.0, num_cycles)
    return Schedule(tuple(segments), last)


def transformers_wsd(
    base_lr: float,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> Schedule:
    """get_wsd_schedule: up from `min_lr_ratio * base_lr`, hold, and down to it again.

    Its step `num_training_steps` gets the last value, unlike `lrsched.warmup_stable_decay`,
    where the last update does; `num_stable_steps` wins where both are given.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or neither `num_training_steps` nor
            `num_stable_steps`.
    """
    base_lr = check_positive("base_lr", base_lr)
    warmup = check_int("num_warmup_steps", num_warmup_steps, 0)
    decay = check_int("num_decay_steps", num_decay_steps, 0)
    low = base_lr * check_non_negative("min_lr_ratio", min_lr_ratio)
    warmup_type = check_choice("warmup_type", warmup_type, WARMUPS)
    decay_type = check_choice("decay_type", decay_type, DECAYS)
    if num_stable_steps is None:
        if num_training_steps is None:
            raise ValueError(
                "num_training_steps must be given, or num_stable_steps, got None for both"
            )
        last = check_int("num_training_steps", num_training_steps, 1)
        check_at_most(
            "num_warmup_steps + num_decay_steps", warmup + decay, "num_training_steps", last
        )
    else:
        last = warmup + check_int("num_stable_steps", num_stable_steps, 0) + decay
    top = last - decay
    shape, power = WARMUPS[warmup_type]
    segments = [Segment(0, warmup, low, base_lr, shape, power)] if warmup else []
    segments += [Segment(warmup, top, base_lr, base_lr)] if warmup < top else []
    if decay_type == "cosine":
        segments += _waves(top, last, base_lr, low, num_cycles)
    elif decay:
        segments.append(Segment(top, last, base_lr, low, DECAYS[decay_type]))
    return Schedule((*segments, Segment(last, last + 1, low, low)), max(last, 1))


def _waves(start: int, end: int, high: float, low: float, num_cycles: float) -> list[Segment]:
    """Half waves of a cosine, `num_cycles` waves from `start` to `end`; the last one is whole."""
    half_waves = 2 * check_non_negative("num_cycles", num_cycles)
    check_number_of_segments("num_cycles", half_waves + 2)
    count = math.ceil(half_waves)
    if start == end:
        return []
    if count == 0:
        return [Segment(start, end, high, high)]
    length = (end - start) / half_waves
    values = [low if k % 2 else high for k in range(count + 1)]
    return [
        Segment(start + k * length, start + (k + 1) * length, values[k], values[k + 1], "cos")
        for k in range(count)
    ]


def _checked(base_lr: float, warmup: int, last: int) -> tuple[float, int, int]:
    warmup = check_int("num_warmup_steps", warmup, 0)
    last = check_int("num_training_steps", last, 1)
    check_at_most("num_warmup_steps", warmup, "num_training_steps", last)
    return check_positive("base_lr", base_lr), warmup, last
