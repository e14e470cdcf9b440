"""Updates of parameters that no hook of an optimizer tells of."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

# So many calls in a row without an update are looked into, once updates have been seen.
PATIENCE = 100

UNSEEN = (
    "parameters are updated, but not by step() of the optimizer that this scheduler was built "
    "with, so its learning rates may reach no update; each call after which they have changed is "
    "taken for a step (build the scheduler with the optimizer that makes the updates, after that "
    "is made, wrapped or made anew; count='calls' counts calls)"
)
NONE_YET = (
    f"no update has been seen in {PATIENCE} calls of scheduler.step(), and the schedule stays "
    "where it is (right while gradients accumulate; else call optimizer.step() of the optimizer "
    "that the scheduler was built with; count='calls' counts calls)"
)


class UnseenUpdates:
    """Looks whether parameters change at calls before which no update was seen.

    Every update but those of fused kernels and of `parameter.data` moves the version counter of a
    tensor; so the values of the smallest parameter are compared too, now and then.

    Args:
        optimizer: The optimizer whose parameters are meant.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._by_values = self._by_versions = False
        self.forget()

    def forget(self) -> None:
        """Begin anew, after an update that was seen."""
        self._calls, self._versions = 0, -1
        self._sample: tuple[torch.Tensor, torch.Tensor] | None = None

    def look(self, any_seen: bool) -> tuple[bool, str | None]:
        """Return whether a call without an update has one that was not seen, and a warning.

        Args:
            any_seen: Updates have been seen before.
        """
        self._calls += 1
        if any_seen and self._calls < PATIENCE and not (self._by_versions or self._by_values):
            return False, None
        parameters = [p for g in self._optimizer.param_groups for p in g["params"]]
        before = self._versions
        self._versions = sum(0 if p.is_inference() else p._version for p in parameters)
        moved = before not in (-1, self._versions)
        self._by_versions = self._by_versions or moved
        if self._sample is None:
            smallest = min(parameters, key=torch.numel)
            self._sample = smallest, smallest.detach().clone()
        elif not self._by_versions and self._calls & (self._calls - 1) == 0:
            self._by_values = self._by_values or not torch.equal(*self._sample)
        if self._by_versions or self._by_values:
            return moved or self._by_values, UNSEEN
        return False, None if any_seen or self._calls < PATIENCE else NONE_YET
