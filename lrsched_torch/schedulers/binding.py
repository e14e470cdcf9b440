"""The parameter groups of an optimizer, and the schedules that they follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.optim import Optimizer

from lrsched._warn import warn_user
from lrsched_torch.param_groups import Group, HyperParameter, Place, hyperparameter, unalias
from lrsched_torch.schedulers.group_schedules import (
    NONE,
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
    """What a parameter group held before the scheduler drove it.

    Attributes:
        values: The values of its lr and of the hyper-parameters that are driven, by their names.
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
        schedules: Schedules by the names of hyper-parameters, as they are now.
        planned: The same as they were asked for, before `cooldown` and `extend`.
        columns: Of those hyper-parameters that any group follows, the schedule of each group that
            has joined; None where it is left alone.
        factors: Factors of groups that were added with an lr of their own, by their numbers.
        exempt: For each group and hyper-parameter that has such groups, whether it was turned off
            in that group beside others when it joined, and stays so.
        total_steps: Number of updates that the schedules of the lr plan; None if one of them is
            endless. Where the lr is left alone, that of the others, in which endless ones do not
            count.
        end: Number of updates that any schedule plans; None if `total_steps` is.
        overwritten: What `optimizer.load_state_dict` brought before the scheduler set its own
            values again; None once it has moved on.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.schedules: Schedules = {"lr": NONE}
        self.planned: Schedules = self.schedules
        self.columns: dict[str, list[Any]] = {}
        self.overwritten: Values | None = None
        self.factors: dict[int, Factor] = {}
        self.exempt: dict[str, list[bool]] = {}
        self._initial: list[InitialValues] = []
        self._joined: list[Group] | None = None

    def follow(
        self, schedules: Schedules, *, only_in_use: bool, planned: Schedules | None = None
    ) -> None:
        """Follow these schedules, from the next `join` on.

        Args:
            schedules: Schedules by the names of hyper-parameters.
            only_in_use: Leave one alone in the groups that had it turned off when they joined.
            planned: What they were before `cooldown` and `extend`; None stands for `schedules`.

        Raises:
            ValueError: a list that is not one per group, a hyper-parameter that a group has not,
                or a value out of its bounds. Nothing has changed then.
        """
        self._check(schedules)
        self.schedules, self.planned = schedules, schedules if planned is None else planned
        self.only_in_use, self._joined = only_in_use, None
        lr, totals = schedules["lr"], [s.total_steps for s in schedules.values() if s.in_use]
        longest = max((total for total in totals if total is not None), default=None)
        self.total_steps = lr.total_steps if lr.in_use else longest
        self.end = None if self.total_steps is None else longest

    def _check(self, schedules: Schedules) -> None:
        groups = self.optimizer.param_groups
        for name, each in schedules.items():
            each.check_width(name, len(groups))
        for name, each in schedules.items():
            for group, schedule in zip(groups, each.expand(len(groups)), strict=True):
                if schedule is not None:
                    _check_schedule(hyperparameter(name), schedule, self.optimizer, group)

    @property
    def width(self) -> int:
        """Number of groups that have joined."""
        return len(self._initial)

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
        self._initial += [InitialValues({}, {}) for _ in groups[self.width :]]
        driven = {name for name, each in self.schedules.items() if each.in_use}
        for group, initial in zip(groups, self._initial, strict=True):
            _read_initial(group, initial, driven | {"lr"})
        for name in driven:
            self._exempt(name)
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
        if not (schedules.shared and schedules.in_use):
            return {}
        of = float(schedules.schedules[0](np.array([step]))[0])
        factors = {}
        for number, group in enumerate(self.optimizer.param_groups[self.width :], self.width):
            lr = hyperparameter("lr").read(group)
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

    def _exempt(self, name: str) -> None:
        """Decide for the groups that have joined last whether they are left without it."""
        row = hyperparameter(name)
        if row.exempts:
            values = [initial.values[name] for initial in self._initial]
            known = self.exempt.get(name, [])
            some_have_it = any(value != row.off for value in values)
            new = [some_have_it and value == row.off for value in values[len(known) :]]
            self.exempt[name] = known + new

    def _column(self, name: str, schedules: GroupSchedules) -> list[Any]:
        off = hyperparameter(name).off if self.only_in_use else None
        turned_off = [off is not None and each.values.get(name) == off for each in self._initial]
        left_alone = self.exempt.get(name, turned_off)
        column = [
            None if alone else schedule
            for alone, schedule in zip(left_alone, schedules.expand(self.width), strict=True)
        ]
        if name == "lr" and schedules.shared:
            for number, (lr, of) in self.factors.items():
                column[number] = Multiple(schedules.schedules[0], lr, of)
        return column

    def resume(self, factors: dict[int, Factor], exempt: Mapping[str, list[bool]]) -> None:
        """Take over the factors of a saved state, and which groups stay without something."""
        if factors != self.factors:
            self.factors, self._joined = dict(factors), None
        for name, saved in exempt.items():
            mine = self.exempt.get(name, [])
            if self.schedules.get(name, NONE).in_use and mine[: len(saved)] != saved:
                self._release(name, saved)
                self.exempt[name], self._joined = saved + mine[len(saved) :], None

    def _release(self, name: str, exempt: Sequence[bool]) -> None:
        """Give groups that are exempt after all what they held before they were driven."""
        before = (self.overwritten or self.initial_values()).get(name, [])
        groups = self.optimizer.param_groups
        for group, value, is_exempt in zip(groups, before, exempt, strict=False):
            if is_exempt and value is not None:
                hyperparameter(name).write(group, value)

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
                None if schedule is None else hyperparameter(name).read(group)
                for group, schedule in zip(self.optimizer.param_groups, column, strict=False)
            ]
            for name, column in self.columns.items()
        }

    def restore(self, values: Values) -> None:
        """Restore values that the groups held before."""
        for name, column in values.items():
            for group, value in zip(self.optimizer.param_groups, column, strict=False):
                if value is not None:
                    hyperparameter(name).write(group, value)

    def unmark(self) -> None:
        """Remove the keys that the groups got when they joined."""
        for group, initial in zip(self.optimizer.param_groups, self._initial, strict=False):
            for key, before in initial.marks.items():
                group[key] = before
                if before is None:
                    del group[key]

    def lrs(self, values: Values) -> list[Any]:
        """Return the lr of each group: that of `values`, or what it holds if it is left alone."""
        row = hyperparameter("lr")
        groups = self.optimizer.param_groups
        return values.get("lr") or [row.read(g) if row.fits(g) else None for g in groups]

    def holds(self, values: Values) -> bool:
        """Return whether the groups have the lrs of `values`: nobody else has set them since.

        Where the lr is left alone, all that is driven is looked at.
        """
        differing = self.differing(values)
        return "lr" not in differing if "lr" in values else not differing

    def differing(self, values: Values) -> list[str]:
        """Return the names of hyper-parameters of which the groups have others than `values`."""
        groups = self.optimizer.param_groups
        rows = {name: hyperparameter(name) for name in values}
        return [
            name
            for name, column in values.items()
            if not all(
                value is None or bool(rows[name].place_in(group).get(group) == value)
                for group, value in zip(groups, column, strict=False)
            )
        ]

    def compile_fault(self) -> str | None:
        """Return a warning if `torch.compile` makes a wrong step of what these groups follow."""
        faults = (
            hyperparameter(name).compile_fault(group)
            for name, column in self.columns.items()
            for group, schedule in zip(self.optimizer.param_groups, column, strict=False)
            if schedule is not None
        )
        return next(filter(None, faults), None)


def _read_initial(group: Group, initial: InitialValues, names: Iterable[str]) -> None:
    """Note what a group holds by these names, and leave in it what others expect to find there."""
    for row in (hyperparameter(name) for name in names if name not in initial.values):
        if not row.fits(group):
            continue
        initial.values[row.name] = row.read(group)
        if row.mark and row.mark not in group:
            group[row.mark] = initial.values[row.name]
            initial.marks[row.mark] = None


def _check_schedule(row: HyperParameter, schedule: Any, optimizer: Optimizer, group: Group) -> None:
    if not row.fits(group):
        present = ", ".join(key for key in group if Place(key).holds_number(group))
        raise ValueError(
            f"{row.name} must be left out for an optimizer whose parameter groups have "
            f"{row.absent}, got a schedule for {type(optimizer).__name__} ({row.remedy}; "
            f"their numbers are {present})"
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
