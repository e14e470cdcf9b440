"""The tie between the parameter groups of an optimizer and the curves that they follow."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from lrsched_torch.param_groups import (
    Group,
    momentum_key,
    read_momentum,
    unalias,
    write_lr,
    write_momentum,
    writer_for,
)
from lrsched_torch.schedulers.lookahead import Table
from lrsched_torch.schedulers.per_group import PerGroup, ScaledByFunction

# The lr of each group, and the momentum, or None where it is left alone.
Values = tuple[list[float], list[float | None]]


class InitialValues(NamedTuple):
    """What a parameter group held when it joined."""

    lr: float
    momentum: float | None
    had_initial_lr: bool


class Binding:
    """Knows the curves of each group and what it held before; writes rows of values.

    Args:
        optimizer: The optimizer; nothing in it changes before `join`.
        lr: Curves of the lr.
        momentum: Curves of the momentum.
        only_in_use: Leave the momentum of a group alone if it was found at 0.
        found: What the groups held, as an earlier binding saw it.

    Raises:
        ValueError: a list of curves that is not one per group, or momentum that a group has not.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr: PerGroup,
        momentum: PerGroup,
        only_in_use: bool,
        found: tuple[InitialValues, ...] = (),
    ) -> None:
        self.optimizer, self.lr, self.momentum = optimizer, lr, momentum
        self.only_in_use, self.found = only_in_use, found
        self._joined: list[Group] | None = None
        self._check()

    def _check(self) -> None:
        groups = self.optimizer.param_groups
        self.lr.check_width("lr", len(groups))
        self.momentum.check_width("momentum", len(groups))
        for group, curve in zip(groups, self.momentum.expand(len(groups)), strict=True):
            if curve is not None:
                _check_momentum(self.optimizer, group, curve)

    @property
    def width(self) -> int:
        """Number of groups that have joined."""
        return len(self.found)

    def join(self) -> bool:
        """Take in new groups, or all of them after the optimizer has replaced them.

        Returns:
            Whether there was anything to do.

        Raises:
            ValueError: there is no curve for a new group; nothing has changed then.
        """
        groups = self.optimizer.param_groups
        if groups is self._joined and len(groups) == self.width:
            return False
        self._check()
        for group in groups[len(self.found) :]:
            momentum = None if momentum_key(group) is None else read_momentum(group)
            self.found += (InitialValues(float(group["lr"]), momentum, "initial_lr" in group),)
            # Every torch scheduler leaves the lr that it found here; SequentialLR reads it.
            group.setdefault("initial_lr", float(group["lr"]))
        momenta = [
            None if self.only_in_use and found.momentum == 0.0 else curve
            for found, curve in zip(self.found, self.momentum.expand(len(groups)), strict=True)
        ]
        managed = [curve is not None for curve in momenta]
        unalias(groups, momentum=any(managed))
        self.table = Table(self.lr.expand(len(groups)), momenta if any(managed) else None)
        self.write = writer_for(groups, self.table.uniform, self.table.has_momentum)
        self._joined, self._managed = groups, managed
        return True

    def found_values(self) -> Values:
        """What the groups held when they joined."""
        momenta = [
            found.momentum if managed else None
            for found, managed in zip(self.found, self._managed, strict=True)
        ]
        return [found.lr for found in self.found], momenta

    def present_values(self) -> Values:
        """What the groups hold now."""
        joined = list(zip(self.optimizer.param_groups, self._managed, strict=False))
        momenta = [read_momentum(group) if managed else None for group, managed in joined]
        return [float(group["lr"]) for group, _ in joined], momenta

    def put(self, values: Values) -> None:
        """Let the groups hold these values."""
        for group, lr, momentum in zip(self.optimizer.param_groups, *values, strict=False):
            write_lr(group, lr)
            if momentum is not None:
                write_momentum(group, momentum)

    def unmark(self) -> None:
        """Take back the initial_lr of the groups that had none."""
        for group, found in zip(self.optimizer.param_groups, self.found, strict=False):
            if not found.had_initial_lr:
                group.pop("initial_lr", None)

    def holds(self, lrs: list[float]) -> bool:
        """Whether the groups have these lrs: nobody else has set them since."""
        groups = self.optimizer.param_groups
        return all(bool(group["lr"] == lr) for group, lr in zip(groups, lrs, strict=False))

    def compiles_wrong(self) -> bool:
        """Whether torch.compile makes a step of these groups that computes wrong values.

        Measured with torch 2.13 and inductor on SGD: with nesterov, a tensor lr, a momentum that
        is a float and changes, and no foreach implementation, updates are wrong from the third on.
        """
        groups = self.optimizer.param_groups
        return any(
            managed
            and group.get("nesterov", False)
            and isinstance(group["lr"], torch.Tensor)
            and isinstance(group["momentum"], float)
            and not _uses_foreach(group)
            for group, managed in zip(groups, self._managed, strict=False)
        )


def _uses_foreach(group: Group) -> bool:
    if group.get("foreach") is not None:
        return bool(group["foreach"])
    return any(parameter.is_cuda for parameter in group["params"])


def _check_momentum(optimizer: Optimizer, group: Group, curve: Any) -> None:
    if momentum_key(group) is None:
        raise ValueError(
            "momentum must be None for an optimizer whose parameter groups have neither "
            f"momentum nor betas, got a schedule for {type(optimizer).__name__} "
            "(pass cycle_momentum=False or momentum=None)"
        )
    wave = curve.wave if isinstance(curve, ScaledByFunction) else curve
    highest = max(max(s.start_value, s.end_value) for s in wave.segments)
    if highest >= 1:
        raise ValueError(f"momentum must stay < 1, got a schedule that reaches {highest:g}")
