"""Hyper-parameters of an optimizer: where parameter groups keep them, read and written in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor

Group = dict[str, Any]


class Place(NamedTuple):
    """Where a parameter group keeps a number: under a key, or in a slot of the tuple there."""

    key: str
    slot: int | None = None

    def get(self, group: Group) -> Any:
        """Return what a group holds here, a number or a tensor."""
        held = group[self.key]
        return held if self.slot is None else held[self.slot]

    def holds_number(self, group: Group) -> bool:
        """Return whether a group holds a number here, or a tensor of one that is no int."""
        held: Any = group.get(self.key)
        if self.slot is not None:
            is_long = isinstance(held, (tuple, list)) and len(held) > self.slot
            held = held[self.slot] if is_long else None
        if held is None or held.__class__ is float:  # nearly always, and cheaper than the rest
            return held is not None
        if isinstance(held, Tensor):
            return held.numel() == 1 and held.is_floating_point()
        return isinstance(held, Real) and not isinstance(held, bool)

    def replace(self, group: Group, value: Any) -> None:
        """Let a group hold another object here; a tuple keeps its other slots."""
        if self.slot is None:
            group[self.key] = value
        else:
            held = group[self.key]
            group[self.key] = (*held[: self.slot], value, *held[self.slot + 1 :])


def _never(group: Group) -> None:
    return None


@dataclass(frozen=True)
class HyperParameter:
    """Row of `HYPERPARAMETERS`: all that schedulers know of a hyper-parameter.

    Attributes:
        name: Its name in a mapping of names to schedules.
        places: Where a group may keep it; the first one that the group has is used.
        required: A scheduler that is given no policy sets it in every group.
        mark: Key under which the value found at first stays in a group, if any.
        off: Value that turns it off, if any; a drop-in for a torch scheduler leaves it at that.
        exempts: Groups that have it off, beside others that have not, are left at that.
        below: Bound that its schedules must not reach, if any.
        absent: What the groups of an optimizer without it have, for the error message.
        remedy: What the caller can do then.
        compile_fault: Returns a warning if scheduling it makes `torch.compile` wrong for a group.
    """

    name: str
    places: tuple[Place, ...]
    required: bool = False
    mark: str | None = None
    off: float | None = None
    exempts: bool = False
    below: float | None = None
    absent: str = "no number of that name"
    remedy: str = "leave it out"
    compile_fault: Callable[[Group], str | None] = _never

    def fits(self, group: Group) -> bool:
        """Return whether a group has it."""
        return any(place.holds_number(group) for place in self.places)

    def place_in(self, group: Group) -> Place:
        """Return where a group that has it keeps it."""
        for place in self.places:
            if place.holds_number(group):
                return place
        raise KeyError(self.name)

    def read(self, group: Group) -> float:
        """Return the value in a group that has it."""
        return float(self.place_in(group).get(group))

    def write(self, group: Group, value: float) -> None:
        """Set the value in a group that has it.

        A tensor is filled and keeps its identity, so compiled and captured steps see the change.
        """
        place = self.place_in(group)
        present = place.get(group)
        if isinstance(present, Tensor):
            present.fill_(value)
        else:
            place.replace(group, value)


def _nesterov_fault(group: Group) -> str | None:
    # Measured with torch 2.13 and inductor on SGD: with nesterov, a tensor lr, a momentum that is
    # a float and changes, and no foreach implementation, updates are wrong from the third on.
    if (
        group.get("nesterov", False)
        and isinstance(group["lr"], Tensor)
        and isinstance(group["momentum"], float)
        and not _uses_foreach(group)
    ):
        return (
            "torch.compile computes wrong updates for SGD with nesterov=True, a tensor lr and a "
            "scheduled momentum (leave optimizer.step uncompiled, or pass nesterov=False, or "
            "leave the momentum alone with cycle_momentum=False or momentum=None)"
        )
    return None


# Keys of the optimizers of torch whose decay is a part of the gradient: SGD, RMSprop, Adagrad,
# Adadelta, ASGD. Adam and its like have a flag that says so.
IN_GRADIENT = ("dampening", "centered", "lr_decay", "rho", "t0")


def _decay_fault(group: Group) -> str | None:
    # Measured with torch 2.13 and inductor: a decay that is a part of the gradient is a constant
    # of the graph, of which dynamo makes 8; a tensor breaks `if weight_decay != 0` of torch's own.
    if isinstance(group.get("weight_decay"), Tensor):
        return (
            "torch.compile runs an optimizer with a tensor weight_decay eagerly (make it a float; "
            "with AdamW that is compiled once for all values)"
        )
    if group.get("decoupled_weight_decay") is False or any(key in group for key in IN_GRADIENT):
        return (
            "torch.compile compiles an optimizer whose weight decay is a part of the gradient "
            "anew for every value of it, and after 8 of them runs it eagerly (take AdamW, leave "
            "optimizer.step uncompiled, or leave weight_decay out of the policy)"
        )
    return None


def _uses_foreach(group: Group) -> bool:
    if group.get("foreach") is not None:
        return bool(group["foreach"])
    return any(parameter.is_cuda for parameter in group["params"])


LR = HyperParameter(
    "lr",
    (Place("lr"),),
    required=True,
    # Every torch scheduler leaves the lr that it found here; SequentialLR reads it.
    mark="initial_lr",
    absent="no lr that is a number, or a tensor of floats",
)
MOMENTUM = HyperParameter(
    "momentum",
    (Place("betas", 0), Place("momentum"), Place("beta1")),
    off=0.0,
    below=1.0,
    absent="neither momentum nor betas",
    remedy="pass cycle_momentum=False or momentum=None, or leave it out of the policy",
    compile_fault=_nesterov_fault,
)
BETA_2 = HyperParameter(
    "beta_2", (Place("betas", 1), Place("beta2")), below=1.0, absent="no second beta"
)
WEIGHT_DECAY = HyperParameter(
    "weight_decay",
    (Place("weight_decay"), Place("wd")),
    off=0.0,
    exempts=True,
    absent="no weight_decay",
    remedy="leave it out, or take an optimizer that has it; 0 is a value",
    compile_fault=_decay_fault,
)
EPS = HyperParameter("eps", (Place("eps"), Place("epsilon")), absent="no number for eps")
HYPERPARAMETERS = {row.name: row for row in (LR, MOMENTUM, BETA_2, WEIGHT_DECAY, EPS)}


def hyperparameter(name: str) -> HyperParameter:
    """Return the row of a hyper-parameter; one that has none is a number under its own name."""
    return HYPERPARAMETERS.get(name) or HyperParameter(name, (Place(name),))


def unalias(groups: Iterable[Group], names: Iterable[str]) -> None:
    """Give each group tensors of its own for these hyper-parameters.

    `AdamW(groups, lr=torch.tensor(0.01))` hands one tensor to all groups: filling it for one
    sets it for all. The first group to hold a tensor keeps it; the later ones get a copy.
    """
    rows = [hyperparameter(name) for name in names]
    seen: set[int] = set()
    for group in groups:
        for place in (row.place_in(group) for row in rows if row.fits(group)):
            value = place.get(group)
            if not isinstance(value, Tensor):
                continue
            if id(value) in seen:
                value = value.clone()
                place.replace(group, value)
            seen.add(id(value))
