"""What a scheduler follows: a curve for each parameter group, or one for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched._validate import check_bool, check_sequence, check_type


class ScaledByFunction:
    """A wave of a Schedule whose height is multiplied by a function of the user.

    The function is code, not data: it is called when a step comes, never ahead, and it cannot
    be saved.

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
        """The wave, and the name of the function."""
        named = self.scale_fn if hasattr(self.scale_fn, "__qualname__") else type(self.scale_fn)
        name = f"{named.__module__}.{named.__qualname__}"
        return {"wave": self.wave.to_dict(), "scale_fn": name, "by_cycle": self.by_cycle}


Curve = Schedule | ScaledByFunction


@dataclass(frozen=True)
class PerGroup:
    """A curve for each parameter group, or one for all, those added later included.

    Attributes:
        curves: One, if `shared`. None leaves a group alone; a dict, read from a state, stands
            for a curve that holds code.
        shared: Whether all groups follow the same curve.
    """

    curves: tuple[Any, ...]
    shared: bool

    @classmethod
    def of(cls, name: str, value: Any, width: int, optional: bool = False) -> PerGroup:
        """Check an argument: a curve, or a list of one per group.

        Raises:
            TypeError: not a Schedule, nor a list of them.
            ValueError: the length of a list is not the number of groups.
        """
        shared = not isinstance(value, (list, tuple))
        curves = (value,) if shared else tuple(value)
        for curve in curves:
            if not isinstance(curve, Curve) and not (optional and curve is None):
                raise TypeError(
                    f"{name} must be a Schedule, or a list of one per parameter group, "
                    f"got {curve!r} (lrsched.constant makes one of a number)"
                )
        checked = cls(curves, shared)
        checked.check_width(name, width)
        return checked

    def check_width(self, name: str, width: int) -> None:
        """Raise ValueError unless there is a curve for each of `width` groups."""
        if not self.shared and len(self.curves) != width:
            raise ValueError(
                f"{name} must hold one schedule per parameter group ({width}), "
                f"got {len(self.curves)} (or one schedule, not in a list, for all groups)"
            )

    @property
    def total_steps(self) -> int | None:
        """Length of the longest curve; None if any is endless."""
        totals = [c.total_steps if isinstance(c, Schedule) else None for c in self.curves]
        finite = [total for total in totals if total is not None]
        return max(finite) if len(finite) == len(totals) else None

    def expand(self, width: int) -> list[Any]:
        """The curve of each group."""
        return list(self.curves) * width if self.shared else list(self.curves)

    def matches(self, other: PerGroup, width: int) -> bool:
        """Whether both give `width` groups the same curves, code compared by name."""
        mine, theirs = (
            [_without_code(curve) for curve in part.expand(width)] for part in (self, other)
        )
        return mine == theirs

    def to_json(self) -> str:
        """As a JSON text: a value that a distributed checkpoint does not take apart."""
        curves = [None if curve is None else curve.to_dict() for curve in self.curves]
        return json.dumps({"shared": self.shared, "curves": curves}, allow_nan=False)

    @classmethod
    def from_json(cls, name: str, text: Any) -> PerGroup:
        """Read what `to_json` wrote; raises TypeError or ValueError on anything else."""
        check_type(name, text, str)
        data = json.loads(text)
        if not isinstance(data, dict) or set(data) != {"shared", "curves"}:
            raise ValueError(f"{name} must hold shared and curves, got {text}")
        curves: Sequence[Any] = check_sequence(f"{name} curves", data["curves"], "a list")
        shared = check_bool(f"{name} shared", data["shared"])
        return cls(tuple(_curve_from_dict(curve) for curve in curves), shared)

    def __str__(self) -> str:
        curves = ", ".join(_in_words(curve) for curve in self.curves)
        return curves if self.shared else f"[{curves}]"

    def code(self) -> str | None:
        """Name of a function that a saved curve needs, if any does."""
        names = (curve["scale_fn"] for curve in self.curves if isinstance(curve, dict))
        return next(names, None)


def _in_words(curve: Any) -> str:
    if isinstance(curve, ScaledByFunction):
        curve = curve.to_dict()
    if isinstance(curve, dict):
        return f"{Schedule.from_dict(curve['wave'])} times {curve['scale_fn']}"
    return str(curve)


def _without_code(curve: Any) -> Any:
    return curve.to_dict() if isinstance(curve, ScaledByFunction) else curve


def _curve_from_dict(data: Any) -> Any:
    is_code = isinstance(data, Mapping) and "scale_fn" in data
    return data if data is None or is_code else Schedule.from_dict(data)
