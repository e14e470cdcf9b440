"""Schedules of keras.optimizers.schedules (3.15). They are endless: their last value holds."""

from __future__ import annotations

from lrsched._validate import (
    check_at_most,
    check_bool,
    check_int,
    check_non_negative,
    check_positive,
)
from lrsched.compat._restarts import endless_cosine_restarts
from lrsched.engine.schedule import HORIZON, Schedule
from lrsched.engine.segment import Segment, polynomial_segment

# How often a schedule that slows down for ever is written out before it holds.
CYCLES = 1000


def keras_cosine_decay(
    initial_learning_rate: float,
    decay_steps: int,
    alpha: float = 0.0,
    warmup_target: float | None = None,
    warmup_steps: int = 0,
) -> Schedule:
    """CosineDecay, with its linear warmup where `warmup_target` is given.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    start = check_non_negative("initial_learning_rate", initial_learning_rate)
    decay_steps = check_int("decay_steps", decay_steps, 1)
    alpha = check_non_negative("alpha", alpha)
    warmup_steps = check_int("warmup_steps", warmup_steps, 0)
    if warmup_target is None:
        return Schedule((Segment(0, decay_steps, start, start * alpha, "cos"),))
    target = check_positive("warmup_target", warmup_target)
    knots = (0, start), (warmup_steps, target), (warmup_steps + decay_steps, target * alpha)
    return Schedule.through(knots, ("linear", "cos"))


def keras_cosine_decay_restarts(
    initial_learning_rate: float,
    first_decay_steps: int,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
) -> Schedule:
    """CosineDecayRestarts; cycles that grow are written out to step 2**31 - 2.

    Keras finds the cycle by a logarithm, which can be one cycle off at the very step of a
    restart; here a restart is a knot.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    lr = check_positive("initial_learning_rate", initial_learning_rate)
    steps = check_int("first_decay_steps", first_decay_steps, 1)
    t_mul = check_positive("t_mul", t_mul)
    check_at_most("1", 1, "t_mul", t_mul, "cycles may grow, not shrink")
    m_mul = check_positive("m_mul", m_mul)
    alpha = check_non_negative("alpha", alpha)
    return endless_cosine_restarts(lr, lr * alpha, steps, t_mul, gamma=m_mul)


def keras_polynomial_decay(
    initial_learning_rate: float,
    decay_steps: int,
    end_learning_rate: float = 0.0001,
    power: float = 1.0,
    cycle: bool = False,
) -> Schedule:
    """PolynomialDecay; with `cycle=True` the first 1,000 cycles, then `end_learning_rate`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    start = check_non_negative("initial_learning_rate", initial_learning_rate)
    end = check_non_negative("end_learning_rate", end_learning_rate)
    steps = check_int("decay_steps", decay_steps, 1)
    segments = [polynomial_segment(0, steps, start, end, power)]
    if check_bool("cycle", cycle) and steps > 1:
        # Cycle k is the last k-th of a decay over k * steps; its first step still ends the one
        # before, so it begins a step later.
        for k in range(2, CYCLES + 1):
            value = end + (start - end) * ((steps - 1) / (steps * k)) ** power
            first = (k - 1) * steps + 1
            segments.append(polynomial_segment(first, k * steps, value, end, power))
    return Schedule(tuple(segments))


def keras_inverse_time_decay(
    initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
) -> Schedule:
    """InverseTimeDecay: lr / (1 + decay_rate * step / decay_steps), to step 2**31 - 2.

    With `staircase=True` the first 1,000 stairs are written out, then the value holds.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    lr = check_positive("initial_learning_rate", initial_learning_rate)
    steps = check_int("decay_steps", decay_steps, 1)
    rate = check_non_negative("decay_rate", decay_rate)
    if not check_bool("staircase", staircase):
        end = lr / (1 + rate * HORIZON / steps)
        return Schedule((Segment(0, HORIZON, lr, end, "inverse"),))
    stairs = [(k * steps, lr / (1 + rate * k)) for k in range(CYCLES)]
    return Schedule(tuple(Segment(start, start + 1, v, v) for start, v in stairs))
