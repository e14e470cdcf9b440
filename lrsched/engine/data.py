"""The fields of a schedule, checked, and nothing that is done with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from lrsched._validate import (
    check_int,
    check_non_negative,
    check_number_of_segments,
    check_positive,
    check_sequence,
    check_type,
)
from lrsched.engine import evaluate
from lrsched.engine.segment import Segment


@dataclass(frozen=True, repr=False)
class ScheduleData:
    """The fields of a `Schedule`, which documents them."""

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

    @cached_property
    def _plan(self) -> evaluate.Plan:
        return evaluate.compile_plan(
            self.segments, self.loop_from, self.period, self.gamma, self.every, self.floor
        )

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
