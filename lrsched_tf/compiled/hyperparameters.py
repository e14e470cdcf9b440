"""The hyper-parameters that a schedule can drive, and where Keras' optimizers keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from lrsched import Schedule
from lrsched._validate import (
    check_momentum,
    check_non_negative,
    check_real,
    check_type,
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive_float(value: Any) -> bool:
    return isinstance(value, float) and value > 0


@dataclass(frozen=True)
class HyperParameter:
    """A number of optimizers that a schedule can drive: a row of `HYPERPARAMETERS`.

    Attributes:
        name: In policies, in the arguments of this package, and in messages.
        log_name: In the `logs` and the history of a training.
        attributes: Of optimizers, which keep it; a schedule drives all that are in use. An update
            is traced with a scalar of the step in their place.
        getter: The method that an optimizer reads it with, where it does not read the attribute.
            An update is traced with another method in its place.
        is_in_use: Whether an optimizer makes use of an attribute that has this value. One of 0
            after the first of the attributes is never in use.
        wanted: What an optimizer must have, in messages; "" for a number of that name.
        remedy: An argument that gives it to an optimizer which has the first of the attributes.
        leave_out: How to schedule without it, in messages.
        check: Returns a value of a schedule, or raises.
        example: A schedule of it, in messages.
        zero_is_none: An update with a value of 0 is one without the hyper-parameter.
    """

    name: str
    log_name: str
    attributes: tuple[str, ...]
    getter: str | None = None
    is_in_use: Callable[[Any], bool] = _is_number
    wanted: str = ""
    remedy: str = ""
    leave_out: str = "pass a policy without it"
    check: Callable[[str, Any], float] = check_real
    example: str = "lrsched.one_cycle(...)"
    zero_is_none: bool = False

    def numbers_in_use(self, optimizer: Any, others: Collection[str] = ()) -> dict[str, float]:
        """Read the attributes of an optimizer that are in use, by name; there may be none.

        Args:
            optimizer: A leaf optimizer.
            others: Names that have schedules of their own, which are left to these.
        """
        held: dict[str, Any] = {
            name: getattr(optimizer, name, None)
            for name in self.attributes
            if name == self.name or name not in others
        }
        return {
            name: value
            for name, value in held.items()
            if self.is_in_use(value) and (value or name == self.attributes[0])
        }

    def numbers(self, optimizer: Any, others: Collection[str] = ()) -> dict[str, float]:
        """Read them, where there must be one; arguments as for `numbers_in_use`.

        Raises:
            ValueError: there is none.
        """
        numbers = self.numbers_in_use(optimizer, others)
        if numbers:
            return numbers
        name = type(optimizer).__name__
        wanted = self.wanted or f"a number for {self.name}"
        remedy = self.leave_out
        if self.remedy and hasattr(optimizer, self.attributes[0]):
            remedy = f"compile with {name}({self.remedy}), or {remedy}"
        raise ValueError(f"optimizer must have {wanted} to schedule, got {name} ({remedy})")

    def bounds(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """Return bounds of a schedule as comparisons of an optimizer are to see them."""
        low, high = bounds
        if self.zero_is_none and low == 0:  # goes on with its averages, which comes to the same
            return math.ulp(0.0), max(high, math.ulp(0.0))
        return bounds

    def check_schedule(self, schedule: Any) -> None:
        """Check the type of a schedule, and the values between which it moves.

        Raises:
            TypeError: it is not a Schedule.
            ValueError: a value is out of range.
        """
        check_type(self.name, schedule, Schedule, f"for example {self.example}")
        for segment in schedule.segments:
            self.check(self.name, segment.start_value)
            self.check(self.name, segment.end_value)


HYPERPARAMETERS = {
    row.name: row
    for row in (
        HyperParameter(
            "lr", "learning_rate", ("_learning_rate",), getter="_get_current_learning_rate"
        ),
        HyperParameter(
            "momentum",
            "momentum",
            # Muon has one for each of its two rules.
            ("momentum", "beta_1", "adam_beta_1"),
            # One of 0 means that the optimizer keeps no moving average.
            is_in_use=_is_positive_float,
            wanted="a momentum > 0",
            remedy="momentum=0.9",
            leave_out="pass momentum=None, or a policy without it",
            check=check_momentum,
            example="lrsched.one_cycle_momentum(...)",
            zero_is_none=True,
        ),
        HyperParameter(
            "beta_2",
            "beta_2",
            ("beta_2", "adam_beta_2"),
            wanted="a beta_2",
            check=check_momentum,
            example="lrsched.linear(...)",
        ),
        HyperParameter(
            "weight_decay",
            "weight_decay",
            # The second is that of the weights which Muon leaves to Adam.
            ("weight_decay", "adam_weight_decay"),
            wanted="a weight_decay that is not None",
            remedy="weight_decay=0.004",
            check=check_non_negative,
            example="lrsched.cosine(...)",
            zero_is_none=True,
        ),
        HyperParameter(
            "eps",
            "epsilon",
            ("epsilon",),
            wanted="an epsilon",
            check=check_non_negative,
            example="lrsched.exponential(...)",
        ),
    )
}
# Numbers that optimizers, or this package, also read outside of the update that a schedule is in.
NOT_OF_UPDATES = {
    "loss_scale_factor": "the loss is multiplied with it outside of the update",
    "gradient_accumulation_steps": "a count, which steps are counted by",
    "ema_overwrite_frequency": "a count",
}


def hyperparameter(name: str) -> HyperParameter:
    """Return the row of a hyper-parameter; any other number of an optimizer has one by its name.

    Raises:
        ValueError: a number that no update alone reads.
    """
    if name in NOT_OF_UPDATES:
        raise ValueError(
            f"a policy must be of numbers that only the updates of an optimizer read, got {name} "
            f"({NOT_OF_UPDATES[name]})"
        )
    return HYPERPARAMETERS.get(name) or HyperParameter(name, name, (name,))
