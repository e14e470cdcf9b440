"""When a call of `scheduler.step()` is a step of the schedule, and warnings about such calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch.optim import Optimizer

from lrsched_torch.update_counter import UpdateCounter

COUNTS = ("auto", "updates", "calls")
# So many updates between two calls of step(), twice in a row, look like one call per epoch.
MANY_UPDATES = 10

# Number that autograd gives to the next node of this thread's graphs: it grows with every forward
# pass whose result can be differentiated, and with nothing else.
forward_passes = getattr(torch.autograd, "_get_sequence_nr", lambda: 0)

DRY_RUN = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Without an update, a "
    "gradient or a forward pass this is taken for a dry run, which moves the schedule on "
    "(count='updates' counts updates only; schedule.values() needs no dry run)"
)
BURSTS = (
    "at least {many} optimizer updates were made before each of the last two calls of "
    "scheduler.step(), and each call is one step of the schedule (call it after every update, in "
    "Lightning with interval='step'; count='calls' says that a call per epoch is meant)"
)


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

    def moves_on(self, step: int) -> bool:
        """Return whether a call of `scheduler.step()` at `step` leads to the next one."""
        counter = self._counter
        made = counter.take()
        if self._count == "calls" or counter.captured or not counter.hooked:
            return True
        if made:
            if self._is_second_burst(made, step):
                self.warn_once(BURSTS.format(many=MANY_UPDATES))
            return True
        if self._count == "updates" or self._is_training():
            return False
        self.warn_once(DRY_RUN)
        return True

    def _is_training(self) -> bool:
        """Return whether a call without an update belongs to a training, not to a dry run.

        The optimizer may not have been stepped yet: its first updates may have been skipped, or
        gradients may be accumulating, and it is common to clear them before this call.
        """
        before, self._passes = self._passes, forward_passes()
        return (
            self._counter.seen
            or self._passes != before
            or any(p.grad is not None for g in self._optimizer.param_groups for p in g["params"])
        )

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
            warnings.warn(text, UserWarning, stacklevel=5)
