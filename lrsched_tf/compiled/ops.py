"""What `keras.ops` gives to schedules: a namespace for the core's evaluator, and a lookup."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


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
    """Return the value of a one-dimensional table at a scalar index inside of it.

    `ops.take` also counts from the end. Where a step is not compiled as a whole, the operations
    for that take longer than all others that a schedule needs.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.gather(table, index)
    if keras.backend.backend() == "torch":
        # As fast as `take`, which breaks a compiled graph in two, as an index in brackets does.
        return table.index_select(0, index).reshape(())
    return ops.take(table, index)
