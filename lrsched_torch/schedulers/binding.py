"""The parameter groups of an optimizer, and the schedules that they follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.optim import Optimizer

from lrsched._warn import warn_user
from lrsched_torch.param_groups import HYPERPARAMETERS, Group, HyperParameter, unalias
from lrsched_torch.schedulers.group_schedules import (
    GroupSchedules,
    Multiple,
    ScaledByFunction,
    Schedules,
)
from lrsched_torch.schedulers.value_cache import Values

# Of a group that was added with an lr of its own: that lr, and the one that the schedule gave then.
Factor = tuple[float, float]

ADDED = (
    "a parameter group was added with an lr of its own, {lr:g}: from here on it gets that multiple "
    "of the schedule, {lr:g} where the first group gets {of:g} (reschedule gives it another "
    "schedule; added without an lr, it would follow that of the others)"
)


class InitialValues(NamedTuple):
    """What a parameter group held when it joined.

    Attributes:
        values: The values of all hyper-parameters that it has, by their names.
        marks: What it held, if anything, under keys that were written then.
    """

    values: dict[str, float]
    marks: dict[str, Any]


class Binding:
    """Ties the parameter groups of an optimizer to the schedules that they follow.

    A scheduler makes one at its construction, and asks it on the slow path of `step`, in loading
    and in closing: which schedule each group follows, what it held before, what it holds now.

    Args:
        optimizer: The optimizer; nothing in it changes before `join`.

    Attributes:
        schedules: Schedules by the names of hyper-parameters, as they were asked for.
        columns: Of those hyper-parameters that any group follows, the schedule of each group that
            has joined; None where it is left alone.
        factors: Factors of groups that were added with an lr of their own, by their numbers.
        overwritten: What `optimizer.load_state_dict` brought before the scheduler set its own
            values again; None once it has moved on.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.schedules: Schedules = {}
        self.columns: dict[str, list[Any]] = {}
        self.overwritten: Values | None = None
        self.factors: dict[int, Factor] = {}
        self._initial: list[InitialValues] = []
        self._joined: list[Group] | None = None

    def follow(self, schedules: Schedules, *, only_in_use: bool) -> None:
        """Follow these schedules, from the next `join` on.

        Args:
            schedules: Schedules by the names of hyper-parameters.
            only_in_use: Leave one alone in the groups that had it turned off when they joined.

        Raises:
            ValueError: a list that is not one per group, a hyper-parameter that a group has not,
                or a value out of its bounds. Nothing has changed then.
        """
        self._check(schedules)
        self.schedules, self.only_in_use, self._joined = schedules, only_in_use, None

    def _check(self, schedules: Schedules) -> None:
        groups = self.optimizer.param_groups
        for name, each in schedules.items():
            each.check_width(name, len(groups))
        for name, each in schedules.items():
            for group, schedule in zip(groups, each.expand(len(groups)), strict=True):
                if schedule is not None:
                    _check_schedule(HYPERPARAMETERS[name], schedule, self.optimizer, group)

    @property
    def width(self) -> int:
        """Number of groups that have joined."""
        return len(self._initial)

    @property
    def total_steps(self) -> int | None:
        """Number of updates that the schedules of the lr plan; None if one is endless."""
        return self.schedules["lr"].total_steps

    @property
    def end(self) -> int | None:
        """Number of updates that the longest schedule plans; None if one is endless."""
        totals = [each.total_steps for each in self.schedules.values()]
        finite = [total for total in totals if total is not None]
        return max(finite) if len(finite) == len(totals) else None

    def join(self, step: int) -> bool:
        """Take in new groups, or all of them after the optimizer has replaced them.

        Args:
            step: Of the schedules, for the factor of a new group with an lr of its own.

        Returns:
            Whether there was anything to do.

        Raises:
            ValueError: there is no schedule for a new group, or no factor; nothing has changed.
        """
        groups = self.optimizer.param_groups
        if groups is self._joined and len(groups) == self.width:
            return False
        self._check(self.schedules)
        if self._initial:
            self.factors |= self._new_factors(step)
        self._initial += [_join_group(group) for group in groups[self.width :]]
        columns = {name: self._column(name, each) for name, each in self.schedules.items()}
        self.columns = {
            name: column
            for name, column in columns.items()
            if any(each is not None for each in column)
        }
        unalias(groups, self.columns)
        self._joined = groups
        return True

    def _new_factors(self, step: int) -> dict[int, Factor]:
        """Return the factors of the groups that are about to join."""
        schedules, default = self.schedules["lr"], self.optimizer.defaults.get("lr")
        if not schedules.shared:
            return {}
        of = float(schedules.schedules[0](np.array([step]))[0])
        factors = {}
        for number, group in enumerate(self.optimizer.param_groups[self.width :], self.width):
            lr = HYPERPARAMETERS["lr"].read(group)
            if lr == of or (default is not None and lr == float(default)):
                continue
            if of == 0.0:
                raise ValueError(
                    f"the lr of a group that is added must be that of the others, got {lr:g} where "
                    "the schedule is 0 (reschedule gives the group a schedule of its own)"
                )
            factors[number] = lr, of
            warn_user(ADDED.format(lr=lr, of=of))
        return factors

    def _column(self, name: str, schedules: GroupSchedules) -> list[Any]:
        off = HYPERPARAMETERS[name].off if self.only_in_use else None
        column = [
            None if off is not None and initial.values.get(name) == off else schedule
            for initial, schedule in zip(self._initial, schedules.expand(self.width), strict=True)
        ]
        if name == "lr" and schedules.shared:
            for number, (lr, of) in self.factors.items():
                column[number] = Multiple(schedules.schedules[0], lr, of)
        return column

    def resume_factors(self, factors: dict[int, Factor]) -> None:
        """Take over the factors of a saved state."""
        if factors != self.factors:
            self.factors, self._joined = dict(factors), None

    def mark_first(self, lrs: Sequence[Any], *, replace: bool) -> None:
        """Leave the first lrs of the groups as `initial_lr`, as some schedulers of torch do.

        Args:
            lrs: One per group.
            replace: Also where a scheduler before this one has left it.
        """
        for group, initial, lr in zip(self.optimizer.param_groups, self._initial, lrs, strict=True):
            if replace or initial.marks.get("initial_lr", lr) is None:
                initial.marks.setdefault("initial_lr", group["initial_lr"])
                group["initial_lr"] = lr

    def initial_values(self) -> Values:
        """Return what the groups held when they joined."""
        return {
            name: [
                None if schedule is None else initial.values[name]
                for initial, schedule in zip(self._initial, column, strict=True)
            ]
            for name, column in self.columns.items()
        }

    def own_momenta(self) -> list[float | None]:
        """Return the momentum that each group had when it joined; None where it is left alone.

        Of one that had it off, the lowest of its schedule, which comes with the highest lr.
        """
        return [
            None if schedule is None else initial.values["momentum"] or min(_ends(schedule))
            for initial, schedule in zip(
                self._initial, self.columns.get("momentum", []), strict=False
            )
        ]

    def present_values(self) -> Values:
        """Return what the groups hold now."""
        return {
            name: [
                None if schedule is None else HYPERPARAMETERS[name].read(group)
                for group, schedule in zip(self.optimizer.param_groups, column, strict=False)
            ]
            for name, column in self.columns.items()
        }

    def restore(self, values: Values) -> None:
        """Restore values that the groups held before."""
        for name, column in values.items():
            for group, value in zip(self.optimizer.param_groups, column, strict=False):
                if value is not None:
                    HYPERPARAMETERS[name].write(group, value)

    def unmark(self) -> None:
        """Remove the keys that the groups got when they joined."""
        for group, initial in zip(self.optimizer.param_groups, self._initial, strict=False):
            for key, before in initial.marks.items():
                group[key] = before
                if before is None:
                    del group[key]

    def holds(self, values: Values) -> bool:
        """Return whether the groups have the lrs of `values`: nobody else has set them since."""
        groups = self.optimizer.param_groups
        return all(bool(g["lr"] == lr) for g, lr in zip(groups, values["lr"], strict=False))

    def compile_fault(self) -> str | None:
        """Return a warning if `torch.compile` makes a wrong step of what these groups follow."""
        faults = (
            HYPERPARAMETERS[name].compile_fault(group)
            for name, column in self.columns.items()
            for group, schedule in zip(self.optimizer.param_groups, column, strict=False)
            if schedule is not None
        )
        return next(filter(None, faults), None)


def _join_group(group: Group) -> InitialValues:
    """Read all hyper-parameters of a group, and leave in it what others expect to find there."""
    present = [row for row in HYPERPARAMETERS.values() if row.fits(group)]
    values = {row.name: row.read(group) for row in present}
    marks = {row.mark: values[row.name] for row in present if row.mark and row.mark not in group}
    group.update(marks)
    return InitialValues(values, dict.fromkeys(marks))


def _check_schedule(row: HyperParameter, schedule: Any, optimizer: Optimizer, group: Group) -> None:
    if not row.fits(group):
        raise ValueError(
            f"{row.name} must be None for an optimizer whose parameter groups have "
            f"{row.absent}, got a schedule for {type(optimizer).__name__} ({row.remedy})"
        )
    if row.below is None:
        return
    highest = max(_ends(schedule))
    if highest >= row.below:
        raise ValueError(
            f"{row.name} must stay < {row.below:g}, got a schedule that reaches {highest:g}"
        )


def _ends(schedule: Any) -> list[float]:
    """Return the values between which a schedule moves."""
    wave = schedule.wave if isinstance(schedule, ScaledByFunction) else schedule
    return [value for s in wave.segments for value in (s.start_value, s.end_value)]
