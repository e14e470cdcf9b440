"""Schedules in words, and from plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from lrsched._validate import shown
from lrsched.engine.data import ScheduleData

T = TypeVar("T")
# Of the segments of a schedule, so many are printed.
MAX_SHOWN = 20


def described(schedule: ScheduleData) -> str:
    """A schedule as a line: its length, its knots and shapes, its loop."""
    text, last = "", None
    for s in schedule.segments[:MAX_SHOWN]:
        if (s.start, s.start_value) != last:
            text += f"{'; ' if text else ''}{s.start_value:.6g} at {s.start:.6g}"
        shape = s.shape if s.power == 1.0 else f"{s.shape} {s.power:g}"
        text += f" -{shape}-> {s.end_value:.6g} at {s.end:.6g}"
        last = (s.end, s.end_value)
    if len(schedule.segments) > MAX_SHOWN:
        text += f"; {len(schedule.segments) - MAX_SHOWN} more segments"
    if schedule.loop_from is not None:
        text += f"; repeats every {schedule.period} steps from {schedule.loop_from}"
    if schedule.gamma != 1.0:
        text += f", times {schedule.gamma:g} every {schedule.every} towards {schedule.floor:g}"
    length = "endless" if schedule.total_steps is None else f"{schedule.total_steps} steps"
    return f"Schedule({length}: {text})"


def build(kind: type[T], fields: Any) -> T:
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
