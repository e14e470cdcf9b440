"""ScheduleLR: any schedule of `lrsched` as a PyTorch learning-rate scheduler."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsched._validate import check_bool, check_choice, check_int
from lrsched_torch.check_optimizer import check_optimizer
from lrsched_torch.schedulers.binding import Binding
from lrsched_torch.schedulers.group_schedules import GroupSchedules, ScheduleLike
from lrsched_torch.schedulers.state import State
from lrsched_torch.schedulers.step_policy import COUNTS, OVERWRITTEN, StepPolicy, is_part
from lrsched_torch.schedulers.value_cache import ValueCache, Values
from lrsched_torch.update_counter import UpdateCounter, counters_of

AFTER_END = ("hold", "warn", "raise", "restore")
MISMATCH = ("keep", "override", "raise")


class ScheduleLR(LRScheduler):
    """Set the lr, and the momentum if asked, of each parameter group to what a schedule says.

    Call `step()` after `optimizer.step()`. It moves on by one step if the optimizer has made an
    update since the last call, so calling it for every batch is right with gradient accumulation
    and with updates that GradScaler skips. A tensor lr, momentum or beta_1 is filled in place.

    Args:
        optimizer: The optimizer to drive.
        lr: A Schedule for all parameter groups, those added later included, or a list of one
            per group.
        momentum: The same for the momentum, or beta_1 where a group has betas; None, also in
            the list, leaves it alone.
        last_epoch: The step before the one to start at; -1 starts at step 0.
        after_end: After `total_steps` updates, "hold" sets the last values once and leaves them
            alone from then on; "warn" does the same with a warning when stepped on, "raise"
            raises ValueError then; "restore" restores the lr and momentum found at construction.
        count: What a call of `step()` does if the optimizer has made no update since the last
            one. "updates": stay. "calls": move on, as torch does. "auto": stay; but in a dry
            run, with no forward pass since either, move on, with torch's warning.
        on_mismatch: What `load_state_dict` does about another schedule than this one: "keep"
            this one and take only the step, "override" it with the saved one, or "raise".

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a list whose length is not the number of groups, momentum for an optimizer
            that has none or that reaches 1, or an unknown choice. The optimizer is left as it
            was.

    Example:
        >>> import lrsched
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1.0)
        >>> warmup = lrsched.linear(0.01, 0.1, total_steps=5)
        >>> scheduler = ScheduleLR(optimizer, warmup.then(lrsched.cosine(0.1, 0.0, 100)))
        >>> scheduler.get_last_lr()
        [0.01]
    """

    # The drop-ins for torch's schedulers leave alone what is turned off, as in SGD(momentum=0).
    _only_in_use = False

    def __init__(
        self,
        optimizer: Optimizer,
        lr: ScheduleLike | Sequence[ScheduleLike],
        momentum: ScheduleLike | Sequence[ScheduleLike | None] | None = None,
        last_epoch: int = -1,
        *,
        after_end: str = "hold",
        count: str = "auto",
        on_mismatch: str = "raise",
    ) -> None:
        # The base class is not initialised: it would patch optimizer.step, and set the lr before
        # anything is checked. What it sets is set here.
        check_optimizer(optimizer)
        self.last_epoch = check_int("last_epoch", last_epoch, -1)
        self._after_end = check_choice("after_end", after_end, AFTER_END)
        self._count = check_choice("count", count, COUNTS)
        self._on_mismatch = check_choice("on_mismatch", on_mismatch, MISMATCH)
        self.optimizer = optimizer
        self._binding = Binding(optimizer)
        self._follow({"lr": lr, "momentum": momentum}, only_in_use=self._only_in_use)
        self._closed = False
        self._connect()
        self._initial_step()

    def _connect(self) -> None:
        """Watch the optimizer: its updates, its new groups, and the loading of its state."""
        me = weakref.ref(self)
        was_in_charge = False

        def before_load(optimizer: Optimizer, state_dict: Any) -> None:
            nonlocal was_in_charge
            scheduler = me()
            was_in_charge = scheduler is not None and scheduler._in_charge()

        def after_load(optimizer: Optimizer) -> None:
            scheduler = me()
            # After its end, what the optimizer has loaded is of whoever came then.
            if scheduler is not None and was_in_charge and not scheduler._has_ended():
                loaded = scheduler._binding.present_values()
                scheduler._apply(scheduler.last_epoch)
                scheduler._binding.overwritten = loaded
                scheduler._cache.forget()

        self._counter = counter = UpdateCounter()
        self._keep_momenta()
        self._step_policy = StepPolicy(self.optimizer, counter, self._count)
        counter.width = self._binding.width
        counter.attach(self.optimizer, self._adopt)
        counter.watch_loading(self.optimizer, before_load, after_load)
        weakref.finalize(self, counter.detach)

    def _keep_momenta(self) -> None:
        """Keep the own momentum of each group, as an earlier scheduler or this one has found it."""
        known = [each.momenta for each in (self._counter, *counters_of(self.optimizer))]
        self._counter.momenta = [
            own and next((m[i] for m in known if i < len(m) and m[i] is not None), own)
            for i, own in enumerate(self._binding.own_momenta())
        ]

    def _adopt(self) -> None:
        """Set the values of groups that were added since, just before their first update."""
        if self._has_ended() or not self._in_charge():
            return
        try:
            self._apply(self.last_epoch)
        except ValueError:
            # Raised by the next `step`, and not from inside of `optimizer.step`.
            self._cache.forget()

    def _in_charge(self) -> bool:
        """Return whether the optimizer holds what this scheduler set last.

        Not so within SequentialLR while it is another scheduler's turn.
        """
        return self.last_epoch >= 0 and self._binding.holds(self._values())

    def step(self, epoch: int | None = None) -> None:
        """Move on by one step if the optimizer has made an update since the last call.

        Args:
            epoch: Go to this step instead.

        Raises:
            ValueError: the schedule has ended and `after_end` is "raise", or a group was added
                for which there is no schedule.
            RuntimeError: the scheduler was closed.
        """
        # The fast path, that of nearly every call; whatever is unusual takes the slow one.
        counter = self._counter
        step = self.last_epoch + 1
        row = self._cache.ahead.get(step)
        if row is not None and counter.made == 1 and epoch is None:
            counter.made = 0
            self.last_epoch = step
            self._cache.write(self.optimizer.param_groups, row)
        else:
            self._slow_step(epoch)

    def _slow_step(self, epoch: int | None) -> None:
        if self._closed:
            raise RuntimeError("step must not be called on a closed scheduler (build a new one)")
        if epoch is None:
            moves_on = self._step_policy.moves_on(self.last_epoch)
            self._step_policy.warn_of_compiling(self._binding.compile_fault)
            if not moves_on:
                return
            self._check_end()
        self._update_lr(epoch)

    def _check_end(self) -> None:
        end = self._binding.total_steps
        if end is None or self.last_epoch < end or self._after_end in ("hold", "restore"):
            return
        text = (
            f"step must be called at most total_steps ({end}) times, got one call more "
            "(plan more steps, or pass after_end='hold')"
        )
        if self._after_end == "raise":
            raise ValueError(text)
        self._step_policy.warn_once(text)

    def _initial_step(self) -> None:
        self._update_lr(self.last_epoch + 1)

    def _update_lr(self, epoch: int | None = None) -> None:
        # SequentialLR calls this, too, to start a scheduler at 0 when its turn has come.
        step = self.last_epoch + 1 if epoch is None else check_int("epoch", epoch, 0)
        if epoch is None and self._has_ended():
            self.last_epoch = step
        else:
            if epoch is None and step == self._cache.ahead_end:
                self._warn_of_others()
            self._apply(step)
        self._counter.take()

    def _has_ended(self) -> bool:
        """Return whether the values after the end are written, and the lr is left to others."""
        end = self._binding.end
        return end is not None and self.last_epoch >= end

    def _warn_of_others(self) -> None:
        """Warn if something else has set the lr since the last step, which is about to be lost."""
        if not self._in_charge() and not is_part(self):
            self._step_policy.warn_once(OVERWRITTEN)

    def _apply(self, step: int) -> None:
        """Set the values of `step` in all groups, whatever has happened to them since."""
        self._join(step)
        if self._is_restored(step):
            self._binding.restore(self._binding.initial_values())
        else:
            self._cache.write(self.optimizer.param_groups, self._cache.row(step))
            self._cache.look_ahead(step)
        self.last_epoch, self._binding.overwritten = step, None

    def _join(self, step: int) -> None:
        if self._binding.join(step):
            self._cache = self._new_cache()
            self._counter.width = self._binding.width
            self._keep_momenta()
            self.base_lrs = self._cache.at(0)["lr"]

    def _new_cache(self) -> ValueCache:
        ends = [end for end in (self._binding.end, self._binding.total_steps) if end is not None]
        end = min(ends, default=None)
        return ValueCache(self.optimizer.param_groups, self._binding.columns, end)

    def _is_restored(self, step: int) -> bool:
        end = self._binding.total_steps
        return self._after_end == "restore" and end is not None and step >= end

    def _values(self) -> Values:
        """Return the values of the present step, by hyper-parameter and group."""
        step, end = max(self.last_epoch, 0), self._binding.end
        if self._is_restored(step):
            return self._binding.initial_values()
        return self._cache.at(step if end is None else min(step, end))

    def _follow(self, policy: Mapping[str, Any], *, only_in_use: bool) -> None:
        """Check the schedules of a policy, and follow them from the next `_apply` on.

        Args:
            policy: For each hyper-parameter, by its name in `HYPERPARAMETERS`, a schedule for all
                groups, or a list of one per group; None, also in the list, leaves it alone.
            only_in_use: Leave one alone, too, where a group had it turned off.
        """
        width = len(self.optimizer.param_groups)
        schedules = {name: GroupSchedules.of(name, each, width) for name, each in policy.items()}
        self._binding.follow(schedules, only_in_use=only_in_use)

    def reschedule(
        self,
        lr: ScheduleLike | Sequence[ScheduleLike],
        momentum: ScheduleLike | Sequence[ScheduleLike | None] | None = None,
    ) -> None:
        """Follow other schedules from the present step on; the way to add one for a new group.

        Args:
            lr: As for the constructor.
            momentum: As for the constructor; None leaves the momentum where it is.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: as the constructor; nothing has changed then.
        """
        self._follow({"lr": lr, "momentum": momentum}, only_in_use=False)
        self._apply(max(self.last_epoch, 0))

    def close(self, *, restore: bool = False) -> None:
        """Detach from the optimizer: remove all hooks; `step` raises from now on.

        Args:
            restore: Restore the lr and the momentum found at construction.
        """
        if check_bool("restore", restore) and not self._closed:
            self._binding.restore(self._binding.initial_values())
            self._binding.unmark()
        self._counter.detach()
        self._counter.take()
        self._closed = True

    def __repr__(self) -> str:
        each = (f"{name}={schedules}" for name, schedules in self._binding.schedules.items())
        values = (f"{name}={values}" for name, values in self._values().items())
        return (
            f"{type(self).__name__}(step {self.last_epoch}: {', '.join(values)}; {'; '.join(each)})"
        )

    @property
    def total_steps(self) -> int:
        """Number of updates that the longest schedule of the lr plans.

        Raises:
            AttributeError: a schedule is endless. (Accelerate takes any other answer for a
                number.)
        """
        end = self._binding.total_steps
        if end is None:
            raise AttributeError("total_steps is not defined for an endless schedule")
        return end

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the lr of each group at the present step as a Python float; change nothing."""
        return self._values()["lr"]

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """Return the lr set last in each group; a new tensor where a group's lr is a tensor."""
        groups = self.optimizer.param_groups
        return [
            torch.full_like(group["lr"], lr) if isinstance(group["lr"], torch.Tensor) else lr
            for group, lr in zip(groups, self._values()["lr"], strict=False)
        ]

    def get_last_momentum(self) -> list[float | None]:
        """Return the momentum, or beta_1, set last in each group; None where it is left alone."""
        return self._values().get("momentum", [None] * self._binding.width)

    @property
    def _last_lr(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    @property
    def _step_count(self) -> int:
        return self.last_epoch + 1

    @_step_count.setter
    def _step_count(self, value: int) -> None:
        # Accelerate adds 1 for every batch without an update, and gives up at total_steps.
        pass

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the schedules as plain data that `torch.load` takes by default."""
        return State(
            step=self.last_epoch,
            schedules=self._binding.schedules,
            in_charge=self._in_charge(),
            pending=self._counter.pending(),
            seen=self._counter.seen,
            factors=self._binding.factors,
        ).to_dict()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], *, on_mismatch: str | None = None
    ) -> None:
        """Resume where `state_dict` was taken; before or after the optimizer loads its own.

        Args:
            state_dict: What `state_dict()` gave; it is not changed.
            on_mismatch: Takes the place of the constructor's, this once.

        Raises:
            TypeError: not a dict, or an entry of the wrong kind.
            ValueError: not a state of this class, one of a newer version, one with another
                schedule under "raise", or one that needs a function under "override". Nothing
                has changed then.
            RuntimeError: the scheduler was closed.
        """
        if self._closed:
            raise RuntimeError("load_state_dict must not be called on a closed scheduler")
        if on_mismatch is None:
            on_mismatch = self._on_mismatch
        check_choice("on_mismatch", on_mismatch, MISMATCH)
        state = State.from_dict(state_dict)
        width = len(self.optimizer.param_groups)
        schedules = state.schedules_for(self._binding.schedules, width, on_mismatch)
        if schedules is not self._binding.schedules:
            self._binding.follow(schedules, only_in_use=self._binding.only_in_use)
        self._binding.resume_factors(state.factors)
        self._join(max(state.step, 0))
        self._counter.made, self._counter.seen = state.pending, state.seen
        self.last_epoch = state.step
        if state.in_charge:
            self._apply(state.step)
        elif self._binding.overwritten is not None:
            # The optimizer's state came first, and with it the lr of the scheduler in charge.
            self._binding.restore(self._binding.overwritten)

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_counter", "_step_policy", "_cache")
        kept = {name: value for name, value in self.__dict__.items() if name not in derived}
        counts = {"made": self._counter.pending(), "seen": self._counter.seen}
        return {**kept, "_counts": counts | {"momenta": self._counter.momenta}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        counts = state.pop("_counts")
        self.__dict__.update(state)
        self._cache = self._new_cache()
        self._connect()
        vars(self._counter).update(counts)
        if self._closed:
            self._counter.detach()
