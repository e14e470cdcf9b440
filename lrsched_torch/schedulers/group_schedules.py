"""What the parameter groups follow: a schedule for each, or one for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.optim import Optimizer

from lrsched import Policy, Schedule
from lrsched._validate import check_bool, check_sequence, check_type, shown
from lrsched_torch.check_optimizer import check_optimizer
from lrsched_torch.param_groups import hyperparameter


class ScaledByFunction:
    """Wave of a Schedule whose height is multiplied by a function of the user.

    Made by `CyclicLR` for a `scale_fn`. The function is code, not data: it is called when a step
    comes, never ahead, and it cannot be saved.

    Args:
        wave: An undamped cyclical Schedule.
        scale_fn: Factor of the height, from the number of the cycle, counted from 1, or from
            the step.
        by_cycle: Whether it takes the number of the cycle.
    """

    def __init__(self, wave: Schedule, scale_fn: Callable[[float], float], by_cycle: bool) -> None:
        self.wave, self.scale_fn, self.by_cycle = wave, scale_fn, by_cycle

    def __call__(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        period = self.wave.period or 1
        counts = 1 + steps // period if self.by_cycle else steps
        heights = np.asarray([float(self.scale_fn(x)) for x in counts.tolist()])
        rest = self.wave(0)
        values: NDArray[np.float64] = rest + (self.wave(steps) - rest) * heights
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the wave as plain data, and the name of the function."""
        named = self.scale_fn if hasattr(self.scale_fn, "__qualname__") else type(self.scale_fn)
        name = f"{named.__module__}.{named.__qualname__}"
        return {"wave": self.wave.to_dict(), "scale_fn": name, "by_cycle": self.by_cycle}


ScheduleLike = Schedule | ScaledByFunction


