"""When a call of `scheduler.step()` is a step of the schedule, and warnings about such calls."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from lrsched._warn import warn_user
from lrsched_torch.schedulers.unseen_updates import UnseenUpdates
from lrsched_torch.update_counter import UpdateCounter, calls_per_update, forward_passes

COUNTS = ("auto", "updates", "calls")
# So many updates between two calls of step(), twice in a row, look like one call per epoch.
MANY_UPDATES = 10

DRY_RUN = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Without an update or a "
    "forward pass since the last call this is taken for a dry run, which moves the schedule on "
    "(count='updates' counts updates only; schedule.values() needs no dry run)"
)
BURSTS = (
    "at least {many} optimizer updates were made before each of the last two calls of "
    "scheduler.step(), and each call is one step of the schedule (call it after every update, in "
    "Lightning with interval='step'; count='calls' says that a call per epoch is meant)"
)

OVERWRITTEN = (
    "{names} of the optimizer was set by something else since the last step of this scheduler, "
    "which sets it anew at every step until its end (use one scheduler of it at a time, or "
    "SequentialLR; policy.only leaves the others out; after its end this one leaves it alone)"
)


def is_part(scheduler: LRScheduler) -> bool:
    """Return whether a SequentialLR or a ChainedScheduler steps a scheduler."""
    kinds = SequentialLR, ChainedScheduler
    wholes: Any = (each for each in gc.get_objects() if issubclass(type(each), kinds))
    return any(part is scheduler for whole in wholes for part in whole._schedulers)


class StepPolicy:
    """Decides whether a call of `scheduler.step()` is a step of the schedule.

    A scheduler makes one when it is built or copied, and asks it on the slow path of `step`.

    Args:
        optimizer: The optimizer whose updates are counted.
        counter: Counts them.
        count: "auto", "updates" or "calls", as `ScheduleLR` explains them.
    """

    def __init__(self, optimizer: Optimizer, counter: UpdateCounter, count: str) -> None:
        self._optimizer, self._counter, self._count = optimizer, counter, count
        self._warned: set[str] = set()
        self._burst_before: int | None = None
        self._compiled_before = False
        self._passes = forward_passes()
        self._unseen = UnseenUpdates(optimizer)
        self._idle_calls = 0
        # The step that the next call is expected at.
        self._step = -1

    def moves_on(self, step: int) -> bool:
        """Return whether a call of `scheduler.step()` at `step` leads to the next one."""
        counter = self._counter
        made = counter.take()
        if self._count == "calls" or counter.captured or not counter.hooked:
            return True
        if made or step != self._step or counter.rewound:  # of the fast path nothing is told
            self._idle_calls = 0
            self._unseen.forget()
        self._step, counter.rewound = step, False
        before, self._passes = max(self._passes, counter.passes), forward_passes()
        if made:
            if self._is_second_burst(made, step):
                self.warn_once(BURSTS.format(many=MANY_UPDATES))
            return True
        if before == self._passes:
            moves = self._is_dry_run()
            text = DRY_RUN if moves else None
        else:
            self._idle_calls = 0
            moves, text = self._unseen.look(counter.seen)
        if text:
            self.warn_once(text)
        self._step += moves
        return moves

    def _is_dry_run(self) -> bool:
        """Return whether a call with no update and no forward pass before it moves on."""
        self._idle_calls += 1
        return self._count == "auto" and self._idle_calls >= calls_per_update()

    def _is_second_burst(self, made: int, step: int) -> bool:
        if made < MANY_UPDATES:
            return False
        before, self._burst_before = self._burst_before, step
        return before == step - 1

    def warn_of_compiling(self, compile_fault: Callable[[], str | None]) -> None:
        """Warn after the first compiled update if there is something wrong with it."""
        if self._counter.compiled and not self._compiled_before:
            self._compiled_before = True
            text = compile_fault()
            if text is not None:
                self.warn_once(text)

    def warn_once(self, text: str) -> None:
        """Warn the caller of `scheduler.step()`, once for each text."""
        if text not in self._warned:
            self._warned.add(text)
            warn_user(text)
