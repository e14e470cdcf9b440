"""A stretch of a schedule between two knots."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from lrsched._validate import check_choice, check_non_negative, check_positive, check_real
from lrsched.engine.shapes import POSITIVE_SHAPES, POWER_SHAPES, SHAPES

# Steps are of int64, and so are differences of steps and knots.
MAX_KNOT = 2.0**62
# A ratio of ends beyond this leaves no float for the shapes that divide by it.
MAX_RATIO = 1e150


@dataclass(frozen=True)
class Segment:
    """A stretch of a schedule between two knots.

    Args:
        start: Step of the first knot, a real number from -2**62 to 2**62, as are all steps.
        end: Step of the last knot, > `start` and > 0.
        start_value: Value at `start`, >= 0.
        end_value: Value at `end`, >= 0.
        shape: A name of `lrsched.engine.shapes.SHAPES`: "linear", "cos", "exp" ...
        power: Exponent of the shapes "poly" and "cos_poly", > 0; 1 for all others.
        enters: Step from which the segment is in force, where that is later than `start`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `end` <= `start`, `enters` outside of them, a knot that int64 cannot hold, a
            negative value, an unknown shape, or a value of 0 in a shape that needs both > 0
            ("exp", "rsqrt", "inverse").
    """

    start: float
    end: float
    start_value: float
    end_value: float
    shape: str = "linear"
    power: float = 1.0
    enters: float | None = None

    def __post_init__(self) -> None:
        check_choice("shape", self.shape, SHAPES)
        positive = self.shape in POSITIVE_SHAPES
        check_value = check_positive if positive else check_non_negative
        set_field = object.__setattr__
        set_field(self, "start", _check_knot("start", self.start))
        set_field(self, "end", _check_knot("end", self.end))
        set_field(self, "start_value", check_value("start_value", self.start_value))
        set_field(self, "end_value", check_value("end_value", self.end_value))
        set_field(self, "power", check_positive("power", self.power))
        if not max(self.start, 0.0) < self.end:
            raise ValueError(f"end must be > 0 and > start ({self.start:g}), got {self.end:g}")
        if self.enters is not None:
            set_field(self, "enters", check_real("enters", self.enters))
            if not self.start <= self.enters <= self.end:
                raise ValueError(
                    f"enters must be from start ({self.start:g}) to end ({self.end:g}), "
                    f"got {self.enters:g}"
                )
        if self.power != 1.0 and self.shape not in POWER_SHAPES:
            raise ValueError(f"power must be 1 for shape {self.shape!r}, got {self.power:g}")
        low, high = sorted((self.start_value, self.end_value))
        if positive and high / MAX_RATIO > low:
            raise ValueError(
                f"values of a {self.shape!r} segment must be within a factor of {MAX_RATIO:g}, "
                f"got {self.start_value:g} and {self.end_value:g}"
            )

    @property
    def first(self) -> int:
        """First whole step at which the segment is in force."""
        return math.ceil(self.start if self.enters is None else self.enters)

    def shifted(self, offset: int) -> Segment:
        """The segment `offset` steps later, in force no sooner than at step `offset`."""
        start, end = self.start + offset, self.end + offset
        enters = None if self.enters is None else self.enters + offset
        if enters is None and start < offset:
            enters = float(offset)
        return dataclasses.replace(self, start=start, end=end, enters=enters)


def polynomial_segment(
    start: float, end: float, start_value: float, end_value: float, power: float
) -> Segment:
    """Segment of the values `end_value + (start_value - end_value) * left**power`, power >= 0."""
    if check_non_negative("power", power) == 0.0:  # left**0 is 1
        end_value = start_value
    shape = "linear" if power in (0.0, 1.0) else "poly"
    return Segment(start, end, start_value, end_value, shape, power or 1.0)


def _check_knot(name: str, step: float) -> float:
    step = check_real(name, step)
    if abs(step) > MAX_KNOT:
        raise ValueError(f"{name} must be from -2**62 to 2**62, got {step:g}")
    return step
