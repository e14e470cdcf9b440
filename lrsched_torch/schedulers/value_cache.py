"""Values of the coming steps, computed a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
# Values of a block at most, where that leaves MIN_ROWS: 2 MiB.
MAX_VALUES = 2**18

# For each scheduled hyper-parameter the schedule, or the value, of each group; None where it is
# left alone.
Columns = Mapping[str, Sequence[ScheduleLike | None]]
Values = dict[str, list[Any]]


class ValueCache:
    """Values of a block of steps, and the function that writes those of a step in the groups.

    A scheduler makes one whenever groups join or schedules change, and drops it with them.
    Blocks begin at multiples of their length, so the values at a step are the same bits whether a
    run got there or was resumed there.

    Args:
        groups: The parameter groups that the values are for.
        columns: Schedules of each hyper-parameter, one per group.
        end: First step that the fast path of `scheduler.step` must not lead to, if any.

    Attributes:
        ahead: The next steps, to which the fast path of `scheduler.step` may lead, with their rows.
        ahead_end: First step that it may not lead to.
        write: Writes a row of `ahead` in the groups.
    """

    def __init__(self, groups: Sequence[Group], columns: Columns, end: int | None) -> None:
        self.ahead: Iterator[tuple[int, Row]] = iter(())
        self.ahead_end = 0
        self._bulk = bulk_columns(groups, columns)
        self._write_numbers = writer_for(groups, columns)
        self.write = writer_for(groups, columns, self._bulk) if self._bulk else self._write_numbers
        self._columns, self._end = columns, end
        self._distinct = {name: _distinct(column) for name, column in columns.items()}
        self._length = _block_length(columns)
        self._first = -self._length
        self._block: dict[str, NDArray[np.float64]] = {}

    def apply(self, groups: Sequence[Group], step: int) -> None:
        """Write the row of a step in the groups, and let the fast path lead on from there."""
        end = min(step - step % length + length for length in (self._length, STRETCH))
        self.ahead_end = end if self._end is None else min(end, self._end)
        entries = self._entries(step, max(self.ahead_end, step + 1))
        self._write_numbers(groups, [column.pop(0) for column in entries.values()])
        for name, like in self._bulk.items():
            numbers = entries[name]
            tensors = torch.tensor(numbers, dtype=like.dtype, device=like.device).unbind()
            entries[name] = list(zip(tensors, numbers, strict=True))
        self.ahead = enumerate(zip(*entries.values(), strict=True), step + 1)

    def _entries(self, step: int, end: int) -> dict[str, list[Any]]:
        """Return the entries of rows by hyper-parameter, from a step to an end in its block."""
        if not 0 <= step - self._first < self._length:
            first = step - step % self._length
            steps = np.arange(first, first + self._length)
            block = {name: _values(*each, steps) for name, each in self._distinct.items()}
            self._first, self._block = first, block
        part = slice(step - self._first, end - self._first)
        return {
            name: _entries(values[part], self._columns[name])
            for name, values in self._block.items()
        }

    def at(self, step: int) -> Values:
        """Return the values of each group at a step."""
        return {
            name: entry if isinstance(entry, list) else [entry] * len(self._columns[name])
            for name, (entry,) in self._entries(step, step + 1).items()
        }

    def forget(self) -> None:
        """Drop the rows ahead, so that the next `scheduler.step` takes the slow path."""
        self.ahead = iter(())


def _block_length(columns: Columns) -> int:
    """Return the number of rows to compute at once."""
    if any(isinstance(each, ScaledByFunction) for column in columns.values() for each in column):
        return 1
    values_a_row = sum(1 if is_shared(column) else len(column) for column in columns.values())
    fitting: int = 2 ** (MAX_VALUES // values_a_row).bit_length() // 2
    return min(MAX_ROWS, max(MIN_ROWS, fitting))


def _distinct(
    column: Sequence[ScheduleLike | None],
) -> tuple[list[ScheduleLike | None], list[int]]:
    """Return the schedules of a column, each once, and which of them each group follows."""
    numbers = {schedule: i for i, schedule in enumerate(dict.fromkeys(column))}
    return list(numbers), [numbers[schedule] for schedule in column]


def _values(
    distinct: Sequence[ScheduleLike | None], followed: list[int], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the values at steps: [steps] where all groups follow the same, or [steps, groups]."""
    values = np.array([np.zeros(steps.size) if s is None else s(steps) for s in distinct])
    return values[0] if len(distinct) == 1 else values[followed].T


def _entries(values: NDArray[np.float64], column: Sequence[ScheduleLike | None]) -> list[Any]:
    """Return the entry of a row for each step: a number, or one per group if they differ."""
    entries: list[Any] = values.tolist()
    missing = [place for place, schedule in enumerate(column) if schedule is None]
    for entry in entries if missing else ():
        for place in missing:
            entry[place] = None
    return entries
