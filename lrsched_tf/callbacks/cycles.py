"""1cycle and cyclical learning rates as callbacks: parameters -> schedules, once `fit` is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import lrsched
from lrsched import Schedule
from lrsched._validate import check_at_most, check_int, check_momentum, check_positive
from lrsched_tf.callbacks.schedule_callback import ScheduleCallback

LEARN = "learn"
# Stands for a length that only `fit` knows, while the other arguments are checked.
ANY_LENGTH = 100

Momentum = tuple[float, float] | Schedule | None
Schedules = tuple[Schedule | None, Schedule | None]


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
        restart, count, log_batches: As for `ScheduleCallback`. Without `total_steps`, a fit with
            restart=False goes on in a cycle over the updates behind it and its own.

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
    ) -> None:
        phases = {"pct_start": pct_start, "anneal": anneal, "warmup": warmup}
        self._phases: dict[str, Any] = {**phases, "three_phase": three_phase}
        self._rates: dict[str, Any] = {
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
        }
        self._max_lr, self._range = max_lr, _checked_range(momentum)
        self._total_steps, self._learn = total_steps, steps_per_epoch == LEARN
        if self._learn and (total_steps is not None or restart is not True):
            raise ValueError(
                f"steps_per_epoch must be an int or None with total_steps or restart=False, "
                f"got {steps_per_epoch!r}"
            )
        cycle = self._cycle(ANY_LENGTH if total_steps is None else total_steps)
        known_steps: Any = None if self._learn else steps_per_epoch
        super().__init__(
            *cycle,
            restart=restart,
            count=count,
            steps_per_epoch=known_steps,
            log_batches=log_batches,
        )
        if total_steps is None:
            self.lr = self.momentum = None

    def _cycle(self, total_steps: int) -> tuple[Schedule, Schedule | None]:
        lr = lrsched.one_cycle(self._max_lr, total_steps, **self._phases, **self._rates)
        if not isinstance(self._range, tuple):
            return lr, self._range
        base, top = self._range
        return lr, lrsched.one_cycle_momentum(
            total_steps, base_momentum=base, max_momentum=top, **self._phases
        )

    def _begin(self) -> None:
        super()._begin()
        self._learned_steps: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._learn and self._epoch == 0 and epoch == 1 and not self._batches_per_epoch():
            # The first epoch is over: its schedule, of no known length, makes room for the real.
            counter = self._counters[0]
            self._learned_steps = counter.batches() - counter.origin
            self.remove()
        super().on_epoch_begin(epoch, logs)

    def _batches_per_epoch(self) -> int | None:
        return super()._batches_per_epoch() or self._learned_steps

    def _schedules(self, total_steps: int | None, steps_per_epoch: float | None) -> Schedules:
        if self._total_steps is not None:
            return self._cycle(self._total_steps)
        if total_steps is not None and total_steps < 2:
            raise ValueError(f"fit must make at least 2 updates for a cycle, got {total_steps}")
        if total_steps is None:
            self._check_learning()
            lr, momentum = self._cycle(ANY_LENGTH)
            return _held(lr), momentum and _held(momentum)
        if self._learned_steps is None or steps_per_epoch is None:
            return self._cycle(total_steps)
        held = round(steps_per_epoch)
        lr, momentum = self._cycle(total_steps - held)
        return _held(lr, held).then(lr), momentum and _held(momentum, held).then(momentum)

    def _check_learning(self) -> None:
        epochs = (self.params or {}).get("epochs")
        if not self._learn or epochs is None:
            raise ValueError(
                "total_steps or steps_per_epoch must be given where fit cannot tell the length of "
                f'the data, got neither (steps_per_epoch="{LEARN}" counts the first epoch)'
            )
        if epochs < 2:
            raise ValueError(f'epochs must be >= 2 with steps_per_epoch="{LEARN}", got {epochs}')


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
            Schedule, or None to leave it alone.
        restart, count, steps_per_epoch, log_batches: As for `ScheduleCallback`.

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
        momentum: Momentum = None,
        steps_per_epoch: int | None = None,
        restart: bool = True,
        count: str = "updates",
        log_batches: bool = False,
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
        self._bounds, self._decay = (base_lr, max_lr), {"mode": mode, "gamma": gamma}
        self._range, self._epochs = _checked_range(momentum), step_size_epochs
        cycle = self._cycle(ANY_LENGTH if step_size is None else step_size)
        super().__init__(
            *cycle,
            restart=restart,
            count=count,
            steps_per_epoch=steps_per_epoch,
            log_batches=log_batches,
        )
        if step_size is None:
            self.lr = self.momentum = None

    def _cycle(self, step_size: int) -> tuple[Schedule, Schedule | None]:
        decay: dict[str, Any] = self._decay
        lr = lrsched.cyclical(*self._bounds, step_size, **decay)
        if not isinstance(self._range, tuple):
            return lr, self._range
        base, top = self._range
        return lr, lrsched.cyclical_momentum(
            step_size, base_momentum=base, max_momentum=top, **decay
        )

    def _schedules(self, total_steps: int | None, steps_per_epoch: float | None) -> Schedules:
        if self._epochs is None:
            return self.lr, self.momentum
        if steps_per_epoch is None:
            raise ValueError(
                "steps_per_epoch must be given for step_size_epochs where fit cannot tell the "
                "length of the data, got None (or pass step_size=)"
            )
        return self._cycle(max(1, round(self._epochs * steps_per_epoch)))


def _held(schedule: Schedule, total_steps: int | None = None) -> Schedule:
    """The first value of a schedule, for so many steps."""
    return dataclasses.replace(lrsched.constant(schedule(0)), total_steps=total_steps)


def _checked_range(momentum: Any) -> Momentum:
    """`momentum` where it is a pair of bounds in order, a Schedule or None."""
    if momentum is None or isinstance(momentum, Schedule):
        return momentum
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise TypeError(
            f"momentum must be (base_momentum, max_momentum), a Schedule or None, got {momentum!r}"
        )
    base, top = (check_momentum("momentum", value) for value in momentum)
    check_at_most("base_momentum", base, "max_momentum", top)
    return base, top
