"""Schedules of optax (0.2.8). Their last value is that of step `transition_steps`, and holds."""

from __future__ import annotations

from lrsched._validate import (
    check_below,
    check_fraction,
    check_int,
    check_non_negative,
    check_positive,
)
from lrsched.engine.schedule import Schedule


def optax_cosine_onecycle(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """cosine_onecycle_schedule: up to step int(pct_start * transition_steps), then down.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    steps = check_int("transition_steps", transition_steps, 1)
    peak = check_positive("peak_value", peak_value)
    first = peak / check_positive("div_factor", div_factor)
    last = first / check_positive("final_div_factor", final_div_factor)
    top = int(check_fraction("pct_start", pct_start) * steps)
    knots = (0, first), (top, peak), (steps, last)
    return Schedule.through(knots, ("cos", "cos"), total_steps=steps + 1)


def optax_linear_onecycle(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """linear_onecycle_schedule: three straight lines, meeting at `pct_start` and `pct_final`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or `pct_start` > `pct_final`.
    """
    steps = check_int("transition_steps", transition_steps, 1)
    peak = check_positive("peak_value", peak_value)
    pct_start = check_fraction("pct_start", pct_start)
    pct_final = check_fraction("pct_final", pct_final)
    check_below("pct_start", pct_start, "pct_final", pct_final)
    first = peak / check_positive("div_factor", div_factor)
    last = first / check_positive("final_div_factor", final_div_factor)
    knots = (
        (0, first),
        (int(pct_start * steps), peak),
        (int(pct_final * steps), first),
        (steps, last),
    )
    return Schedule.through(knots, ("linear", "linear", "linear"), total_steps=steps + 1)


def optax_warmup_cosine_decay(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """warmup_cosine_decay_schedule; `decay_steps` counts the warmup too.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or `warmup_steps` >= `decay_steps`.
    """
    init_value = check_non_negative("init_value", init_value)
    peak_value = check_positive("peak_value", peak_value)
    end_value = check_non_negative("end_value", end_value)
    exponent = check_non_negative("exponent", exponent)
    warmup_steps = check_int("warmup_steps", warmup_steps, 0)
    decay_steps = check_int("decay_steps", decay_steps, 1)
    check_below("warmup_steps", warmup_steps, "decay_steps", decay_steps)
    if exponent == 0.0:  # a cosine to the power of 0 is 1
        end_value, exponent = peak_value, 1.0
    knots = (0, init_value), (warmup_steps, peak_value), (decay_steps, end_value)
    decay = "cos" if exponent == 1.0 else "cos_poly"
    return Schedule.through(knots, ("linear", decay), total_steps=decay_steps + 1, power=exponent)
