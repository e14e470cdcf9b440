"""One segment, steps down, and the sweeps of a range test."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrsched._validate import (
    check_below,
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    check_sequence,
    grown,
)
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment, polynomial_segment

# Of a sweep by two speeds; few losses of fresh models move below it.
KNEE = 10**-3.5
LR_OVER_KNEE = 10.0  # where an optimizer came with a low lr
END_OVER_KNEE = 100.0  # at least: what is saved below the knee is not for a sliver above it


def constant(value: float) -> Schedule:
    """Hold one value for ever.

    Args:
        value: The value, >= 0.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is negative, infinite or NaN.

    Example:
        >>> constant(0.1)(1_000_000)
        0.1
    """
    value = check_non_negative("value", value)
    return Schedule((Segment(0, 1, value, value),))


def linear(start: float, end: float, total_steps: int) -> Schedule:
    """Run from `start` at step 0 to `end` at step `total_steps - 1` on a straight line.

    A warmup is `linear(0.0, 0.1, 100).then(...)`.

    Args:
        start: First value, >= 0.
        end: Last value, >= 0.
        total_steps: Number of optimiser updates, int >= 1; a single one gets `start`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a negative or infinite value, or `total_steps` < 1.

    Example:
        >>> linear(0.0, 1.0, 5).values().tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _one_segment(start, end, total_steps, "linear")


def cosine(start: float, end: float, total_steps: int) -> Schedule:
    """Run from `start` to `end` along half a cosine wave, slow at both ends.

    value = end + (start - end) * (1 + cos(pi * step / (total_steps - 1))) / 2

    Args:
        start: First value, >= 0.
        end: Last value, >= 0.
        total_steps: Number of optimiser updates, int >= 1; a single one gets `start`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a negative or infinite value, or `total_steps` < 1.

    Example:
        >>> cosine(1.0, 0.0, 5).values().round(3).tolist()
        [1.0, 0.854, 0.5, 0.146, 0.0]

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983.
    """
    return _one_segment(start, end, total_steps, "cos")


def exponential(start: float, end: float, total_steps: int) -> Schedule:
    """Run from `start` to `end` by the same factor at every step.

    Args:
        start: First value, > 0.
        end: Last value, > 0.
        total_steps: Number of optimiser updates, int >= 1; a single one gets `start`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value that is not > 0, or `total_steps` < 1.

    Example:
        >>> round(exponential(1.0, 0.01, 3)(1), 12)
        0.1
    """
    hint = "a factor never reaches 0; use linear or cosine"
    start, end = check_positive("start", start, hint), check_positive("end", end, hint)
    return _one_segment(start, end, total_steps, "exp")


def polynomial(start: float, end: float, total_steps: int, power: float = 1.0) -> Schedule:
    """Run from `start` to `end` as `end + (start - end) * left ** power`.

    Here `left` falls from 1 to 0; a power above 1 falls fast first, one below 1 last.

    Args:
        start: First value, >= 0.
        end: Last value, >= 0.
        total_steps: Number of optimiser updates, int >= 1; a single one gets `start`.
        power: Exponent, >= 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a negative value, `power` < 0, or `total_steps` < 1.

    Example:
        >>> polynomial(1.0, 0.0, 5, power=2.0)(2)
        0.25
    """
    last = _last_step(start, end, total_steps)
    return Schedule((polynomial_segment(0, last, start, end, power),), total_steps)


def _one_segment(start: float, end: float, total_steps: int, shape: str) -> Schedule:
    last = _last_step(start, end, total_steps)
    return Schedule((Segment(0, last, start, end, shape),), total_steps)


def _last_step(start: float, end: float, total_steps: int) -> int:
    """Step that gets `end`, after checks by the names that the arguments have here."""
    check_non_negative("start", start)
    check_non_negative("end", end)
    return max(check_int("total_steps", total_steps, 1) - 1, 1)


