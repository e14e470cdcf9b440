"""1cycle and cyclical learning rates as callbacks: parameters -> schedules, once `fit` is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import lrsched
from lrsched import Schedule
from lrsched._validate import check_at_most, check_int, check_momentum, check_positive
from lrsched_tf.callbacks.recipe import Recipe, RunLength, Schedules, given_schedules
from lrsched_tf.callbacks.schedule_callback import ScheduleCallback
from lrsched_tf.compiled.optimizers import HYPERPARAMETERS

LEARN = "learn"
AUTO = "auto"
# Bounds of the momentum in cycles, as in torch's CyclicLR.
CYCLICAL_MOMENTUM = (0.8, 0.9)

Momentum = tuple[float, float] | Schedule | None


class OneCycle(ScheduleCallback):
    """The 1cycle policy: the lr rises and then anneals, the momentum does the opposite.

    Args:
        max_lr: Peak learning rate, > 0.
        total_steps: Number of optimizer updates, int >= 2; None stands for those of `fit`.
        pct_start, anneal, warmup, div_factor, final_div_factor, three_phase: As for
            `lrsched.one_cycle`.
        momentum: `(base_momentum, max_momentum)` of `lrsched.one_cycle_momentum`, a Schedule, or
            None to leave momentum alone, as an optimizer without one needs it.
        steps_per_epoch: Batches per epoch, for data of unknown length. "learn" holds the first lr
            and momentum for one epoch, counts its batches, and cycles over the epochs left.
        restart, count, log_batches, optimizer: As for `ScheduleCallback`. Without `total_steps`, a
            fit with restart=False goes on in a cycle over the updates behind it and its own.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range. From `fit`: data of unknown length with neither
            `total_steps` nor `steps_per_epoch`, and all that `ScheduleCallback` raises there.

    Example:
        >>> model.fit(x, y, epochs=10, callbacks=[OneCycle(max_lr=0.1)])

    Source: Smith & Topin 2017, arXiv:1708.07120; defaults as torch OneCycleLR.
    """

    def __init__(
        self,
        max_lr: float,
        total_steps: int | None = None,
        *,
        pct_start: float = 0.3,
        anneal: str = "cos",
        warmup: str | None = None,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        momentum: Momentum = (0.85, 0.95),
        steps_per_epoch: int | str | None = None,
        restart: bool = True,
        count: str = "updates",
        log_batches: bool = False,
        optimizer: Any = None,
    ) -> None:
        learn = steps_per_epoch == LEARN
        if learn and (total_steps is not None or restart is not True):
            raise ValueError(
                f"steps_per_epoch must be an int or None with total_steps or restart=False, "
                f"got {steps_per_epoch!r}"
            )
        cycle = functools.partial(
            _one_cycle,
            max_lr,
            _checked_momentum(momentum),
            {
                "pct_start": pct_start,
                "anneal": anneal,
                "warmup": warmup,
                "three_phase": three_phase,
            },
            {"div_factor": div_factor, "final_div_factor": final_div_factor},
        )
        # Without a length, the shortest cycle has the core check the other arguments.
        schedules = cycle(2 if total_steps is None else total_steps)
        known_steps: Any = None if learn else steps_per_epoch
        self._configure(
            schedules if total_steps is not None else functools.partial(_over_fit, cycle),
            restart=restart,
            count=count,
            steps_per_epoch=known_steps,
            log_batches=log_batches,
            optimizer=optimizer,
            learn=learn,
        )


class CyclicalLR(ScheduleCallback):
    """Cyclical learning rates: up and down between two bounds, for as long as `fit` runs.

    Args:
        base_lr: Lower bound, >= 0.
        max_lr: Upper bound, > `base_lr`.
        step_size: Half a cycle in optimizer updates, int >= 1 ...
        step_size_epochs: ... or in epochs, a number > 0; two to ten are usual. One of the two
            must be given.
        mode: "triangular" keeps the height, "triangular2" halves it after every cycle,
            "exp_range" multiplies it by `gamma` at every update.
        gamma: Factor of mode "exp_range", in (0, 1].
        momentum: `(base_momentum, max_momentum)` to cycle it in the opposite direction, a
            Schedule, or None to leave it alone. "auto" cycles it between 0.8 and 0.9 where it is
            on, as torch's CyclicLR does: in every optimizer of the model, or in none of them.
        restart, count, steps_per_epoch, log_batches, optimizer: As for `ScheduleCallback`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range. From `fit`: `step_size_epochs` with data of unknown
            length and no `steps_per_epoch`, and all that `ScheduleCallback` raises there.

    Example:
        >>> clr = CyclicalLR(base_lr=1e-3, max_lr=1e-1, step_size_epochs=2)
        >>> model.fit(x, y, epochs=12, callbacks=[clr])

    Source: Smith 2015, arXiv:1506.01186; modes as torch CyclicLR.
    """

    def __init__(
        self,
        base_lr: float,
        max_lr: float,
        step_size: int | None = None,
        *,
        step_size_epochs: float | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        momentum: Momentum | str = AUTO,
        steps_per_epoch: int | None = None,
        restart: bool = True,
        count: str = "updates",
        log_batches: bool = False,
        optimizer: Any = None,
    ) -> None:
        if (step_size is None) == (step_size_epochs is None):
            raise ValueError(
                "step_size or step_size_epochs must be given, and not both, "
                f"got {step_size!r} and {step_size_epochs!r}"
            )
        if step_size_epochs is not None:
            step_size_epochs = check_positive("step_size_epochs", step_size_epochs)
        else:
            check_int("step_size", step_size, 1, "for epochs pass step_size_epochs")
        self._cycle = functools.partial(
            _cyclical, base_lr, max_lr, {"mode": mode, "gamma": gamma}, step_size, step_size_epochs
        )
        self._is_auto = isinstance(momentum, str) and momentum == AUTO
        if self._is_auto:
            momentum = CYCLICAL_MOMENTUM
        self._configure(
            self._cycle(_checked_momentum(momentum, f'a Schedule, None or "{AUTO}"')),
            restart=restart,
            count=count,
            steps_per_epoch=steps_per_epoch,
            log_batches=log_batches,
            optimizer=optimizer,
        )

    def _begin(self, model: Any) -> None:
        super()._begin(model)
        if self._is_auto:
            row = HYPERPARAMETERS["momentum"]
            is_on = all(row.numbers_in_use(optimizer) for optimizer in self._optimizers)
            self._plan(self._cycle(CYCLICAL_MOMENTUM if is_on else None))


# Functions of a module, so that a callback can be pickled with the recipe that it holds.


def _one_cycle(
    max_lr: float,
    momentum: Momentum,
    phases: Mapping[str, Any],
    factors: Mapping[str, Any],
    total_steps: int,
) -> Schedules:
    lr = lrsched.one_cycle(max_lr, total_steps, **phases, **factors)
    return _with_momentum(lr, momentum, lrsched.one_cycle_momentum, total_steps, phases)


def _cyclical(
    base_lr: float,
    max_lr: float,
    decay: Mapping[str, Any],
    step_size: int | None,
    step_size_epochs: float | None,
    momentum: Momentum,
) -> Schedules | Recipe:
    cycle = functools.partial(_triangles, base_lr, max_lr, momentum, decay)
    # Without a length, the shortest cycle has the core check the other arguments.
    schedules = cycle(1 if step_size is None else step_size)
    if step_size_epochs is None:
        return schedules
    return functools.partial(_over_epochs, cycle, step_size_epochs)


def _triangles(
    base_lr: float, max_lr: float, momentum: Momentum, decay: Mapping[str, Any], step_size: int
) -> Schedules:
    lr = lrsched.cyclical(base_lr, max_lr, step_size, **decay)
    return _with_momentum(lr, momentum, lrsched.cyclical_momentum, step_size, decay)


def _over_fit(cycle: Callable[[int], Schedules], length: RunLength) -> Schedules:
    """Make one cycle over all updates of a run: the recipe of a OneCycle."""
    total_steps = length.total_steps
    if total_steps is None:
        raise ValueError(
            "total_steps or steps_per_epoch must be given where fit cannot tell the length of "
            f'the data, got neither (steps_per_epoch="{LEARN}" counts the first epoch)'
        )
    if total_steps < 2:
        raise ValueError(f"fit must make at least 2 updates for a cycle, got {total_steps}")
    return cycle(total_steps)


def _over_epochs(
    cycle: Callable[[int], Schedules], step_size_epochs: float, length: RunLength
) -> Schedules:
    """Make cycles that rise over so many epochs: the recipe of a CyclicalLR."""
    if length.steps_per_epoch is None:
        raise ValueError(
            "steps_per_epoch must be given for step_size_epochs where fit cannot tell the "
            "length of the data, got None (or pass step_size=)"
        )
    return cycle(max(1, round(step_size_epochs * length.steps_per_epoch)))


def _with_momentum(
    lr: Schedule,
    momentum: Momentum,
    cycle: Callable[..., Schedule],
    length: int,
    shape: Mapping[str, Any],
) -> Schedules:
    """Return the schedules of an lr and of a momentum; `cycle` makes that of a pair of bounds."""
    if isinstance(momentum, tuple):
        base, top = momentum
        momentum = cycle(length, base_momentum=base, max_momentum=top, **shape)
    return given_schedules(lr=lr, momentum=momentum)


def _checked_momentum(momentum: Any, others: str = "a Schedule or None") -> Momentum:
    """Return `momentum` where it is a pair of bounds in order, a Schedule or None.

    Args:
        momentum: As the user gave it.
        others: What else it may be, in messages.
    """
    if momentum is None:
        return None
    if isinstance(momentum, Schedule):
        HYPERPARAMETERS["momentum"].check_schedule(momentum)
        return momentum
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise TypeError(
            f"momentum must be (base_momentum, max_momentum), {others}, got {momentum!r}"
        )
    base, top = (check_momentum("momentum", value) for value in momentum)
    check_at_most("base_momentum", base, "max_momentum", top)
    return base, top
