"""Schedules as frozen data: segments, and how they compose, repeat, compare and travel."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from lrsched._load import load_json
from lrsched._validate import (
    check_format,
    check_int,
    check_positive,
    check_sequence,
    check_type,
    shown,
)
from lrsched.engine import changes, evaluate
from lrsched.engine.data import ScheduleData
from lrsched.engine.namespaces import ArrayAPI
from lrsched.engine.segment import Segment
from lrsched.engine.shapes import POWER_SHAPES
from lrsched.engine.steps import checked_array, checked_tensor
from lrsched.engine.text import build, described

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1
# The last step that an endless segment is written out to: the largest that an int32 counter
# holds with room for the step after it.
HORIZON = 2**31 - 2


@dataclass(frozen=True, repr=False)
class Schedule(ScheduleData):
    """A value for every optimiser step, as plain data: equal, hashable, picklable, JSON.

    Call it with an int, or an integer array of any shape, and it returns a float, or a float64
    array of that shape. An array of another library that follows the array API standard, traced
    or not, is evaluated in that library, so a Schedule is an optax schedule as it stands. Before
    the first knot and after the last one the value holds, and a step before 0 is step 0.

    The functions `one_cycle`, `cosine`, `cyclical` ... build schedules; this class is what they
    have in common.

    Args:
        segments: At least one `Segment`, by the step at which they enter; where two overlap, the
            later one wins.
        total_steps: Number of optimiser updates, or None for an endless schedule.
        loop_from: First step of the part that repeats for ever, or None.
        period: Length of the part that repeats, in steps; given with `loop_from`.
        gamma: Damping of a loop, > 0: the distance from `floor` is multiplied by
            `gamma ** ((step - loop_from) // every)`.
        every: Number of steps between two dampings, >= 1.
        floor: Value that a damped loop decays to, >= 0.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: no segments, segments out of order, a loop that is not endless, or damping
            without a loop.
    """

    @classmethod
    def through(
        cls,
        knots: Sequence[tuple[float, float]],
        shapes: Sequence[str],
        *,
        total_steps: int | None = None,
        power: float = 1.0,
    ) -> Schedule:
        """The schedule through `(step, value)` knots, `shapes[i]` from knot i to knot i + 1.

        Stretches of no length, or that run backwards, are left out; `power` goes to the shapes
        that take one.
        """
        check_sequence("knots", knots, "a sequence of (step, value) pairs")
        if len(shapes) != len(knots) - 1:
            raise ValueError(
                f"shapes must be one fewer than the {len(knots)} knots, got {len(shapes)}"
            )
        segments = [
            Segment(start, end, value, following, shape, power if _takes_power(shape) else 1.0)
            for (start, value), (end, following), shape in zip(
                knots, knots[1:], shapes, strict=False
            )
            if start < end
        ]
        return cls(tuple(segments), total_steps)

    @overload
    def __call__(self, step: int | np.integer[Any]) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.integer[Any]]) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, step: Any) -> Any: ...
    def __call__(self, step: Any) -> Any:
        """Value at `step`: the number of optimiser updates already made.

        Raises:
            TypeError: `step` is a bool, a float, a list, or not of integers. Arrays of floats are
                taken from other libraries than NumPy, whole numbers where they are not traced.
            ValueError: a step of 2**63 and more, or one that is not whole.
        """
        # The common case first: a scheduler asks for one int per update.
        if step.__class__ is int and 0 <= step <= evaluate.MAX_STEP:
            return evaluate.at(self._plan, step)
        return self._call_other(step)

    def _call_other(self, step: Any) -> Any:
        if isinstance(step, np.ndarray):
            return evaluate.over(self._plan, checked_array(step))
        if hasattr(step, "__array_namespace__") and not isinstance(step, np.generic):
            library = step.__array_namespace__()
            return self.evaluate_in(ArrayAPI(library), checked_tensor(step, library))
        hint = "wrap a list in np.asarray" if isinstance(step, (list, tuple)) else ""
        return evaluate.at(self._plan, max(check_int("step", step, None, hint), 0))

    def evaluate_in(self, xp: Any, step: Any) -> Any:
        """Value at an integer tensor, computed with the namespace `xp` of another library.

        For adapters: `xp` is a namespace as in `lrsched.engine.namespaces`, and `step` of int32 or
        int64. It may be traced.
        """
        return evaluate.within(self._plan, step, xp)

    @property
    def holds_from(self) -> int | None:
        """First step from which the value holds for ever; None for a loop."""
        return self._plan.firsts[-1] if self.loop_from is None else None

    def values(self, num_steps: int | None = None) -> NDArray[np.float64]:
        """Values at the steps 0, 1, ... as a float64 array of shape [num_steps].

        Args:
            num_steps: Int >= 0; None, for a schedule with an end, stands for `total_steps`.

        Raises:
            ValueError: `num_steps` is None and the schedule is endless.
        """
        if num_steps is None:
            num_steps = self.total_steps
            if num_steps is None:
                raise ValueError("num_steps must be given for an endless schedule, got None")
        return evaluate.first(self._plan, check_int("num_steps", num_steps, 0))

    def then(self, other: Schedule) -> Schedule:
        """This schedule for its `total_steps`, then `other` from its own step 0.

        Raises:
            TypeError: `other` is not a Schedule.
            ValueError: this schedule is endless, or both are too long.
        """
        check_type("other", other, Schedule)
        return changes.joined([self, other])

    def scaled(self, factor: float) -> Schedule:
        """The schedule with every value multiplied by `factor` > 0."""
        factor = check_positive("factor", factor)
        segments = tuple(
            dataclasses.replace(
                s, start_value=s.start_value * factor, end_value=s.end_value * factor
            )
            for s in self.segments
        )
        return dataclasses.replace(self, segments=segments, floor=self.floor * factor)

    def loop(self, *, gamma: float = 1.0, every: int | None = None, floor: float = 0.0) -> Schedule:
        """The schedule repeated for ever, every `total_steps` steps.

        Args:
            gamma: Damping, > 0; the distance from `floor` is multiplied by it ...
            every: ... each so many steps; None stands for once a cycle.
            floor: Value that the cycles decay to.

        Raises:
            ValueError: the schedule is endless already.
        """
        total_steps = changes.check_length("loop", "schedule", self.total_steps)
        return dataclasses.replace(
            self,
            total_steps=None,
            loop_from=0,
            period=total_steps,
            gamma=gamma,
            every=total_steps if every is None else every,
            floor=floor,
        )

    def truncated(self, step: int) -> Schedule:
        """The first `step` updates, after which the last value of them holds.

        Of a loop, what repeats is written out.

        Args:
            step: Number of updates, int >= 1, <= `total_steps`.

        Raises:
            TypeError: `step` is not an int.
            ValueError: `step` out of its range, or a loop of more than 2**18 segments until then.

        Example:
            >>> from lrsched import cyclical
            >>> cyclical(0.0, 1.0, 4).truncated(6).values(8).tolist()
            [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.75, 0.75]
        """
        return changes.truncated(self, step)

    def stretched(self, total_steps: int) -> Schedule:
        """The same curve in another number of steps: first to first, last to last, linear.

        Not always what the function that built it makes of that number: a warmup of 100 steps is
        stretched too.

        Args:
            total_steps: New number of updates, int >= 1; a single one gets the first value.

        Raises:
            TypeError: `total_steps` is not an int.
            ValueError: `total_steps` < 1, or the schedule is endless.

        Example:
            >>> from lrsched import linear
            >>> linear(0.0, 1.0, 3).stretched(5).values().tolist()
            [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        return changes.stretched(self, total_steps)

    def extended(self, total_steps: int, at: int) -> Schedule:
        """The schedule of a run that turns out longer: before `at` unchanged, the rest stretched.

        Args:
            total_steps: New number of updates of the whole run, int >= that of now.
            at: First update that may change, int >= 0, < the `total_steps` of now; it keeps its
                value, and so does the last one.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: an argument out of its range, or the schedule is endless.

        Example:
            >>> from lrsched import linear
            >>> linear(1.0, 0.0, 5).extended(7, at=2).values().tolist()
            [1.0, 0.75, 0.5, 0.375, 0.25, 0.125, 0.0]
        """
        return changes.extended(self, total_steps, at)

    def cooldown(self, at: int, steps: int, shape: str = "sqrt", to: float = 0.0) -> Schedule:
        """Before `at` unchanged; from its value there down to `to`, where the run ends.

        Of a loop, what repeats is written out.

        Args:
            at: First update of the cooldown, int >= 0; it still has the value of before.
            steps: Number of updates of the cooldown, int >= 2; the last one, at
                `at + steps - 1`, has `to`. At most what is left of `total_steps`.
            shape: "sqrt" for 1 - sqrt(done), "linear", "cos", or "exp", a factor per step.
            to: Last value, >= 0; > 0 for "exp".

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: an argument out of its range, or a loop of more than 2**18 segments.

        Example:
            >>> from lrsched import constant
            >>> constant(1.0).cooldown(at=2, steps=5, shape="linear").values().tolist()
            [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]

        Source: Haegele et al. 2024, arXiv:2405.18392 (shape "sqrt").
        """
        return changes.cooldown(self, at, steps, shape, to)

    def to_dict(self) -> dict[str, Any]:
        """The schedule as str, int, float, None, lists and dicts, for JSON or a checkpoint."""
        fields = dataclasses.asdict(self)
        return {"format": FORMAT, **fields, "segments": list(fields["segments"])}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """The schedule that `to_dict` wrote.

        Raises:
            TypeError: `data` is not a mapping.
            ValueError: a newer format, a missing or unknown key, or a bad value.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping as to_dict writes, got {shown(data)}")
        fields = dict(data)
        check_format(fields.pop("format", None), FORMAT, "as Schedule.to_dict writes")
        rows = check_sequence("segments", fields.pop("segments", None), "a list of segments")
        return build(cls, {"segments": tuple(build(Segment, row) for row in rows), **fields})

    def to_json(self) -> str:
        """`to_dict` as a JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """The schedule that `to_json` wrote; raises as `from_dict` does."""
        return cls.from_dict(load_json(text))

    def plot(self, ax: Axes | None = None, *, num_steps: int | None = None, **line: Any) -> Axes:
        """Draw the values against the step.

        Args:
            ax: Matplotlib Axes to draw on; None makes a figure. Nothing is shown.
            num_steps: How many steps; needed for an endless schedule.
            line: Passed to `Axes.plot`, for example `label="lr"`.

        Returns:
            The Axes.
        """
        from lrsched.engine.plot import plot_values

        return plot_values(self.values(num_steps), ax, **line)

    def __repr__(self) -> str:
        return described(self)


def _takes_power(shape: str) -> bool:
    return shape in POWER_SHAPES
