"""Schedules as frozen data: segments, and how they compose, repeat, compare and travel."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from lrsched._load import load_json
from lrsched._validate import (
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    check_sequence,
    check_type,
    shown,
)
from lrsched.engine import evaluate
from lrsched.engine.namespaces import ArrayAPI
from lrsched.engine.segment import Segment
from lrsched.engine.shapes import POWER_SHAPES
from lrsched.engine.steps import checked_array, checked_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
FORMAT = 1
# Of the segments of a schedule, so many are printed.
MAX_SHOWN = 20
# The last step that an endless segment is written out to: the largest that an int32 counter
# holds with room for the step after it.
HORIZON = 2**31 - 2


@dataclass(frozen=True, repr=False)
class Schedule:
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

    segments: tuple[Segment, ...]
    total_steps: int | None = None
    loop_from: int | None = None
    period: int | None = None
    gamma: float = 1.0
    every: int = 1
    floor: float = 0.0

    def __post_init__(self) -> None:
        segments = tuple(check_sequence("segments", self.segments, "a sequence of Segment"))
        check_number_of_segments("segments", len(segments))
        for segment in segments:
            check_type("segments", segment, Segment)
        for before, after in pairwise(segments):
            if after.first < before.first:
                raise ValueError(
                    "segments must be ordered by the step at which they enter, "
                    f"got {after.first} after {before.first}"
                )
        object.__setattr__(self, "segments", segments)
        self._check_loop()

    def _check_loop(self) -> None:
        set_field = object.__setattr__
        set_field(self, "gamma", check_positive("gamma", self.gamma))
        set_field(self, "every", check_int("every", self.every, 1))
        set_field(self, "floor", check_non_negative("floor", self.floor))
        if self.total_steps is not None:
            set_field(self, "total_steps", check_int("total_steps", self.total_steps, 1))
        if (self.loop_from is None) != (self.period is None):
            raise ValueError(
                "loop_from and period must be given together, "
                f"got loop_from={self.loop_from!r} and period={self.period!r}"
            )
        if self.loop_from is None:
            if self.gamma != 1.0:
                raise ValueError(f"gamma must be 1 without a loop, got {self.gamma:g}")
            return
        set_field(self, "loop_from", check_int("loop_from", self.loop_from, 0))
        set_field(self, "period", check_int("period", self.period, 1))
        if self.total_steps is not None:
            raise ValueError(f"total_steps must be None for a loop, got {self.total_steps}")

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

    @cached_property
    def _plan(self) -> evaluate.Plan:
        return evaluate.compile_plan(
            self.segments, self.loop_from, self.period, self.gamma, self.every, self.floor
        )

    @overload
    def __call__(self, step: int | np.integer[Any]) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.integer[Any]]) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, step: Any) -> Any: ...
    def __call__(self, step: Any = None) -> Any:
        """Value at `step`: the number of optimiser updates already made.

        Raises:
            TypeError: `step` is left out, a bool, a float, a list, or not of integers. Arrays of
                floats are taken from other libraries than NumPy, whole numbers where they are not
                traced.
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
        if step is None:  # as an optimizer of Keras calls what is no schedule of its own
            hint = "give a Keras optimizer lrsched_tf.KerasSchedule(schedule) in its place"
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
        return joined([self, other])

    def _shifted(self, offset: int) -> Sequence[Segment]:
        """The segments `offset` steps later."""
        if offset == 0:
            return self.segments
        return tuple(
            segment.shifted(offset)
            for segment in self._from_step_zero()
            # a stretch so short that the shift rounds it away is left out
            if segment.start + offset < segment.end + offset
        )

    def _from_step_zero(self) -> Iterable[Segment]:
        """The segments, with the value that holds before a late first one as a segment too."""
        head = self.segments[0]
        if head.first > 0:
            yield Segment(0.0, head.first, head.start_value, head.start_value)
        yield from self.segments

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
        if self.total_steps is None:
            raise ValueError(
                "loop must be asked of a schedule with total_steps, not an endless one"
            )
        return dataclasses.replace(
            self,
            total_steps=None,
            loop_from=0,
            period=self.total_steps,
            gamma=gamma,
            every=self.total_steps if every is None else every,
            floor=floor,
        )

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
        version = check_int("format", fields.pop("format", None), 1, "as Schedule.to_dict writes")
        if version > FORMAT:
            raise ValueError(
                f"format must be <= {FORMAT}, got {version} "
                "(written by a newer version of this package: upgrade it)"
            )
        rows = check_sequence("segments", fields.pop("segments", None), "a list of segments")
        return _build(cls, {"segments": tuple(_build(Segment, row) for row in rows), **fields})

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
        text, last = "", None
        for s in self.segments[:MAX_SHOWN]:
            if (s.start, s.start_value) != last:
                text += f"{'; ' if text else ''}{s.start_value:.6g} at {s.start:.6g}"
            shape = s.shape if s.power == 1.0 else f"{s.shape} {s.power:g}"
            text += f" -{shape}-> {s.end_value:.6g} at {s.end:.6g}"
            last = (s.end, s.end_value)
        if len(self.segments) > MAX_SHOWN:
            text += f"; {len(self.segments) - MAX_SHOWN} more segments"
        if self.loop_from is not None:
            text += f"; repeats every {self.period} steps from {self.loop_from}"
        if self.gamma != 1.0:
            text += f", times {self.gamma:g} every {self.every} towards {self.floor:g}"
        length = "endless" if self.total_steps is None else f"{self.total_steps} steps"
        return f"Schedule({length}: {text})"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def joined(schedules: Sequence[Schedule]) -> Schedule:
    """The schedules one after the other, as `Schedule.then` has it; at least one.

    Raises:
        TypeError: not a Schedule.
        ValueError: one before the last is endless, or together they are too long.
    """
    segments: list[Segment] = []
    offset = 0
    for schedule in schedules[:-1]:
        if schedule.total_steps is None:
            raise ValueError("then must follow a schedule with total_steps, got an endless one")
        part = schedule._shifted(offset)
        offset += schedule.total_steps
        # What would come into force later never does; of the last schedule, it is what holds.
        segments += part[: bisect_left(part, offset, key=lambda segment: segment.first)]
    last = schedules[-1]
    check_type("other", last, Schedule)
    segments += last._shifted(offset)
    check_number_of_segments("segments", len(segments))
    end = offset + (last.total_steps or last.loop_from or 0)
    check_int("total_steps", end, 0)
    # All of it has been checked before, and to do so at each link of a chain would add up.
    chain = Schedule.__new__(Schedule)
    chain.__setstate__(
        {
            **last.__getstate__(),
            "segments": tuple(segments),
            "total_steps": None if last.total_steps is None else end,
            "loop_from": None if last.loop_from is None else end,
        }
    )
    return chain


def _takes_power(shape: str) -> bool:
    return shape in POWER_SHAPES


def _build(kind: type[T], fields: Any) -> T:
    """`kind(**fields)`, with an error that names a missing or unknown key."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"{kind.__name__} must be a mapping, got {shown(fields)}")
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(fields) - set(known)))
    needed = [n for n, field in known.items() if field.default is dataclasses.MISSING]
    missing = [name for name in needed if name not in fields]
    if unknown or missing:
        raise ValueError(
            f"{kind.__name__} must have the keys {', '.join(known)}, "
            f"got unknown {shown(unknown)} and missing {missing}"
        )
    return kind(**fields)