@dataclass(frozen=True)
class Multiple:
    """Multiple of a schedule that is exactly `value` where that is `of`.

    Made for a parameter group that is added with an lr of its own.
    """

    schedule: ScheduleLike
    value: float
    of: float

    def __call__(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self.schedule(steps) / self.of * self.value
        return values


@dataclass(frozen=True)
class GroupSchedules:
    """Schedules of one hyper-parameter: one per parameter group, or one for all of them.

    Made from an argument of a scheduler, or from its saved state.

    Attributes:
        schedules: One, if `shared`. None leaves a group alone; a dict, read from a state, stands
            for a schedule that holds code.
        shared: Whether all groups, those added later included, follow the same schedule.
    """

    schedules: tuple[Any, ...]
    shared: bool

    @classmethod
    def of(cls, name: str, value: Any, width: int) -> GroupSchedules:
        """Check an argument: a schedule, or a list of one per group.

        Raises:
            TypeError: not a Schedule, nor a list of them.
            ValueError: the length of a list is not the number of groups.
        """
        shared = not isinstance(value, (list, tuple))
        schedules = (value,) if shared else tuple(value)
        optional = not hyperparameter(name).required
        for schedule in schedules:
            if isinstance(schedule, Policy):
                raise TypeError(
                    f"{name} must be a Schedule, or a list of one per parameter group, got a "
                    "Policy in its place (a Policy stands alone and is for all groups; lists of "
                    "schedules are lr=[policy['lr'], ...] and momentum=[...])"
                )
            if not isinstance(schedule, ScheduleLike) and not (optional and schedule is None):
                raise TypeError(
                    f"{name} must be a Schedule, or a list of one per parameter group, "
                    f"got {shown(schedule)} (lrsched.constant makes one of a number, "
                    "lrsched.Policy one of a mapping)"
                )
        checked = cls(schedules, shared)
        checked.check_width(name, width)
        return checked

    def check_width(self, name: str, width: int) -> None:
        """Raise ValueError unless there is a schedule for each of `width` groups."""
        if not self.shared and len(self.schedules) != width:
            raise ValueError(
                f"{name} must hold one schedule per parameter group ({width}), "
                f"got {len(self.schedules)} (reschedule gives a new group one; one schedule, not "
                "in a list, is for all groups)"
            )

    @property
    def in_use(self) -> bool:
        """Whether any group follows a schedule."""
        return any(each is not None for each in self.schedules)

    @property
    def lengths(self) -> list[int | None]:
        """Length of each schedule; None for an endless one."""
        asked = (each for each in self.schedules if each is not None)
        return [each.total_steps if isinstance(each, Schedule) else None for each in asked]

    @property
    def total_steps(self) -> int | None:
        """Length of the longest schedule in use; None if any is endless."""
        finite = [length for length in self.lengths if length is not None]
        return max(finite) if len(finite) == len(self.lengths) else None

    def expand(self, width: int) -> list[Any]:
        """Return the schedule of each of `width` groups."""
        return list(self.schedules) * width if self.shared else list(self.schedules)

    def matches(self, other: GroupSchedules, width: int) -> bool:
        """Return whether both give `width` groups the same schedules; code is compared by name."""
        mine, theirs = (
            [_without_code(schedule) for schedule in part.expand(width)] for part in (self, other)
        )
        return mine == theirs

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        schedules = [None if each is None else each.to_dict() for each in self.schedules]
        return {"shared": self.shared, "curves": schedules}

    @classmethod
    def from_data(cls, name: str, data: Any) -> GroupSchedules:
        """Read what `to_data` returned; raises TypeError or ValueError on anything else."""
        if not isinstance(data, dict) or set(data) != {"shared", "curves"}:
            raise ValueError(f"{name} must hold shared and curves, got {shown(data)}")
        schedules: Sequence[Any] = check_sequence(f"{name} curves", data["curves"], "a list")
        shared = check_bool(f"{name} shared", data["shared"])
        return cls(tuple(_from_dict(schedule) for schedule in schedules), shared)

    def to_json(self) -> str:
        """Return a JSON text: a value that a distributed checkpoint does not take apart."""
        return json.dumps(self.to_data(), allow_nan=False)

    @classmethod
    def from_json(cls, name: str, text: Any) -> GroupSchedules:
        """Read what `to_json` wrote; raises TypeError or ValueError on anything else."""
        check_type(name, text, str)
        return cls.from_data(name, json.loads(text))

    def __str__(self) -> str:
        schedules = ", ".join(_in_words(schedule) for schedule in self.schedules)
        return schedules if self.shared else f"[{schedules}]"

    def function_name(self) -> str | None:
        """Return the name of a function that a saved schedule needs, if any does."""
        names = (each["scale_fn"] for each in self.schedules if isinstance(each, dict))
        return next(names, None)


# By the names of hyper-parameters; lr and momentum are always among them.
Schedules = Mapping[str, GroupSchedules]
NONE = GroupSchedules((None,), shared=True)


def schedules_of(lr: Any, momentum: Any, width: int) -> Schedules:
    """Check the arguments of a scheduler, and return the schedules by their names.

    Args:
        lr: A Schedule, a list of one per parameter group, or a Policy.
        momentum: The same but for the Policy, or None; also in the list.
        width: Number of parameter groups.

    Raises:
        TypeError: an argument of the wrong kind, or a momentum beside a Policy.
        ValueError: the length of a list is not the number of groups.
    """
    if not isinstance(lr, Policy):
        given = {"lr": lr, "momentum": momentum}
        return {name: GroupSchedules.of(name, each, width) for name, each in given.items()}
    if momentum is not None:
        raise TypeError(
            f"momentum must be left out beside a Policy, got {shown(momentum)} "
            "(Policy(**policy, momentum=...) has it too)"
        )
    named = {name: GroupSchedules((each,), shared=True) for name, each in lr.items()}
    return {"lr": NONE, "momentum": NONE, **named}


def _in_words(schedule: Any) -> str:
    if isinstance(schedule, ScaledByFunction):
        schedule = schedule.to_dict()
    if isinstance(schedule, dict):
        return f"{Schedule.from_dict(schedule['wave'])} times {schedule['scale_fn']}"
    return str(schedule)


def _without_code(schedule: Any) -> Any:
    return schedule.to_dict() if isinstance(schedule, ScaledByFunction) else schedule


def _from_dict(data: Any) -> Any:
    has_code = isinstance(data, Mapping) and "scale_fn" in data
    return data if data is None or has_code else Schedule.from_dict(data)


def pair_per_group(
    optimizer: Optimizer, make: Callable[..., tuple[Any, Any]], **arguments: Any
) -> tuple[Any, Any]:
    """Return the lr and the momentum that `make` returns; one of each per group for lists.

    Args:
        optimizer: The optimizer whose groups are meant.
        make: Called with `arguments`, or once for each group with those of the group.
        arguments: Each a value for all groups, or a list of one per group.

    Raises:
        TypeError: not an optimizer.
        ValueError: the length of a list is not the number of groups.
    """
    check_optimizer(optimizer)
    lists = {name: each for name, each in arguments.items() if isinstance(each, (list, tuple))}
    if not lists:
        return make(**arguments)
    width = len(optimizer.param_groups)
    for name, values in lists.items():
        if len(values) != width:
            raise ValueError(
                f"{name} must be a number, or a list of one per parameter group ({width}), "
                f"got {shown(values)}"
            )
    own = ({name: values[i] for name, values in lists.items()} for i in range(width))
    lr, momentum = zip(*(make(**{**arguments, **each}) for each in own), strict=True)
    return lr, momentum


def per_group(value: float | Sequence[float], width: int) -> list[float]:
    """Return a checked number, or list of one per group, as a list of one per group."""
    values: Any = value if isinstance(value, (list, tuple)) else [value] * width
    return [float(each) for each in values]
