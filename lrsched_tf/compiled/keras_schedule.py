"""A core schedule as the learning rate of a Keras optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from lrsched import Schedule
from lrsched._validate import check_type
from lrsched_tf.compiled.ops import KerasOps


@keras.saving.register_keras_serializable(package="lrsched_tf")
class KerasSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate for `keras.optimizers`, computed inside the compiled step.

    Saved with the model and loaded again by `keras.models.load_model`, in a process that has
    imported `lrsched_tf`. Keras counts batches here, also with gradient accumulation; momentum
    is no part of it. The callbacks of this package schedule both, and count updates.

    Args:
        schedule: Any schedule of `lrsched`.

    Raises:
        TypeError: `schedule` is not a Schedule.

    Example:
        >>> schedule = lrsched.warmup_cosine(1e-3, total_steps=1000, warmup_steps=100)
        >>> model.compile(keras.optimizers.AdamW(KerasSchedule(schedule)), loss="mse")
    """

    def __init__(self, schedule: Schedule) -> None:
        check_type("schedule", schedule, Schedule, "for example lrsched.one_cycle(...)")
        self.schedule = schedule

    def __call__(self, step: Any = None) -> Any:
        """Return the learning rate at an integer step, or a tensor of integers of any shape.

        Raises:
            TypeError: `step` is left out, or not of integers.
        """
        if step is None:
            raise TypeError(
                "step must be an int or integers, got None (an optimizer of Keras 2 gives none: "
                "import keras in place of tf_keras)"
            )
        step = ops.convert_to_tensor(step)
        dtype = keras.backend.standardize_dtype(step.dtype)
        if "int" not in dtype or dtype in ("uint32", "uint64"):
            raise TypeError(f"step must be of integers, as int32 or int64, got dtype {dtype}")
        if dtype not in ("int32", "int64"):
            step = ops.cast(step, "int32")
        return self.schedule.evaluate_in(KerasOps, step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule.to_dict()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasSchedule:
        return cls(Schedule.from_dict(config["schedule"]))

    def __repr__(self) -> str:
        return f"KerasSchedule({self.schedule!r})"
