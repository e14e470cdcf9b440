"""Base of the schedulers: what they do to their optimizer, and when."""

from __future__ import annotations

import weakref
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsched._validate import check_int
from lrsched_torch.schedulers.binding import Binding
from lrsched_torch.schedulers.step_policy import OVERWRITTEN, StepPolicy, is_part
from lrsched_torch.schedulers.value_cache import ValueCache, Values
from lrsched_torch.update_counter import UpdateCounter, counters_of


class SchedulerBase(LRScheduler):
    """A scheduler that writes the values of its schedules, at the steps that updates lead to.

    `ScheduleLR` is made of it: that has what users call, this the rest.

    Attributes:
        optimizer: The optimizer that it drives.
        last_epoch: Step of the schedules, under the name that torch gives it.
        base_lrs: First lr of each group, or what it held where the lr is left alone.
    """

    _binding: Binding
    _after_end: str
    _count: str
    _closed: bool

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

    def _next_update(self) -> int:
        """Return the step of the next update; one made since the last `step` had the present."""
        made = self._count != "calls" and self._counter.pending() > 0
        return max(self.last_epoch, 0) + made

    def _warn_of_others(self) -> None:
        """Warn if something else has set what is driven since, which is about to be lost."""
        differing = self._binding.differing(self._values())
        if differing and not is_part(self):
            self._step_policy.warn_once(OVERWRITTEN.format(names=" and ".join(differing)))

    def _apply(self, step: int) -> None:
        """Set the values of `step` in all groups, whatever has happened to them since."""
        self._join(step)
        if self._is_restored(step):
            self._binding.restore(self._binding.initial_values())
        else:
            self._cache.apply(self.optimizer.param_groups, step)
        self.last_epoch, self._binding.overwritten = step, None

    def _join(self, step: int) -> None:
        if self._binding.join(step):
            self._cache = self._new_cache()
            self._counter.width = self._binding.width
            self._keep_momenta()
            self.base_lrs = self._binding.lrs(self._cache.at(0))

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

    @property
    def _step_count(self) -> int:
        return self.last_epoch + 1

    @_step_count.setter
    def _step_count(self, value: int) -> None:
        # Accelerate adds 1 for every batch without an update, and gives up at total_steps.
        pass

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
