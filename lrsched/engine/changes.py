"""Schedules made of others: chained, cut, stretched, cooled down; all of it exact, as segments.

Each function returns new data of the type that it was given, and never changes a value before
the step that it is about.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

from lrsched._validate import (
    check_at_most,
    check_below,
    check_choice,
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    grown,
)
from lrsched.engine import evaluate
from lrsched.engine.data import ScheduleData
from lrsched.engine.segment import Segment
from lrsched.engine.shapes import POSITIVE_SHAPES

S = TypeVar("S", bound=ScheduleData)
# Shapes of a way down, from a plateau or from wherever a schedule is; "sqrt" is 1 - sqrt(done).
DECAYS = ("sqrt", "linear", "cos", "exp")


def joined(schedules: Sequence[S]) -> S:
    """The schedules one after the other, as `Schedule.then` has it; at least one.

    Raises:
        ValueError: one before the last is endless, or together they are too long.
    """
    segments: list[Segment] = []
    offset = 0
    for schedule in schedules[:-1]:
        if schedule.total_steps is None:
            raise ValueError("then must follow a schedule with total_steps, got an endless one")
        part = _shifted(schedule.segments, offset)
        offset += schedule.total_steps
        # What would come into force later never does; of the last schedule, it is what holds.
        segments += part[: bisect_left(part, offset, key=_first)]
    last = schedules[-1]
    segments += _shifted(last.segments, offset)
    check_number_of_segments("segments", len(segments))
    end = offset + (last.total_steps or last.loop_from or 0)
    check_int("total_steps", end, 0)
    # All of it has been checked before, and to do so at each link of a chain would add up.
    chain = type(last).__new__(type(last))
    chain.__setstate__(
        {
            **last.__getstate__(),
            "segments": tuple(segments),
            "total_steps": None if last.total_steps is None else end,
            "loop_from": None if last.loop_from is None else end,
        }
    )
    return chain


def _first(segment: Segment) -> int:
    return segment.first


def _shifted(segments: Sequence[Segment], offset: int) -> Sequence[Segment]:
    """The segments `offset` steps later."""
    if offset == 0:
        return segments
    return tuple(
        segment.shifted(offset)
        for segment in _from_step_zero(segments)
        # a stretch so short that the shift rounds it away is left out
        if segment.start + offset < segment.end + offset
    )


def _from_step_zero(segments: Sequence[Segment]) -> Iterable[Segment]:
    """The segments, with the value that holds before a late first one as a segment too."""
    head = segments[0]
    if head.first > 0:
        yield Segment(0.0, head.first, head.start_value, head.start_value)
    yield from segments


def first_steps(schedule: S, steps: int) -> S:
    """The first `steps` steps of a schedule, endless or not, with whatever comes after them."""
    if schedule.loop_from is None:
        return dataclasses.replace(schedule, total_steps=steps)
    return _of(schedule, _until(schedule, steps), steps)


def check_cooldown(at: int, steps: int, total_steps: int | None) -> tuple[int, int]:
    """Where a cooldown starts, and its length, which must not be more than what is left."""
    at = check_int("at", at, 0)
    steps = check_int("steps", steps, 2, "the first has the value of before, the last has `to`")
    if total_steps is not None:
        remedy = "fewer steps; extended and then give more"
        check_at_most("at + steps", at + steps, "total_steps", total_steps, remedy)
    return at, steps


def _of(schedule: S, segments: Iterable[Segment], total_steps: int) -> S:
    """These segments, with no loop, as data of the same type."""
    return type(schedule)(tuple(segments), total_steps)


def _until(schedule: ScheduleData, steps: int) -> Sequence[Segment]:
    """The segments in force before step `steps` >= 0; what repeats is written out."""
    segments = list(_from_step_zero(schedule.segments))
    if schedule.loop_from is None or schedule.period is None:
        return segments[: bisect_left(segments, steps, key=_first)]
    damped = schedule.gamma != 1.0
    again = min(schedule.period, schedule.every) if damped else schedule.period
    if steps <= schedule.loop_from + again:
        return segments[: bisect_left(segments, steps, key=_first)]
    by_cycle = schedule.every % schedule.period == 0
    if damped and not (by_cycle and all(s.shape not in POSITIVE_SHAPES for s in segments)):
        return _step_by_step(schedule, steps)
    cycle = _cycle(segments, schedule.loop_from, schedule.period)
    cycles = -((schedule.loop_from - steps) // schedule.period)
    check_number_of_segments("what repeats, written out,", cycles * len(cycle))
    written = segments[: bisect_left(segments, schedule.loop_from, key=_first)]
    for number in range(cycles):
        offset = number * schedule.period
        factor = grown("gamma", schedule.gamma, offset // schedule.every)
        written += [_damped(s.shifted(offset), factor, schedule.floor) for s in cycle]
    return written[: bisect_left(written, steps, key=_first)]


def _cycle(segments: Sequence[Segment], loop_from: int, period: int) -> list[Segment]:
    """The segments in force from `loop_from` on, for one period; the first enters there."""
    now = bisect_right(segments, loop_from, key=_first) - 1
    end = bisect_left(segments, loop_from + period, key=_first)
    return [_entering(segments[now], loop_from), *segments[now + 1 : end]]


def _entering(segment: Segment, step: int) -> Segment:
    """A segment that is in force at `step`, or what it holds by then, in force from there on."""
    if segment.end <= step:
        return Segment(step, step + 1, segment.end_value, segment.end_value)
    return segment if segment.start >= step else dataclasses.replace(segment, enters=float(step))


def _damped(segment: Segment, factor: float, floor: float) -> Segment:
    if factor == 1.0:
        return segment
    start, end = (floor + (v - floor) * factor for v in (segment.start_value, segment.end_value))
    return dataclasses.replace(segment, start_value=start, end_value=end)


def _step_by_step(schedule: ScheduleData, steps: int) -> list[Segment]:
    """A segment for each of the steps whose value differs from that of the step before."""
    check_number_of_segments("what repeats, written out step by step,", steps)
    values = evaluate.first(schedule._plan, steps).tolist()
    changes = [k for k in range(steps) if k == 0 or values[k] != values[k - 1]]
    return [Segment(k, k + 1, values[k], values[k]) for k in changes]


def truncated(schedule: S, step: int) -> S:
    """Implement `Schedule.truncated`."""
    step = check_int("step", step, 1)
    if schedule.total_steps is not None:
        remedy = "extended and then give more steps"
        check_at_most("step", step, "total_steps", schedule.total_steps, remedy)
    value = evaluate.at(schedule._plan, step - 1)
    last = Segment(step - 1, step, value, value)
    return _of(schedule, (*_until(schedule, step - 1), last), step)


def cooldown(schedule: S, at: int, steps: int, shape: str, to: float) -> S:
    """Implement `Schedule.cooldown`."""
    at, steps = check_cooldown(at, steps, schedule.total_steps)
    shape = check_choice("shape", shape, DECAYS)
    to = check_non_negative("to", to)
    value = evaluate.at(schedule._plan, at)
    if shape in POSITIVE_SHAPES:
        check_positive("to", to, f"{shape!r} never reaches 0; 'linear' does")
        check_positive("the value at that step", value, f"{shape!r} never leaves 0")
    down = Segment(at, at + steps - 1, value, to, shape)
    return _of(schedule, (*_until(schedule, at), down), at + steps)


def stretched(schedule: S, total_steps: int) -> S:
    """Implement `Schedule.stretched`."""
    present = check_length("stretched", "schedule", schedule.total_steps)
    total_steps = check_int("total_steps", total_steps, 1)
    if total_steps == present:
        return schedule
    if total_steps == 1:
        return truncated(schedule, 1)
    return _stretched_from(schedule, 0, present, total_steps)


def extended(schedule: S, total_steps: int, at: int) -> S:
    """Implement `Schedule.extended`."""
    present = check_length("extended", "schedule", schedule.total_steps)
    total_steps, at = check_int("total_steps", total_steps, 1), check_int("at", at, 0)
    remedy = "the length of the whole run; cooldown ends one sooner"
    check_at_most("the present total_steps", present, "total_steps", total_steps, remedy)
    check_below("at", at, "total_steps", present, "nothing is left of it to stretch; use then")
    return _stretched_from(schedule, at, present, total_steps)


def check_length(name: str, what: str, total_steps: int | None) -> int:
    """The length of what cannot be changed so without one."""
    if total_steps is None:
        raise ValueError(
            f"{name} must be asked of a {what} with total_steps, not an endless one "
            "(truncated gives it an end)"
        )
    return total_steps


def _stretched_from(schedule: S, at: int, present: int, total_steps: int) -> S:
    """The schedule before step `at`; from there on slower, to the same last value."""
    if at == present - 1:
        return dataclasses.replace(truncated(schedule, present), total_steps=total_steps)
    ratio = Fraction(total_steps - 1 - at, present - 1 - at)
    segments = list(_from_step_zero(schedule.segments))
    now = bisect_right(segments, at, key=_first) - 1
    rest = [_entering(segments[now], at), *segments[now + 1 :]]
    slower = (_about(segment, at, ratio) for segment in rest)
    before = segments[: bisect_left(segments, at, key=_first)]
    return dataclasses.replace(
        schedule,
        # a stretch so short that it is rounded away is left out
        segments=(*before, *(segment for segment in slower if segment is not None)),
        total_steps=total_steps,
    )


def _about(segment: Segment, at: int, ratio: Fraction) -> Segment | None:
    """The segment with the distances of its steps from `at` multiplied by `ratio`."""

    def moved(step: float) -> float:
        return float(at + (Fraction(step) - at) * ratio)

    start, end = moved(segment.start), moved(segment.end)
    if not max(start, 0.0) < end:
        return None
    enters = None if segment.enters is None else moved(segment.enters)
    return dataclasses.replace(segment, start=start, end=end, enters=enters)
