"""Values of the coming steps, computed a block at a time, so that a step is a look-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsched_torch.schedulers.per_group import Curve, ScaledByFunction

MIN_ROWS, MAX_ROWS = 64, 2048
# Values held at most, where that leaves MIN_ROWS: a few MiB of Python floats.
MAX_VALUES = 2**18


class Table:
    """Rows of values, one for a step.

    A row is the lr, or the pair of lr and momentum where momentum is scheduled. If the groups
    differ it is a list of these, one per group, with None for a momentum that is left alone.

    Blocks begin at multiples of their length, so the values at a step are the same bits whether
    a run got there or was resumed there.

    Args:
        lr: A curve per parameter group.
        momentum: A curve, or None, per parameter group; None where no momentum is scheduled.

    Attributes:
        uniform: All groups have the same row.
        has_momentum: Rows hold momentum.
    """

    def __init__(self, lr: Sequence[Curve], momentum: Sequence[Curve | None] | None) -> None:
        self._columns: list[Sequence[Curve | None]] = [lr] if momentum is None else [lr, momentum]
        self._width = len(lr)
        self.has_momentum = momentum is not None
        self.uniform = all(len(set(column)) == 1 for column in self._columns)
        curves = [curve for column in self._columns for curve in column]
        values_a_row = len(self._columns) * (1 if self.uniform else self._width)
        fitting = 2 ** (MAX_VALUES // values_a_row).bit_length() // 2
        has_code = any(isinstance(curve, ScaledByFunction) for curve in curves)
        self._length = 1 if has_code else min(MAX_ROWS, max(MIN_ROWS, fitting))

    def block(self, step: int) -> dict[int, Any]:
        """The rows of the block that `step` lies in, by their steps."""
        first = step - step % self._length
        steps = range(first, first + self._length)
        return dict(zip(steps, self._rows(np.asarray(steps)), strict=True))

    def _rows(self, steps: NDArray[np.int64]) -> list[Any]:
        if self.uniform:
            curves = [column[0] for column in self._columns]
            values = [curve(steps).tolist() for curve in curves if curve is not None]
            return list(zip(*values, strict=True)) if self.has_momentum else values[0]
        columns = [_values(column, steps) for column in self._columns]
        if not self.has_momentum:
            return columns[0]
        return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]

    def spread(self, row: Any) -> tuple[list[float], list[float | None]]:
        """The lrs and the momenta of all groups in a row."""
        groups = [row] * self._width if self.uniform else row
        if not self.has_momentum:
            return list(groups), [None] * self._width
        lrs, momenta = zip(*groups, strict=True)
        return list(lrs), list(momenta)


def _values(column: Sequence[Curve | None], steps: NDArray[np.int64]) -> list[list[Any]]:
    """For each step, the column's values; None for a missing curve."""
    distinct = {curve: row for row, curve in enumerate(dict.fromkeys(column))}
    values = np.array([np.zeros(steps.size) if c is None else c(steps) for c in distinct])
    rows: list[list[Any]] = values[[distinct[curve] for curve in column]].T.tolist()
    missing = [place for place, curve in enumerate(column) if curve is None]
    for row in rows if missing else ():
        for place in missing:
            row[place] = None
    return rows
