"""`keras.ops` as a namespace for the core's evaluator."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def float_type() -> str:
    """The dtype that schedules are evaluated in: float32, or float64 where Keras uses that.

    Half precision has no digits to spare: a learning rate would move in visible stairs.
    """
    return "float64" if keras.config.floatx() == "float64" else "float32"


class KerasOps:
    """The functions of `lrsched.evaluate` on the tensors of any Keras backend, traced or not."""

    where, clip = staticmethod(ops.where), staticmethod(ops.clip)
    sin, exp, sqrt = staticmethod(ops.sin), staticmethod(ops.exp), staticmethod(ops.sqrt)
    expm1, log1p = staticmethod(ops.expm1), staticmethod(ops.log1p)
    power = staticmethod(ops.power)

    @staticmethod
    def floating(steps: Any) -> Any:
        return ops.cast(steps, float_type())
