"""State of a scheduler as plain data: a dict of str, int and bool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from lrsched._load import load_json
from lrsched._validate import (
    check_bool,
    check_format,
    check_int,
    check_non_negative,
    check_positive,
    shown,
)
from lrsched_torch.schedulers.binding import Factor
from lrsched_torch.schedulers.group_schedules import GroupSchedules, Schedules

# Format 2 is written only where format 1, which has no factors, would not do.
FORMAT = 2
# Hyper-parameters whose schedules the formats hold.
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
        factors: Factors of groups that were added with an lr of their own, by their numbers.
    """

    step: int
    schedules: Schedules
    in_charge: bool
    pending: int
    seen: bool
    factors: dict[int, Factor]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data.

        Raises:
            ValueError: there are schedules that the format cannot hold.
        """
        if set(self.schedules) != set(SCHEDULED):
            raise ValueError(
                f"state of format 1 must hold schedules of {' and '.join(SCHEDULED)}, "
                f"got {', '.join(self.schedules)}"
            )
        factors = [[number, *factor] for number, factor in self.factors.items()]
        return {
            "format": FORMAT if factors else 1,
            **({"factors": json.dumps(factors)} if factors else {}),
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
            raise TypeError(f"state_dict must be a dict that state_dict() gave, got {shown(data)}")
        if set(data) - {"factors"} != set(KEYS):
            raise ValueError(
                "state_dict must be that of a scheduler of lrsched_torch, with the keys "
                f"{', '.join(KEYS)}, got {', '.join(sorted(map(str, data))) or 'none'} "
                "(to go on from step k of another scheduler, build this one with last_epoch=k - 1)"
            )
        check_format(data["format"], FORMAT)
        return cls(
            step=check_int("step", data["step"], -1),
            schedules={name: GroupSchedules.from_json(name, data[name]) for name in SCHEDULED},
            in_charge=check_bool("in_charge", data["in_charge"]),
            pending=check_int("pending", data["pending"], 0),
            seen=check_bool("seen", data["seen"]),
            factors=_factors(load_json(data.get("factors", "[]"))),
        )

    def schedules_for(self, mine: Schedules, width: int, on_mismatch: str) -> Schedules:
        """Choose between the schedules of a scheduler and those saved here.

        Args:
            mine: Schedules of the scheduler.
            width: Number of its parameter groups.
            on_mismatch: As for `ScheduleLR`.

        Raises:
            ValueError: they differ under "raise", those saved need a function under "override", or
                the state has a factor of a group that the optimizer has not.
        """
        if max(self.factors, default=0) >= width:
            raise ValueError(
                f"state_dict must be of at most {width} parameter groups, got a factor of group "
                f"{max(self.factors)} (add the groups before it is loaded)"
            )
        saved = self.schedules
        names = {**mine, **saved}
        same = set(mine) == set(saved) and all(saved[n].matches(mine[n], width) for n in names)
        if same or on_mismatch == "keep":
            return mine
        if on_mismatch == "raise":
            others = ", ".join(f"{n} {saved.get(n)} against {mine.get(n)}" for n in names)
            raise ValueError(
                "state_dict must hold the schedules of this scheduler, got others: "
                f"{others} (on_mismatch='keep' goes on with this scheduler's at step "
                f"{self.step}, on_mismatch='override' with the saved ones)"
            )
        functions = (schedules.function_name() for schedules in saved.values())
        function = next(filter(None, functions), None)
        if function is not None:
            raise ValueError(
                f"state_dict must hold whole schedules, got one with the scale_fn {function}, "
                "which is code and not saved (build the scheduler with it, and load with "
                "on_mismatch='keep')"
            )
        return saved


def _factors(rows: Any) -> dict[int, Factor]:
    return {
        check_int("group", number, 0): (check_non_negative("lr", lr), check_positive("of", of))
        for number, lr, of in rows
    }
