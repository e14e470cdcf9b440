"""Warmup, a plateau, and the ways down that language models and image models use."""

from __future__ import annotations

import math

from lrsched._validate import (
    check_at_most,
    check_below,
    check_choice,
    check_fraction,
    check_int,
    check_non_negative,
    check_positive,
    check_steps,
)
from lrsched.engine.changes import DECAYS
from lrsched.engine.schedule import HORIZON, Schedule
from lrsched.engine.segment import Segment


def _check_peak(max_lr: float, min_lr: float) -> tuple[float, float]:
    max_lr, min_lr = check_positive("max_lr", max_lr), check_non_negative("min_lr", min_lr)
    check_below("min_lr", min_lr, "max_lr", max_lr)
    return max_lr, min_lr


def warmup_cosine(
    max_lr: float,
    *,
    warmup_steps: int | float,
    total_steps: int,
    start_lr: float = 0.0,
    min_lr: float = 0.0,
) -> Schedule:
    """Rise linearly to `max_lr`, then anneal along a cosine to `min_lr`.

    Args:
        max_lr: Peak lr, > 0; reached at step `warmup_steps`.
        warmup_steps: Steps of the warmup, int >= 0, < `total_steps`; or a fraction of it, a float
            in (0, 1), rounded to whole steps, at least one.
        total_steps: Number of optimiser updates, int >= 2.
        start_lr: Lr at step 0, in [0, `max_lr`]; not used without a warmup.
        min_lr: Lr at the last step, in [0, `max_lr`).

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> warmup_cosine(0.1, warmup_steps=10, total_steps=100)(10)
        0.1

    Source: Goyal et al. 2017, arXiv:1706.02677 (warmup); as in timm and Transformers.
    """
    max_lr, min_lr = _check_peak(max_lr, min_lr)
    start_lr = check_non_negative("start_lr", start_lr)
    check_at_most("start_lr", start_lr, "max_lr", max_lr)
    total_steps = check_int("total_steps", total_steps, 2)
    warmup_steps = check_steps("warmup_steps", warmup_steps, total_steps)
    check_below("warmup_steps", warmup_steps, "total_steps", total_steps)
    knots = (0, start_lr), (warmup_steps, max_lr), (total_steps - 1, min_lr)
    return Schedule.through(knots, ("linear", "cos"), total_steps=total_steps)


def warmup_stable_decay(
    max_lr: float,
    *,
    warmup_steps: int | float,
    decay_steps: int | float,
    total_steps: int,
    start_lr: float = 0.0,
    min_lr: float = 0.0,
    decay: str = "linear",
) -> Schedule:
    """Rise linearly, hold `max_lr`, then decay over the last `decay_steps` (WSD, trapezoid).

    Args:
        max_lr: Lr of the plateau, > 0; reached at step `warmup_steps`.
        warmup_steps: Steps of the warmup, int >= 0, or a fraction of `total_steps`, a float in
            (0, 1), rounded to whole steps, at least one.
        decay_steps: Steps of the decay, int >= 1, or a fraction; the last step gets `min_lr`.
        total_steps: Number of optimiser updates, int >= 2.
        start_lr: Lr at step 0, in [0, `max_lr`]; not used without a warmup.
        min_lr: Lr at the last step, in [0, `max_lr`); > 0 for decay "exp".
        decay: Shape of the decay: "linear", "cos", "sqrt" for 1 - sqrt(done), or "exp", a factor
            per step.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or warmup and decay longer than `total_steps`.

    Example:
        >>> wsd = warmup_stable_decay(0.1, warmup_steps=10, decay_steps=20, total_steps=100)
        >>> wsd(10), wsd(79), wsd(99)
        (0.1, 0.1, 0.0)
        >>> wsd == warmup_stable_decay(0.1, warmup_steps=0.1, decay_steps=0.2, total_steps=100)
        True

    Source: Hu et al. 2024, arXiv:2404.06395; "sqrt" from Haegele et al. 2024, arXiv:2405.18392.
    """
    max_lr, min_lr = _check_peak(max_lr, min_lr)
    start_lr = check_non_negative("start_lr", start_lr)
    check_at_most("start_lr", start_lr, "max_lr", max_lr)
    total_steps = check_int("total_steps", total_steps, 2)
    warmup = check_steps("warmup_steps", warmup_steps, total_steps)
    down = check_steps("decay_steps", decay_steps, total_steps, minimum=1)
    decay = check_choice("decay", decay, DECAYS)
    if decay == "exp":
        check_positive("min_lr", min_lr, "a factor never reaches 0; decay='linear' does")
    given = f"warmup_steps={warmup_steps!r}, decay_steps={decay_steps!r}"
    check_below("warmup_steps + decay_steps", warmup + down, "total_steps", total_steps, given)
    last = total_steps - 1
    knots = (0, start_lr), (warmup, max_lr), (last - down, max_lr), (last, min_lr)
    return Schedule.through(knots, ("linear", "linear", decay), total_steps=total_steps)


