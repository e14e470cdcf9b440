"""ScheduleLR: any schedule of `lrsched` as a PyTorch learning-rate scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from lrsched import Policy
from lrsched._validate import check_bool, check_choice, check_int
from lrsched_torch.check_optimizer import check_optimizer
from lrsched_torch.schedulers.base import SchedulerBase
from lrsched_torch.schedulers.binding import Binding
from lrsched_torch.schedulers.changes import cooled_down, extended
from lrsched_torch.schedulers.group_schedules import ScheduleLike, Schedules, schedules_of
from lrsched_torch.schedulers.state import State
from lrsched_torch.schedulers.step_policy import COUNTS

AFTER_END = ("hold", "warn", "raise", "restore")
MISMATCH = ("keep", "override", "raise")


class ScheduleLR(SchedulerBase):
    """Set the lr, and whatever else is asked, of each parameter group to what a schedule says.

    Call `step()` after `optimizer.step()`. It moves on by one step if the optimizer has made an
    update since the last call, so calling it for every batch is right with gradient accumulation
    and with updates that GradScaler skips. A tensor, of an lr or anything else, is filled in place.

    Args:
        optimizer: The optimizer to drive.
        lr: A Schedule for all parameter groups, those added later included, or a list of one
            per group; or a Policy, of the lr or not, for all groups: its names are those of
            Policy, and the keys of the groups. A weight decay of 0 stays in groups that have it
            beside others that have not.
        momentum: The same for the momentum, or beta_1 where a group has betas; None, also in
            the list, leaves it alone. Left out beside a Policy.
        last_epoch: The step before the one to start at; -1 starts at step 0.
        after_end: After `total_steps` updates, "hold" sets the last values once and leaves them
            alone from then on; "warn" does the same with a warning when stepped on, "raise"
            raises ValueError then; "restore" restores the values found at construction.
        count: What a call of `step()` does if the optimizer has made no update since the last
            one. "updates": stay. "calls": move on, as torch does. "auto": stay; but in a dry
            run, with no forward pass since either, move on, with torch's warning.
        on_mismatch: What `load_state_dict` does about another schedule than this one: "keep"
            this one and take only the step, "override" it with the saved one, or "raise".

    Raises:
        TypeError: an argument of the wrong kind, or a momentum beside a Policy.
        ValueError: a list whose length is not the number of groups, a hyper-parameter that the
            optimizer has not, a momentum that reaches 1, or an unknown choice. The optimizer is
            left as it was.

    Example:
        >>> import lrsched
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1.0)
        >>> warmup = lrsched.linear(0.01, 0.1, total_steps=5)
        >>> scheduler = ScheduleLR(optimizer, warmup.then(lrsched.cosine(0.1, 0.0, 100)))
        >>> scheduler.get_last_lr()
        [0.01]
        >>> decay = lrsched.Policy(weight_decay=lrsched.cosine(0.1, 0.0, total_steps=100))
        >>> ScheduleLR(optimizer, decay).total_steps
        100
    """

    # The drop-ins for torch's schedulers leave alone what is turned off, as in SGD(momentum=0).
    _only_in_use = False

    def __init__(
        self,
        optimizer: Optimizer,
        lr: ScheduleLike | Sequence[ScheduleLike] | Policy,
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
        schedules = schedules_of(lr, momentum, len(optimizer.param_groups))
        self._binding.follow(schedules, only_in_use=self._only_in_use)
        self._closed = False
        self._connect()
        self._initial_step()

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
        if self._counter.made == 1 and epoch is None:
            for step, row in self._cache.ahead:  # at most one of them; `next` costs more
                if step != self.last_epoch + 1:
                    break
                self._counter.made = 0
                self.last_epoch = step
                write = self._cache.write  # as a method call it would cost more
                write(self.optimizer.param_groups, row)
                return
        self._slow_step(epoch)

    def reschedule(
        self,
        lr: ScheduleLike | Sequence[ScheduleLike] | Policy,
        momentum: ScheduleLike | Sequence[ScheduleLike | None] | None = None,
    ) -> None:
        """Follow other schedules from the present step on; the way to add one for a new group.

        Args:
            lr: As for the constructor.
            momentum: As for the constructor. What has no schedule any more stays where it is.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: as the constructor; nothing has changed then.
        """
        schedules = schedules_of(lr, momentum, len(self.optimizer.param_groups))
        self._binding.follow(schedules, only_in_use=False)
        self._apply(max(self.last_epoch, 0))

    def cooldown(
        self,
        steps: int,
        shape: str = "sqrt",
        to: float = 0.0,
        *,
        names: Sequence[str] = ("lr",),
    ) -> None:
        """End the run in `steps` updates: take the lr from its present value down to `to`.

        The first of these updates, the next one, still has the present value. What is not cooled
        down goes on as planned until then.

        Args:
            steps: Number of updates left from here on, int >= 2, at most what is left of
                `total_steps`.
            shape: "sqrt", "linear", "cos", or "exp", which needs `to` > 0.
            to: Last value, >= 0.
            names: The hyper-parameters that go down.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: an argument out of its range, more steps than are left, an ended schedule,
                or one with a function. Nothing has changed then.
        """
        self._change(cooled_down, steps, shape, to, names)

    def extend(self, total_steps: int) -> None:
        """Stretch what is left of the schedules, so that the run has `total_steps` updates.

        The next update has the value that it would have had, and the last one the last value.

        Args:
            total_steps: New number of updates of the whole run, int >= that of now.

        Raises:
            TypeError: `total_steps` is not an int.
            ValueError: fewer steps than now, an ended or endless schedule, schedules of different
                lengths, or one with a function. Nothing has changed then.
        """
        self._change(extended, total_steps)

    def _change(self, change: Callable[..., Schedules], *arguments: Any) -> None:
        """Follow what `change` makes of the schedules, from the next update on."""
        if self._closed:
            raise RuntimeError("a closed scheduler must not be changed (build a new one)")
        binding, in_charge = self._binding, self._in_charge()
        self._join(max(self.last_epoch, 0))  # what it refuses is refused before anything changes
        schedules = change(binding.schedules, binding.width, self._next_update(), *arguments)
        binding.follow(schedules, only_in_use=binding.only_in_use, planned=binding.planned)
        if in_charge:
            self._apply(self.last_epoch)
        else:
            self._join(max(self.last_epoch, 0))

    def close(self, *, restore: bool = False) -> None:
        """Detach from the optimizer: remove all hooks; `step` raises from now on.

        Args:
            restore: Restore the values found at construction.
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
        """Number of updates that the longest schedule of the lr plans, or of the others without it.

        Raises:
            AttributeError: the schedule is endless. (Accelerate takes any other answer for a
                number.)
        """
        end = self._binding.total_steps
        if end is None:
            raise AttributeError("total_steps is not defined for an endless schedule")
        return end

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the lr of each group at the present step as a Python float; change nothing."""
        return self._binding.lrs(self._values())

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """Return the lr set last in each group; a new tensor where a group's lr is a tensor."""
        groups = self.optimizer.param_groups
        return [
            torch.full_like(group["lr"], lr) if isinstance(group["lr"], torch.Tensor) else lr
            for group, lr in zip(groups, self._binding.lrs(self._values()), strict=False)
        ]

    def get_last_momentum(self) -> list[float | None]:
        """Return the momentum, or beta_1, set last in each group; None where it is left alone."""
        return self._values().get("momentum", [None] * self._binding.width)

    @property
    def _last_lr(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the schedules as plain data that `torch.load` takes by default."""
        binding = self._binding
        return State(
            step=self.last_epoch,
            planned=binding.planned,
            schedules=binding.schedules,
            in_charge=self._in_charge(),
            pending=self._counter.pending(),
            seen=self._counter.seen,
            factors=binding.factors,
            exempt=binding.exempt,
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
        binding = self._binding
        planned, schedules = state.choose(binding.planned, binding.schedules, width, on_mismatch)
        if schedules is not binding.schedules:
            binding.follow(schedules, only_in_use=binding.only_in_use, planned=planned)
        binding.resume(state.factors, state.exempt)
        self._join(max(state.step, 0))
        self._counter.made, self._counter.seen = state.pending, state.seen
        self.last_epoch = state.step
        if state.in_charge:
            self._apply(state.step)
        elif binding.overwritten is not None:
            # The optimizer's state came first, and with it the lr of the scheduler in charge.
            binding.restore(binding.overwritten)
