"""Changes of mind: the schedules of a run that ends sooner, or later, than was planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrsched import Policy, Schedule
from lrsched._validate import check_at_most, check_int, shown
from lrsched_torch.schedulers.group_schedules import GroupSchedules, Schedules


def cooled_down(
    schedules: Schedules,
    width: int,
    at: int,
    steps: int,
    shape: str,
    to: float,
    names: Sequence[str],
) -> Schedules:
    """Return the schedules with a cooldown of `steps` updates, the first of them at `at`.

    Args:
        schedules: Schedules by the names of hyper-parameters.
        width: Number of parameter groups.
        at: Step of the next update.
        steps: As all that follows, for `ScheduleLR.cooldown`.
        shape: Of the way down.
        to: Last value.
        names: Hyper-parameters that go down.

    Raises:
        TypeError, ValueError: as `ScheduleLR.cooldown` does.
    """
    left = _left("cooldown", schedules, at)
    if left is not None:
        steps = check_int("steps", steps, 2)
        remedy = "fewer steps; extend(total_steps) gives more"
        check_at_most("steps", steps, "what is left of total_steps", left, remedy)
    return _changed(schedules, width, lambda each: each.cooldown(at, steps, shape, to, names=names))


def extended(schedules: Schedules, width: int, at: int, total_steps: int) -> Schedules:
    """Return the schedules for a run of `total_steps`, stretched from step `at` on.

    Args:
        schedules: Schedules by the names of hyper-parameters.
        width: Number of parameter groups.
        at: Step of the next update.
        total_steps: For `ScheduleLR.extend`.

    Raises:
        TypeError, ValueError: as `ScheduleLR.extend` does.
    """
    _left("extend", schedules, at)
    return _changed(schedules, width, lambda each: each.extended(total_steps, at))


def _left(call: str, schedules: Schedules, at: int) -> int | None:
    """Return the number of updates from step `at` on; None if all schedules are endless."""
    lengths = {
        length for each in schedules.values() for length in each.lengths if length is not None
    }
    if len(lengths) > 1:
        raise ValueError(
            f"{call} must be called on schedules that end together, got ends at "
            f"{shown(sorted(lengths))} (reschedule follows others from here on)"
        )
    end = next(iter(lengths), None)
    if end is not None and at >= end:
        raise ValueError(
            f"{call} must be called before the last of total_steps ({end}) updates, got a call "
            f"after {at} (reschedule follows other schedules from here on)"
        )
    return None if end is None else end - at


def _changed(
    schedules: Schedules, width: int, change: Callable[[Policy], Policy]
) -> dict[str, GroupSchedules]:
    """Return what `change` makes of the policy of every group."""
    for name, each in schedules.items():
        for schedule in each.schedules:
            if schedule is not None and not isinstance(schedule, Schedule):
                raise ValueError(
                    f"{name} must be a schedule without a scale_fn, which is code, to be changed "
                    f"in mid-run, got {each} (reschedule follows another from here on)"
                )
    shared = all(each.shared for each in schedules.values())
    columns = {name: each.expand(width) for name, each in schedules.items()}
    policies = [
        change(Policy(**{name: c[group] for name, c in columns.items() if c[group] is not None}))
        for group in range(1 if shared else width)
    ]
    return {
        name: GroupSchedules(
            tuple(policy.get(name) for policy in (policies[:1] if each.shared else policies)),
            each.shared,
        )
        for name, each in schedules.items()
    }