def flat_cosine(
    max_lr: float, total_steps: int, *, pct_start: float = 0.75, min_lr: float = 0.0
) -> Schedule:
    """Hold `max_lr`, then anneal along a cosine to `min_lr`.

    Args:
        max_lr: Lr of the plateau, > 0.
        total_steps: Number of optimiser updates, int >= 2.
        pct_start: Fraction of the run before the decay begins, in [0, 1).
        min_lr: Lr at the last step, in [0, `max_lr`).

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> flat_cosine(0.1, total_steps=101)(75)
        0.1

    Source: fastai `fit_flat_cos`.
    """
    max_lr, min_lr = _check_peak(max_lr, min_lr)
    total_steps = check_int("total_steps", total_steps, 2)
    pct_start = check_fraction("pct_start", pct_start)
    check_below("pct_start", pct_start, "1", 1, "else nothing is left for the decay")
    last = total_steps - 1
    knots = (0, max_lr), (pct_start * last, max_lr), (last, min_lr)
    return Schedule.through(knots, ("linear", "cos"), total_steps=total_steps)


def inverse_sqrt(
    max_lr: float, *, warmup_steps: int, timescale: int | None = None, start_lr: float = 0.0
) -> Schedule:
    """Rise linearly to `max_lr`, then fall as one over the square root of the step, for ever.

    value = max_lr / sqrt((step - warmup_steps + timescale) / timescale) after the warmup

    Args:
        max_lr: Peak lr, > 0; reached at step `warmup_steps`.
        warmup_steps: Steps of the warmup, int >= 0.
        timescale: Steps after which the lr has fallen by sqrt(2), int >= 1; None stands for
            `warmup_steps`, or 10,000 without a warmup.
        start_lr: Lr at step 0, in [0, `max_lr`]; not used without a warmup.

    Returns:
        An endless Schedule, written out to step 2**31 - 2, where it holds.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> round(inverse_sqrt(0.1, warmup_steps=100)(400), 12)
        0.05

    Source: Vaswani et al. 2017, arXiv:1706.03762; names as in Transformers.
    """
    max_lr = check_positive("max_lr", max_lr)
    start_lr = check_non_negative("start_lr", start_lr)
    check_at_most("start_lr", start_lr, "max_lr", max_lr)
    warmup_steps = check_int("warmup_steps", warmup_steps, 0)
    check_below("warmup_steps", warmup_steps, "the last step", HORIZON)
    timescale = warmup_steps or 10_000 if timescale is None else timescale
    timescale = check_int("timescale", timescale, 1)
    warmup = [Segment(0, warmup_steps, start_lr, max_lr)] if warmup_steps else []
    end_lr = max_lr / math.sqrt((HORIZON - warmup_steps + timescale) / timescale)
    decay = Segment(warmup_steps, HORIZON, max_lr, end_lr, "rsqrt")
    return Schedule((*warmup, decay))
