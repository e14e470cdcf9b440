"""The schedulers of torch.optim.lr_scheduler (2.13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from lrsched._validate import (
    check_below,
    check_bool,
    check_choice,
    check_fraction,
    check_int,
    check_non_negative,
    check_positive,
    check_sequence,
    check_type,
)
from lrsched.compat._restarts import endless_cosine_restarts
from lrsched.engine.changes import first_steps, joined
from lrsched.engine.schedule import Schedule
from lrsched.engine.segment import Segment, polynomial_segment
from lrsched.policy.units import total_steps_of
from lrsched.schedules import (
    cyclical,
    cyclical_momentum,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    step_decay,
)


def torch_one_cycle(
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 10000.0,
    three_phase: bool = False,
) -> tuple[Schedule, Schedule | None]:
    """OneCycleLR -> (lr, momentum); momentum is None with `cycle_momentum=False`.

    Differs after the last step, where it holds instead of turning back, and where torch divides
    by zero; see `lrsched.one_cycle`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, or neither `total_steps` nor both of `epochs` and
            `steps_per_epoch`, or all three where they disagree.
    """
    total_steps = total_steps_of(total_steps, epochs, steps_per_epoch)
    anneal = check_choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
    lr = one_cycle(
        max_lr,
        total_steps,
        pct_start=pct_start,
        anneal=anneal,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
    )
    if not check_bool("cycle_momentum", cycle_momentum):
        return lr, None
    return lr, one_cycle_momentum(
        total_steps,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        pct_start=pct_start,
        anneal=anneal,
        three_phase=three_phase,
    )


def torch_cyclic(
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> tuple[Schedule, Schedule | None]:
    """CyclicLR -> (lr, momentum); momentum is None with `cycle_momentum=False`.

    Does not overflow in mode "triangular2"; `gamma` is used by mode "exp_range" alone. A scale
    function is code, not data: `lrsched_torch.CyclicLR` takes one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    shape = {"mode": mode, "gamma": gamma if mode == "exp_range" else 1.0}
    lr = cyclical(base_lr, max_lr, step_size_up, step_size_down, **shape)  # type: ignore[arg-type]
    if not check_bool("cycle_momentum", cycle_momentum):
        return lr, None
    return lr, cyclical_momentum(
        step_size_up,
        step_size_down,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        **shape,  # type: ignore[arg-type]
    )


def torch_cosine_annealing(base_lr: float, T_max: int, eta_min: float = 0.0) -> Schedule:
    """CosineAnnealingLR: down in `T_max` steps, and, as in torch, up again after that.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, eta_min = check_positive("base_lr", base_lr), check_non_negative("eta_min", eta_min)
    half = check_int("T_max", T_max, 1)
    down = Segment(0, half, base_lr, eta_min, "cos")
    up = Segment(half, 2 * half, eta_min, base_lr, "cos")
    return Schedule((down, up), loop_from=0, period=2 * half)


def torch_cosine_annealing_warm_restarts(
    base_lr: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0
) -> Schedule:
    """CosineAnnealingWarmRestarts, endless; cycles that grow are written out to step 2**31 - 2.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, eta_min = check_positive("base_lr", base_lr), check_non_negative("eta_min", eta_min)
    first_steps, cycle_mult = check_int("T_0", T_0, 1), check_int("T_mult", T_mult, 1)
    return endless_cosine_restarts(base_lr, eta_min, first_steps, cycle_mult, gamma=1.0)


def torch_linear(
    base_lr: float,
    start_factor: float = 1.0 / 3,
    end_factor: float = 1.0,
    total_iters: int = 5,
) -> Schedule:
    """LinearLR: between two multiples of `base_lr` in `total_iters` steps, then hold.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr = check_positive("base_lr", base_lr)
    start = base_lr * check_fraction("start_factor", start_factor)
    end = base_lr * check_fraction("end_factor", end_factor)
    return Schedule((Segment(0, check_int("total_iters", total_iters, 1), start, end),))


def torch_exponential(base_lr: float, gamma: float) -> Schedule:
    """ExponentialLR: times `gamma` > 0 at every step, for ever.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    return step_decay(base_lr, step_size=1, gamma=gamma)


def torch_polynomial(base_lr: float, total_iters: int = 5, power: float = 1.0) -> Schedule:
    """PolynomialLR: to 0 in `total_iters` steps, then hold.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    base_lr, steps = check_positive("base_lr", base_lr), check_int("total_iters", total_iters, 1)
    return Schedule((polynomial_segment(0, steps, base_lr, 0.0, power),))


def torch_step(base_lr: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """StepLR; the same as `lrsched.step_decay`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    return step_decay(base_lr, step_size, gamma)


def torch_multi_step(base_lr: float, milestones: Iterable[int], gamma: float = 0.1) -> Schedule:
    """MultiStepLR; as `lrsched.multi_step`, with `milestones` from any iterable.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range.
    """
    steps = list(milestones) if isinstance(milestones, Iterable) else milestones
    return multi_step(base_lr, steps, gamma)


def torch_sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """SequentialLR: each of the `schedules` from its own step 0, until the step of its milestone.

    What repeats before its milestone is written out.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: not one milestone fewer than schedules, milestones that do not rise, or a
            part that repeats for more than 2**18 segments.
    """
    schedules = check_sequence("schedules", schedules, "a list of Schedule")
    steps = [
        check_int("milestones", step, 1)
        for step in check_sequence("milestones", milestones, "a list of ints")
    ]
    if len(steps) != len(schedules) - 1:
        raise ValueError(
            f"milestones must be one fewer than the {len(schedules)} schedules, got {len(steps)}"
        )
    for schedule in schedules:
        check_type("schedules", schedule, Schedule)
    for before, after in pairwise(steps):
        check_below("milestones", before, "the next of them", after)
    lengths = [after - before for before, after in pairwise([0, *steps])]
    parts = [first_steps(part, length) for part, length in zip(schedules, lengths, strict=False)]
    return joined([*parts, schedules[-1]])
