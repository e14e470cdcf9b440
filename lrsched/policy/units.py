"""Numbers of steps given as text: "10ep" in epochs, "0.3dur" as a fraction of the run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lrsched._validate import MAX_INT, check_int, rounded_steps

# Arguments of the functions that build schedules, and of their peers, that are numbers of steps.
STEP_ARGUMENTS = frozenset(
    {
        "T_0",
        "T_max",
        "cycle_len",
        "decay_steps",
        "first_cycle_steps",
        "first_decay_steps",
        "milestones",
        "num_decay_steps",
        "num_stable_steps",
        "num_steps",
        "num_training_steps",
        "num_warmup_steps",
        "step_size",
        "step_size_down",
        "step_size_up",
        "t_initial",
        "timescale",
        "total_iters",
        "total_steps",
        "transition_steps",
        "warmup_steps",
        "warmup_t",
    }
)
WITH_UNIT = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?) ?(ep|dur)")


def total_steps_of(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    """`total_steps`, or `epochs * steps_per_epoch`; as OneCycleLR takes them."""
    product = None
    if epochs is not None and steps_per_epoch is not None:
        product = check_int("epochs", epochs, 1) * check_int("steps_per_epoch", steps_per_epoch, 1)
    if total_steps is None:
        if product is None:
            raise ValueError(
                "total_steps must be given, or both epochs and steps_per_epoch, got "
                f"total_steps=None, epochs={epochs!r}, steps_per_epoch={steps_per_epoch!r}"
            )
        return product
    if product is not None and product != total_steps:
        raise ValueError(
            f"total_steps must be epochs * steps_per_epoch ({product}) where all are given, "
            f"got {total_steps!r} (leave one out)"
        )
    return total_steps


@dataclass(frozen=True)
class RunLength:
    """What is known of the length of a run; it turns text with a unit into steps.

    Args:
        total_steps: Number of optimizer updates of the run, int >= 1; None stands for
            `epochs * steps_per_epoch` where both are given.
        steps_per_epoch: Number of optimizer updates of an epoch, int >= 1, or None.
        epochs: Number of epochs, int >= 1, or None.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument below 1, `epochs` without the others, or three that disagree.
    """

    total_steps: int | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        for name in ("total_steps", "steps_per_epoch", "epochs"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_int(name, getattr(self, name), 1))
        if self.epochs is not None:
            total = total_steps_of(self.total_steps, self.epochs, self.steps_per_epoch)
            object.__setattr__(self, "total_steps", total)

    def in_steps(self, name: str, value: Any) -> Any:
        """The number of steps in an argument that is text with a unit; anything else as it is.

        Raises:
            ValueError: what the unit refers to is not known, or the number is not > 0, or is
                above 1 in "dur".
        """
        match = WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
        if match is None or name not in STEP_ARGUMENTS:
            return value
        number, unit = float(match[1]), match[2]
        whole, needed = self.total_steps, "total_steps, or epochs and steps_per_epoch"
        if unit == "ep":
            whole, needed = self.steps_per_epoch, "steps_per_epoch"
        if whole is None:
            raise ValueError(
                f"{name} must be a number of steps where {needed} is not given, got {value!r}"
            )
        if not 0 < number * whole < MAX_INT or (unit == "dur" and number > 1):
            rule = "in (0, 1] of the run" if unit == "dur" else "> 0 epochs"
            raise ValueError(f"{name} must be {rule}, got {value!r} (0 is no steps)")
        return rounded_steps(number, whole)
