"""State of a scheduler as plain data: a dict of str, int and bool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lrsched._validate import check_bool, check_int
from lrsched_torch.schedulers.group_schedules import GroupSchedules, Schedules

FORMAT = 1
# Hyper-parameters whose schedules format 1 holds.
SCHEDULED = ("lr", "momentum")
KEYS = ("format", "step", *SCHEDULED, "in_charge", "pending", "seen")


class State(NamedTuple):
    """What a scheduler saves; made by its `state_dict` and `load_state_dict`.

    Attributes:
        step: Step of the schedule; -1 before its turn within SequentialLR.
        schedules: Schedules by the names of hyper-parameters.
        in_charge: The optimizer holds the values of this scheduler.
        pending: Optimizer updates made since the last `scheduler.step()`.
        seen: The optimizer has been stepped at some time.
    """

    step: int
    schedules: Schedules
    in_charge: bool
    pending: int
    seen: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data.

        Raises:
            ValueError: there are schedules that the format cannot hold.
        """
        if set(self.schedules) != set(SCHEDULED):
            raise ValueError(
                f"state of format {FORMAT} must hold schedules of {' and '.join(SCHEDULED)}, "
                f"got {', '.join(self.schedules)}"
            )
        return {
            "format": FORMAT,
            "step": self.step,
            **{name: self.schedules[name].to_json() for name in SCHEDULED},
            "in_charge": self.in_charge,
            "pending": self.pending,
            "seen": self.seen,
        }

    @classmethod
    def from_dict(cls, data: Any) -> State:
        """Read what `to_dict` wrote.

        Raises:
            TypeError: not a mapping, or an entry of the wrong kind.
            ValueError: not a state of this package, or one of a newer version.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"state_dict must be a dict that state_dict() gave, got {data!r}")
        if set(data) != set(KEYS):
            raise ValueError(
                "state_dict must be that of a scheduler of lrsched_torch, with the keys "
                f"{', '.join(KEYS)}, got {', '.join(sorted(map(str, data))) or 'none'} "
                "(to go on from step k of another scheduler, build this one with last_epoch=k - 1)"
            )
        version = check_int("format", data["format"], 1)
        if version > FORMAT:
            raise ValueError(
                f"format must be <= {FORMAT}, got {version} "
                "(written by a newer version of this package: upgrade it)"
            )
        return cls(
            step=check_int("step", data["step"], -1),
            schedules={name: GroupSchedules.from_json(name, data[name]) for name in SCHEDULED},
            in_charge=check_bool("in_charge", data["in_charge"]),
            pending=check_int("pending", data["pending"], 0),
            seen=check_bool("seen", data["seen"]),
        )
