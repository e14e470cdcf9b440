"""Values of the coming steps, computed a block at a time, so that a step is a look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrsched_torch.group_writer import Row, bulk_columns, is_shared, writer_for
from lrsched_torch.param_groups import Group
from lrsched_torch.schedulers.group_schedules import ScaledByFunction, ScheduleLike

MIN_ROWS, MAX_ROWS = 64, 2048
# Steps that the fast path of `scheduler.step` leads over between two looks at the optimizer.
STRETCH = 512
# Values held at most, where that leaves MIN_ROWS: a few MiB of Python floats.
MAX_VALUES = 2**18

# For each scheduled hyper-parameter the schedule, or the value, of each group; None where it is
# left alone.
Columns = Mapping[str, Sequence[ScheduleLike | None]]
Values = dict[str, list[Any]]


class ValueCache:
    """Rows of values, one for a step, and the function that writes them in the groups.

    A scheduler makes one whenever groups join or schedules change, and drops it with them.
    Blocks of rows begin at multiples of their length, so the values at a step are the same bits
    whether a run got there or was resumed there.

    Args:
        groups: The parameter groups that the rows are for.
        columns: Schedules of each hyper-parameter, one per group.
        end: First step that the fast path of `scheduler.step` must not lead to, if any.

    Attributes:
        ahead: Rows that the fast path of `scheduler.step` may lead to, by their steps.
        ahead_end: First step that it may not lead to.
        write: Writes a row of `ahead` in the groups.
    """

    def __init__(self, groups: Sequence[Group], columns: Columns, end: int | None) -> None:
        self.ahead: dict[int, Row] = {}
        self.ahead_end = 0
        self._bulk = bulk_columns(groups, columns)
        self._write_numbers = writer_for(groups, columns)
        self.write = writer_for(groups, columns, self._bulk) if self._bulk else self._write_numbers
        self._columns, self._end = columns, end
        self._first, self._rows = 0, list[Row]()
        self._length = _block_length(columns)

    def apply(self, groups: Sequence[Group], step: int) -> None:
        """Write the row of a step in the groups, and let the fast path lead on from there."""
        self._write_numbers(groups, self._row(step))
        self._look_ahead(step)

    def _row(self, step: int) -> Row:
        """Return the row of a step; it and the others of its block are kept for the next calls."""
        place = step - self._first
        if not 0 <= place < len(self._rows):
            place = step % self._length
            self._first = step - place
            steps = np.arange(self._first, self._first + self._length)
            columns = [_values(column, steps) for column in self._columns.values()]
            self._rows = list(zip(*columns, strict=True))
        return self._rows[place]

    def _look_ahead(self, step: int) -> None:
        """Let the fast path lead on from a step, whose row was the last one that was asked for."""
        end = min(self._first + self._length, step - step % STRETCH + STRETCH)
        self.ahead_end = end if self._end is None else min(end, self._end)
        rows = self._rows[step - self._first : self.ahead_end - self._first]
        if self._bulk and rows:
            rows = self._with_tensors(rows)
        self.ahead = dict(zip(range(step, self.ahead_end), rows, strict=True))

    def _with_tensors(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows with a pair of a tensor and its number for each hyper-parameter in bulk."""
        entries = dict(zip(self._columns, zip(*rows, strict=True), strict=True))
        for name, like in self._bulk.items():
            tensors = torch.tensor(entries[name], dtype=like.dtype, device=like.device).unbind()
            entries[name] = tuple(zip(tensors, entries[name], strict=True))
        return list(zip(*entries.values(), strict=True))

    def at(self, step: int) -> Values:
        """Return the values of each group at a step."""
        return {
            name: [entry] * len(column) if is_shared(column) else list(entry)
            for (name, column), entry in zip(self._columns.items(), self._row(step), strict=True)
        }

    def forget(self) -> None:
        """Drop all rows, so that the next `scheduler.step` takes the slow path."""
        self._rows, self.ahead = [], {}


def _block_length(columns: Columns) -> int:
    """Return the number of rows to compute at once."""
    if any(isinstance(each, ScaledByFunction) for column in columns.values() for each in column):
        return 1
    values_a_row = sum(1 if is_shared(column) else len(column) for column in columns.values())
    fitting: int = 2 ** (MAX_VALUES // values_a_row).bit_length() // 2
    return min(MAX_ROWS, max(MIN_ROWS, fitting))


def _values(column: Sequence[ScheduleLike | None], steps: NDArray[np.int64]) -> list[Any]:
    """Return the entry of a row for each step: a number, or one per group if they differ."""
    distinct = {schedule: i for i, schedule in enumerate(dict.fromkeys(column))}
    values = [np.zeros(steps.size) if s is None else s(steps) for s in distinct]
    entries: list[Any]
    if len(distinct) == 1:
        entries = values[0].tolist()
        return entries
    entries = np.array(values)[[distinct[s] for s in column]].T.tolist()
    missing = [place for place, schedule in enumerate(column) if schedule is None]
    for entry in entries if missing else ():
        for place in missing:
            entry[place] = None
    return entries
