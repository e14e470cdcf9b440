"""State of a scheduler as plain data: a dict of str, int and bool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lrsched._validate import check_bool, check_int
from lrsched_torch.schedulers.per_group import PerGroup

FORMAT = 1


class State(NamedTuple):
    """What a scheduler saves.

    Attributes:
        step: Step of the schedule; -1 before its turn within SequentialLR.
        lr: Curves of the lr.
        momentum: Curves of the momentum.
        in_charge: The optimizer holds the values of this scheduler.
        pending: Optimizer updates made since the last `scheduler.step()`.
        seen: The optimizer has been stepped at some time.
    """

    step: int
    lr: PerGroup
    momentum: PerGroup
    in_charge: bool
    pending: int
    seen: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        fields = self._asdict()
        fields["lr"], fields["momentum"] = self.lr.to_json(), self.momentum.to_json()
        return {"format": FORMAT, **fields}

    @classmethod
    def from_dict(cls, data: Any) -> State:
        """Read what `to_dict` wrote.

        Raises:
            TypeError: not a mapping, or an entry of the wrong kind.
            ValueError: not a state of this package, or one of a newer version.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"state_dict must be a dict that state_dict() gave, got {data!r}")
        keys = ("format", *cls._fields)
        if set(data) != set(keys):
            raise ValueError(
                "state_dict must be that of a scheduler of lrsched_torch, with the keys "
                f"{', '.join(keys)}, got {', '.join(sorted(map(str, data))) or 'none'} "
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
            lr=PerGroup.from_json("lr", data["lr"]),
            momentum=PerGroup.from_json("momentum", data["momentum"]),
            in_charge=check_bool("in_charge", data["in_charge"]),
            pending=check_int("pending", data["pending"], 0),
            seen=check_bool("seen", data["seen"]),
        )
