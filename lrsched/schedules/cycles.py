"""The 1cycle policy, cyclical learning rates and warm restarts, and their momentum."""

from __future__ import annotations

from typing import NamedTuple

from lrsched._names import ONE_CYCLE, answers_to
from lrsched._validate import (
    check_at_most,
    check_below,
    check_bool,
    check_choice,
    check_fraction,
    check_int,
    check_momentum,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    check_real,
    grown,
)
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment

ANNEALS = ("cos", "linear")
MODES = ("triangular", "triangular2", "exp_range")


class _Phases(NamedTuple):
    """Where the phases of a 1cycle end, and their shapes."""

    peak: float
    valley: float | None
    last: int
    shapes: tuple[str, ...]


def _phases(
    total_steps: int, pct_start: float, anneal: str, warmup: str | None, three_phase: bool
) -> _Phases:
    total_steps = check_int("total_steps", total_steps, 2)
    pct_start = check_fraction("pct_start", pct_start)
    anneal = check_choice("anneal", anneal, ANNEALS)
    warmup = anneal if warmup is None else check_choice("warmup", warmup, ANNEALS)
    # Updates run at steps 0 .. total_steps - 1, so a share of them ends one step early.
    peak, last = pct_start * total_steps - 1, total_steps - 1
    if not check_bool("three_phase", three_phase):
        return _Phases(peak, None, last, (warmup, anneal))
    if pct_start > 0.5:
        raise ValueError(
            f"pct_start must be <= 0.5 with three_phase, got {pct_start:g} "
            "(rising and falling take twice pct_start, so the end would never be reached)"
        )
    # With no room to rise, both legs of the triangle lie before step 0.
    return _Phases(peak, 2 * peak, last, (warmup, anneal, anneal))


