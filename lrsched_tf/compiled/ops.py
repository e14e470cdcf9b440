"""Schedules on `keras.ops`: a namespace for the core's evaluator, a lookup, and the two in one."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrsched import Schedule

# A longer schedule is computed rather than looked up: 16 MiB of float32.
MAX_TABLE = 2**22


def float_type() -> str:
    """Return the dtype that schedules are evaluated in: float32, or float64 where Keras uses it.

    Half precision has no digits to spare: a learning rate would move in visible stairs.
    """
    return "float64" if keras.config.floatx() == "float64" else "float32"


class KerasOps:
    """The functions of formulas on the tensors of any Keras backend, traced or not."""

    where, clip = staticmethod(ops.where), staticmethod(ops.clip)
    sin, exp, sqrt = staticmethod(ops.sin), staticmethod(ops.exp), staticmethod(ops.sqrt)
    expm1, log1p = staticmethod(ops.expm1), staticmethod(ops.log1p)
    power = staticmethod(ops.power)

    @staticmethod
    def floating(steps: Any) -> Any:
        return ops.cast(steps, float_type())

    @staticmethod
    def largest(steps: Any) -> int:
        return int(np.iinfo(keras.backend.standardize_dtype(steps.dtype)).max)

    @staticmethod
    def count_up_to(firsts: NDArray[np.int64], steps: Any) -> Any:
        # Flat, since TensorFlow searches for no scalar.
        firsts, flat = ops.convert_to_tensor(firsts, steps.dtype), ops.reshape(steps, (-1,))
        counts = ops.searchsorted(firsts, flat, side="right")
        return ops.reshape(ops.cast(counts, steps.dtype), ops.shape(steps))

    @staticmethod
    def take(numbers: NDArray[Any], indices: Any) -> Any:
        dtype = indices.dtype if numbers.dtype == np.int64 else float_type()
        return ops.take(ops.convert_to_tensor(numbers, dtype), indices)


def lookup(table: Any, index: Any) -> Any:
    """Return the value of a one-dimensional table at a scalar index >= 0, or its last value.

    `ops.take` also counts from the end. Where a step is not compiled as a whole, the operations
    for that take longer than all others that a schedule needs.
    """
    last = table.shape[0] - 1
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.gather(table, tensorflow.minimum(index, last))
    if keras.backend.backend() == "torch":
        # As fast as `take`, which breaks a compiled graph in two, as an index in brackets does.
        return table.index_select(0, index.clamp(max=last)).reshape(())
    return ops.take(table, ops.minimum(index, last))


class CompiledSchedule:
    """A schedule, or its values, as a function of an integer tensor, for use in a step.

    A schedule that does not repeat is written out to its last knot, after which it holds: one
    lookup is faster than its segments wherever a step is not compiled as a whole. The table is
    made here, outside of any trace, since a constant inside of one would be copied at every step.

    Attributes:
        bounds: Between which all the values are.
        table: The values; None where each is computed.
    """

    def __init__(self, schedule: Schedule | NDArray[np.float64]) -> None:
        self.bounds = _bounds(schedule)
        self._schedule: Any = schedule
        self.table: Any = None
        if isinstance(schedule, Schedule):
            last = schedule.holds_from
            if last is None or last >= MAX_TABLE:
                return
            schedule = schedule.values(last + 1)
        self.table = ops.convert_to_tensor(schedule.astype(float_type()))

    def __call__(self, step: Any) -> Any:
        if self.table is None:
            return self._schedule.evaluate_in(KerasOps, step)
        return lookup(self.table, step)


def _bounds(schedule: Schedule | NDArray[np.float64]) -> tuple[float, float]:
    if not isinstance(schedule, Schedule):
        return float(schedule.min()), float(schedule.max())
    if schedule.gamma > 1:
        return -math.inf, math.inf
    values = [v for segment in schedule.segments for v in (segment.start_value, segment.end_value)]
    values += [schedule.floor] if schedule.gamma < 1 else []
    return min(values), max(values)
