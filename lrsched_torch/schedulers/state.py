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
    check_sequence,
    check_type,
    shown,
)
from lrsched_torch.schedulers.binding import Factor
from lrsched_torch.schedulers.group_schedules import GroupSchedules, Schedules

# Format 2 is written only where format 1, which has no other keys, would not do.
FORMAT = 2
# Hyper-parameters whose schedules have keys of their own.
SCHEDULED = ("lr", "momentum")
KEYS = ("format", "step", *SCHEDULED, "in_charge", "pending", "seen")
# Keys of format 2, at least one of them: factors of groups, and what else the policy has.
FACTORS, POLICY = "factors", "policy"


class State(NamedTuple):
    """What a scheduler saves; made by its `state_dict` and `load_state_dict`.

    Attributes:
        step: Step of the schedule; -1 before its turn within SequentialLR.
        planned: Schedules by the names of hyper-parameters, before `cooldown` and `extend`.
        schedules: The same as they are now.
        in_charge: The optimizer holds the values of this scheduler.
        pending: Optimizer updates made since the last `scheduler.step()`.
        seen: The optimizer has been stepped at some time.
        factors: Factors of groups that were added with an lr of their own, by their numbers.
        exempt: Whether each group stays without a hyper-parameter that others have, by its name.
    """

    step: int
    planned: Schedules
    schedules: Schedules
    in_charge: bool
    pending: int
    seen: bool
    factors: dict[int, Factor]
    exempt: dict[str, list[bool]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with texts that a distributed checkpoint keeps whole."""
        others = _to_data({n: each for n, each in self.schedules.items() if n not in SCHEDULED})
        policy: dict[str, Any] = {"schedules": others} if others else {}
        if self.planned != self.schedules:
            policy["planned"] = _to_data(self.planned)
        exempt = {name: groups for name, groups in self.exempt.items() if name in others}
        if exempt:
            policy["exempt"] = exempt
        factors = [[number, *factor] for number, factor in self.factors.items()]
        more = {FACTORS: factors, POLICY: policy}
        texts = {key: json.dumps(data, allow_nan=False) for key, data in more.items() if data}
        return {
            "format": FORMAT if texts else 1,
            **texts,
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
        if set(data) - {FACTORS, POLICY} != set(KEYS):
            raise ValueError(
                "state_dict must be that of a scheduler of lrsched_torch, with the keys "
                f"{', '.join(KEYS)}, got {', '.join(sorted(map(str, data))) or 'none'} "
                "(to go on from step k of another scheduler, build this one with last_epoch=k - 1)"
            )
        check_format(data["format"], FORMAT)
        if data["format"] == FORMAT and not {FACTORS, POLICY} & set(data):
            raise ValueError(
                f"state_dict of format {FORMAT} must have the key {POLICY} or {FACTORS}, got "
                "neither (a distributed checkpoint loads the keys that it is asked for: load into "
                f"{{**scheduler.state_dict(), {POLICY!r}: ''}}, or with {FACTORS!r}, as saved)"
            )
        policy = load_json(data.get(POLICY, "{}"))
        check_type(POLICY, policy, dict)
        schedules = {name: GroupSchedules.from_json(name, data[name]) for name in SCHEDULED}
        schedules |= _from_data(policy.get("schedules", {}))
        planned = policy.get("planned")
        return cls(
            step=check_int("step", data["step"], -1),
            planned=schedules if planned is None else _from_data(planned),
            schedules=schedules,
            in_charge=check_bool("in_charge", data["in_charge"]),
            pending=check_int("pending", data["pending"], 0),
            seen=check_bool("seen", data["seen"]),
            factors=_factors(load_json(data.get(FACTORS, "[]"))),
            exempt=_exempt(policy.get("exempt", {})),
        )

    def choose(
        self, planned: Schedules, schedules: Schedules, width: int, on_mismatch: str
    ) -> tuple[Schedules, Schedules]:
        """Choose between the schedules of a scheduler and those saved here.

        Args:
            planned: Schedules of the scheduler, before any change.
            schedules: The same as they are now.
            width: Number of its parameter groups.
            on_mismatch: As for `ScheduleLR`.

        Returns:
            The schedules to follow: as planned, and as they are now.

        Raises:
            ValueError: they differ under "raise", those saved need a function under "override", or
                the state is of more groups than the optimizer has.
        """
        saved = max([*(n + 1 for n in self.factors), *map(len, self.exempt.values())], default=0)
        if saved > width:
            raise ValueError(
                f"state_dict must be of at most {width} parameter groups, got one of {saved} "
                "(add the groups before it is loaded)"
            )
        if _same(self.schedules, schedules, width):
            return planned, schedules
        if _same(self.planned, planned, width):
            changed = self.schedules is not self.planned
            return planned, self.schedules if changed else planned
        if on_mismatch == "keep":
            return planned, schedules
        if on_mismatch == "raise":
            others = ", ".join(
                f"{name} {self.schedules.get(name)} against {schedules.get(name)}"
                for name in {**schedules, **self.schedules}
            )
            raise ValueError(
                "state_dict must hold the schedules of this scheduler, got others: "
                f"{others} (on_mismatch='keep' goes on with this scheduler's at step "
                f"{self.step}, on_mismatch='override' with the saved ones)"
            )
        functions = (each.function_name() for each in self.schedules.values())
        function = next(filter(None, functions), None)
        if function is not None:
            raise ValueError(
                f"state_dict must hold whole schedules, got one with the scale_fn {function}, "
                "which is code and not saved (build the scheduler with it, and load with "
                "on_mismatch='keep')"
            )
        return self.planned, self.schedules


def _same(one: Schedules, other: Schedules, width: int) -> bool:
    return set(one) == set(other) and all(one[n].matches(other[n], width) for n in one)


def _to_data(schedules: Schedules) -> dict[str, Any]:
    return {name: each.to_data() for name, each in schedules.items()}


def _from_data(data: Any) -> dict[str, GroupSchedules]:
    check_type("schedules", data, dict)
    return {name: GroupSchedules.from_data(name, each) for name, each in data.items()}


def _exempt(data: Any) -> dict[str, list[bool]]:
    check_type("exempt", data, dict)
    return {
        name: [check_bool(name, each) for each in check_sequence(name, groups, "a list")]
        for name, groups in data.items()
    }


def _factors(rows: Any) -> dict[int, Factor]:
    return {
        check_int("group", number, 0): (check_non_negative("lr", lr), check_positive("of", of))
        for number, lr, of in rows
    }