@answers_to(ONE_CYCLE)
def one_cycle(
    max_lr: float,
    total_steps: int,
    *,
    pct_start: float = 0.3,
    anneal: str = "cos",
    warmup: str | None = None,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """Rise from a low lr to `max_lr`, then anneal far below the start (1cycle policy).

    Args:
        max_lr: Peak lr, > 0; reached at step `pct_start * total_steps - 1`, a real number, so
            where it is no int the highest lr used is a little lower.
        total_steps: Number of optimiser updates, int >= 2.
        pct_start: Fraction of the steps spent rising, in [0, 1].
        anneal: Shape of the way down, "cos" or "linear".
        warmup: Shape of the way up; None stands for `anneal`.
        div_factor: The first lr is `max_lr / div_factor`; >= 1.
        final_div_factor: The last lr is the first one divided by this; > 0.
        three_phase: Fall back to the first lr as long as it took to rise, then to the last one;
            `one_cycle_original` has the lengths and factors of the first version.

    Returns:
        A Schedule of `total_steps` steps, with the values of torch's OneCycleLR wherever that
        one is defined. With no room to rise (`pct_start * total_steps` = 1) it starts at the
        peak, or in three phases at the first lr.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `max_lr` <= 0, `total_steps` < 2, `pct_start` outside [0, 1], an unknown
            shape, `div_factor` < 1, or `three_phase` with `pct_start` > 0.5.

    Example:
        >>> one_cycle(max_lr=0.1, total_steps=100)(0)
        0.004

    Source: Smith & Topin 2017, arXiv:1708.07120; two-phase cosine form and defaults as torch.
    """
    max_lr = check_positive("max_lr", max_lr)
    div_factor = check_positive("div_factor", div_factor)
    check_at_most("1", 1, "div_factor", div_factor, "the first lr is max_lr / div_factor")
    final_div_factor = check_positive("final_div_factor", final_div_factor)
    phases = _phases(total_steps, pct_start, anneal, warmup, three_phase)
    first_lr = max_lr / div_factor
    last_lr = first_lr / final_div_factor
    return _one_cycle_through(phases, rest=first_lr, peak=max_lr, end=last_lr)


def one_cycle_momentum(
    total_steps: int,
    *,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    pct_start: float = 0.3,
    anneal: str = "cos",
    warmup: str | None = None,
    three_phase: bool = False,
) -> Schedule:
    """Momentum of the 1cycle policy: from `max_momentum` down to `base_momentum` and back.

    Opposite in phase to `one_cycle` with the same `total_steps`, `pct_start`, `anneal`, `warmup`
    and `three_phase`; in the third phase it stays at `max_momentum`.

    Args:
        total_steps: Number of optimiser updates, int >= 2.
        base_momentum: Momentum while the lr peaks, in [0, 1).
        max_momentum: Momentum at the start and the end, in [0, 1), >= `base_momentum`.
        pct_start: Fraction of the steps spent falling, in [0, 1].
        anneal: Shape of the way back up, "cos" or "linear".
        warmup: Shape of the way down; None stands for `anneal`.
        three_phase: As for `one_cycle`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> one_cycle_momentum(total_steps=101, pct_start=0.5)(0)
        0.95

    Source: Smith & Topin 2017, arXiv:1708.07120; form and defaults as torch OneCycleLR.
    """
    base_momentum = check_momentum("base_momentum", base_momentum)
    max_momentum = check_momentum("max_momentum", max_momentum)
    check_at_most("base_momentum", base_momentum, "max_momentum", max_momentum)
    phases = _phases(total_steps, pct_start, anneal, warmup, three_phase)
    return _one_cycle_through(phases, rest=max_momentum, peak=base_momentum, end=max_momentum)


def one_cycle_original(
    max_lr: float,
    total_steps: int,
    *,
    pct_start: float = 0.45,
    div_factor: float = 10.0,
    final_div_factor: float = 100.0,
) -> Schedule:
    """1cycle in its original three phases: up and down in equal time, then far below the start.

    On straight lines, over 45% of the steps each; the last tenth leads to the last value.

    Args:
        max_lr: Peak lr, > 0; reached at step `pct_start * total_steps - 1`, as in `one_cycle`.
        total_steps: Number of optimiser updates, int >= 2.
        pct_start: Fraction of the steps spent rising, and again falling, in [0, 0.5].
        div_factor: The first lr, and that after the fall, is `max_lr / div_factor`; >= 1.
        final_div_factor: The last lr is the first one divided by this; > 0.

    Raises:
        TypeError, ValueError: as `one_cycle`.

    Example:
        >>> schedule = one_cycle_original(max_lr=1.0, total_steps=1000)
        >>> schedule(0), schedule(449), schedule(898), schedule(999)
        (0.1, 1.0, 0.1, 0.001)

    Source: Smith & Topin 2017, arXiv:1708.07120; lengths and factors as fastai 0.7 (use_clr_beta).
    """
    return one_cycle(
        max_lr,
        total_steps,
        pct_start=pct_start,
        anneal="linear",
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=True,
    )


def one_cycle_original_momentum(
    total_steps: int,
    *,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    pct_start: float = 0.45,
) -> Schedule:
    """Momentum of `one_cycle_original`: down and up on straight lines, then at `max_momentum`.

    Args, errors: as for `one_cycle_momentum`; `pct_start` in [0, 0.5].

    Example:
        >>> one_cycle_original_momentum(total_steps=1000)(449)
        0.85

    Source: as for `one_cycle_original`.
    """
    return one_cycle_momentum(
        total_steps,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        pct_start=pct_start,
        anneal="linear",
        three_phase=True,
    )


def _one_cycle_through(phases: _Phases, *, rest: float, peak: float, end: float) -> Schedule:
    knots = [(0.0 if phases.peak >= 0 else phases.peak, rest), (phases.peak, peak)]
    if phases.valley is not None:
        knots.append((phases.valley, rest))
    knots.append((phases.last, end))
    return Schedule.through(knots, phases.shapes, total_steps=phases.last + 1)


def cyclical(
    base_lr: float,
    max_lr: float,
    step_size_up: int,
    step_size_down: int | None = None,
    *,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> Schedule:
    """Rise from `base_lr` to `max_lr` and fall back, on straight lines, for ever.

    Args:
        base_lr: Lower bound, >= 0.
        max_lr: Upper bound, > `base_lr`; reached at step `step_size_up`.
        step_size_up: Steps of the way up, int >= 1; two to ten epochs are usual.
        step_size_down: Steps of the way down, int >= 0; None stands for `step_size_up`.
        mode: "triangular" keeps the height, "triangular2" halves it after every cycle,
            "exp_range" multiplies it by `gamma` at every step.
        gamma: Factor of mode "exp_range", > 0.

    Returns:
        An endless Schedule; defined, and above or at `base_lr`, at any step.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `base_lr` >= `max_lr`, a step size out of range, an unknown mode, or a
            `gamma` below 1 in a mode that has no use for it.

    Example:
        >>> cyclical(base_lr=0.0, max_lr=1.0, step_size_up=4).values(6).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0, 0.75]

    Source: Smith 2015, arXiv:1506.01186; modes as torch CyclicLR.
    """
    base_lr = check_non_negative("base_lr", base_lr)
    max_lr = check_positive("max_lr", max_lr)
    check_at_most("base_lr", base_lr, "max_lr", max_lr)
    return _triangles(base_lr, max_lr, step_size_up, step_size_down, mode, gamma)


def cyclical_momentum(
    step_size_up: int,
    step_size_down: int | None = None,
    *,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> Schedule:
    """Momentum of cyclical learning rates: falls while the lr rises.

    Opposite in phase to `cyclical` with the same step sizes, `mode` and `gamma`; where the
    height shrinks, momentum settles at `max_momentum`.

    Args:
        step_size_up: Steps in which the lr rises and momentum falls, int >= 1.
        step_size_down: Steps back, int >= 0; None stands for `step_size_up`.
        base_momentum: Lower bound, in [0, 1), < `max_momentum`.
        max_momentum: Upper bound, in [0, 1).
        mode: As for `cyclical`.
        gamma: As for `cyclical`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.

    Example:
        >>> cyclical_momentum(step_size_up=4)(0)
        0.9

    Source: Smith 2018, arXiv:1803.09820; defaults as torch CyclicLR.
    """
    base_momentum = check_momentum("base_momentum", base_momentum)
    max_momentum = check_momentum("max_momentum", max_momentum)
    check_at_most("base_momentum", base_momentum, "max_momentum", max_momentum)
    return _triangles(max_momentum, base_momentum, step_size_up, step_size_down, mode, gamma)


def _triangles(
    rest: float, peak: float, step_size_up: int, step_size_down: int | None, mode: str, gamma: float
) -> Schedule:
    up = check_int("step_size_up", step_size_up, 1)
    down = up if step_size_down is None else check_int("step_size_down", step_size_down, 0)
    mode = check_choice("mode", mode, MODES)
    gamma = check_positive("gamma", gamma)
    if gamma != 1.0 and mode != "exp_range":
        raise ValueError(f"gamma must be 1 with mode {mode!r}, got {gamma:g} (use 'exp_range')")
    segments = [Segment(0, up, rest, peak)]
    if down:
        segments.append(Segment(up, up + down, peak, rest))
    return Schedule(
        tuple(segments),
        loop_from=0,
        period=up + down,
        gamma=0.5 if mode == "triangular2" else gamma,
        every=1 if mode == "exp_range" else up + down,
        floor=rest,
    )


def cosine_restarts(
    max_lr: float,
    first_cycle_steps: int,
    num_cycles: int,
    *,
    min_lr: float = 0.0,
    cycle_mult: float = 1.0,
    gamma: float = 1.0,
) -> Schedule:
    """Anneal from `max_lr` to `min_lr` along a cosine, again and again (SGDR).

    Args:
        max_lr: Lr at the start of the first cycle, > 0.
        first_cycle_steps: Steps of the first cycle, int >= 2.
        num_cycles: Number of cycles, int >= 1.
        min_lr: Lr that each cycle ends at, in [0, `max_lr`); its last step gets it exactly.
        cycle_mult: Each cycle is this many times as long as the one before, >= 1, rounded to
            whole steps.
        gamma: Factor of `max_lr` from one cycle to the next, > 0.

    Returns:
        A Schedule whose `total_steps` is the sum of the cycles.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or a `gamma` that takes the peak to `min_lr`.

    Example:
        >>> cosine_restarts(0.1, first_cycle_steps=10, num_cycles=3, cycle_mult=2).total_steps
        70

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983; cycle_mult and gamma as in timm.
    """
    max_lr = check_positive("max_lr", max_lr)
    first_cycle_steps = check_int("first_cycle_steps", first_cycle_steps, 2)
    num_cycles = check_int("num_cycles", num_cycles, 1)
    check_number_of_segments("num_cycles", num_cycles)
    min_lr = check_non_negative("min_lr", min_lr)
    cycle_mult = check_positive("cycle_mult", cycle_mult)
    check_at_most("1", 1, "cycle_mult", cycle_mult, "cycles may grow, not shrink")
    gamma = check_positive("gamma", gamma)
    last_peak = max_lr * grown("gamma", gamma, num_cycles - 1)
    check_below("min_lr", min_lr, "the last peak", last_peak)
    segments, start = [], 0
    for cycle in range(num_cycles):
        length = first_cycle_steps * grown("cycle_mult", cycle_mult, cycle)
        steps = round(check_real("the length of a cycle", length))
        segments.append(Segment(start, start + steps - 1, max_lr * gamma**cycle, min_lr, "cos"))
        start += steps
    return Schedule(tuple(segments), start)