def step_decay(base_lr: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """Multiply the lr by `gamma` every `step_size` steps, for ever.

    Args:
        base_lr: First lr, > 0.
        step_size: Number of steps between two drops, int >= 1.
        gamma: Factor of each drop, > 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> step_decay(0.5, step_size=10, gamma=0.5)(20)
        0.125
    """
    base_lr = check_positive("base_lr", base_lr)
    step_size = check_int("step_size", step_size, 1)
    gamma = check_positive("gamma", gamma)
    segments = constant(base_lr).segments
    return Schedule(segments, loop_from=0, period=step_size, gamma=gamma, every=step_size)


def multi_step(base_lr: float, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Multiply the lr by `gamma` at each of the `milestones`, then hold.

    Args:
        base_lr: First lr, > 0.
        milestones: Steps of the drops, ints >= 0 in any order; one named twice drops twice.
        gamma: Factor of each drop, > 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or more than 2**18 milestones.

    Example:
        >>> multi_step(0.5, [10, 20], gamma=0.5)(20)
        0.125
    """
    base_lr = check_positive("base_lr", base_lr)
    gamma = check_positive("gamma", gamma)
    steps = [
        check_int("milestones", step, 0)
        for step in check_sequence("milestones", milestones, "a list of ints")
    ]
    check_number_of_segments("milestones", len(steps) + 1)
    values = [base_lr * grown("gamma", gamma, drops) for drops in range(len(steps) + 1)]
    starts = [0, *sorted(steps)]
    return Schedule(tuple(Segment(s, s + 1, v, v) for s, v in zip(starts, values, strict=True)))


def exponential_sweep(start_lr: float, end_lr: float, num_steps: int) -> Schedule:
    """The lr of a range test: from `start_lr` to `end_lr` by equal factors, both ends used.

    Args:
        start_lr: Lr of the first update, > 0.
        end_lr: Lr of the last update, > `start_lr`.
        num_steps: Number of updates, int >= 2.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `start_lr` <= 0, `end_lr` <= `start_lr`, or `num_steps` < 2.

    Example:
        >>> exponential_sweep(1e-3, 10.0, 5).values().round(9).tolist()
        [0.001, 0.01, 0.1, 1.0, 10.0]

    Source: Smith 2015, arXiv:1506.01186 (range test); the exponential form as in fastai.
    """
    return _sweep(start_lr, end_lr, num_steps, "exp")


def linear_sweep(start_lr: float, end_lr: float, num_steps: int) -> Schedule:
    """The lr of a range test: from `start_lr` to `end_lr` by equal steps, both ends used.

    Args:
        start_lr: Lr of the first update, > 0.
        end_lr: Lr of the last update, > `start_lr`.
        num_steps: Number of updates, int >= 2.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `start_lr` <= 0, `end_lr` <= `start_lr`, or `num_steps` < 2.

    Example:
        >>> linear_sweep(0.5, 1.5, 3).values().tolist()
        [0.5, 1.0, 1.5]

    Source: Smith 2015, arXiv:1506.01186.
    """
    return _sweep(start_lr, end_lr, num_steps, "linear")


def two_speed_sweep(
    start_lr: float,
    end_lr: float,
    num_steps: int,
    knee: float | None = None,
    fast: float = 12.0,
) -> Schedule:
    """The lr of a range test that is fast up to a knee, and spends the other updates above it.

    By equal factors below the knee, and by smaller ones above it, where losses move; never more
    updates below it than `exponential_sweep` would spend there. Both ends are used.

    Args:
        start_lr: Lr of the first update, > 0.
        end_lr: Lr of the last update, > `start_lr`.
        num_steps: Number of updates, int >= 2.
        knee: Lr at which the speed changes, between the two; None stands for 10**-3.5 where that is
            above `start_lr` and two decades below `end_lr`, else for one speed. To fine-tune, a
            tenth of the lr at hand.
        fast: Updates for each decade below the knee, > 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `start_lr` <= 0, `end_lr` <= `start_lr`, `num_steps` < 2, a knee outside of the
            sweep, or `fast` <= 0.

    Example:
        >>> two_speed_sweep(1e-4, 1.0, 9, knee=1e-2, fast=1).values().round(4).tolist()
        [0.0001, 0.001, 0.01, 0.0215, 0.0464, 0.1, 0.2154, 0.4642, 1.0]

    Source: docs/suggestion.md compares it with sweeps of one speed.
    """
    plain = exponential_sweep(start_lr, end_lr, num_steps)
    check_positive("fast", fast)
    if knee is not None:
        check_below("start_lr", start_lr, "knee", check_positive("knee", knee))
        check_below("knee", knee, "end_lr", end_lr)
    else:
        knee = knee_for(0.0, start_lr, end_lr)
    if knee is None:
        return plain
    below, above = math.log10(knee / start_lr), math.log10(end_lr / knee)
    last = int(plain.segments[0].end)
    knot = min(math.ceil(fast * below), math.floor(last * below / (below + above)))
    if knot < 1:
        return plain
    quick = Segment(0, knot, start_lr, knee, "exp")
    return Schedule((quick, Segment(knot, last, knee, end_lr, "exp")), last + 1)


def knee_for(own_lr: float, start_lr: float, end_lr: float) -> float | None:
    """Where the knee of a sweep belongs for an optimizer that came with the lr `own_lr`, >= 0.

    A tenth of that lr, and never above 10**-3.5, where it is for an lr of 0. None stands for a
    sweep of one speed.
    """
    knee = min(own_lr / LR_OVER_KNEE or KNEE, KNEE)
    return knee if start_lr < knee <= end_lr / END_OVER_KNEE else None


def _sweep(start_lr: float, end_lr: float, num_steps: int, shape: str) -> Schedule:
    start_lr = check_positive("start_lr", start_lr)
    end_lr = check_positive("end_lr", end_lr)
    check_below("start_lr", start_lr, "end_lr", end_lr, "a sweep rises")
    num_steps = check_int("num_steps", num_steps, 2)
    return Schedule((Segment(0, num_steps - 1, start_lr, end_lr, shape),), num_steps)
