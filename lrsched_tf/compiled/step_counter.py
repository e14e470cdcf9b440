"""Steps of a schedule, as the optimizer counts them."""

from __future__ import annotations

from typing import Any

from keras import ops

from lrsched_tf.compiled.optimizers import read


class StepCounter:
    """Turns an optimizer's count of batches into steps of a schedule.

    Made for each leaf optimizer when a schedule is about to be installed.

    Args:
        optimizer: A leaf optimizer.
        first_batch: Batches of the schedule that are behind it now; None takes the optimizer's
            own count for that.
        count_batches: With gradient accumulation, a step is a batch and not an update.

    Attributes:
        origin: The optimizer's count of batches at step 0.
    """

    def __init__(self, optimizer: Any, first_batch: int | None, count_batches: bool) -> None:
        self.optimizer = optimizer
        self.batches_per_step = 1
        if not count_batches and optimizer.gradient_accumulation_steps:
            self.batches_per_step = optimizer.gradient_accumulation_steps
        self.origin = 0 if first_batch is None else self.batches() - first_batch
        self._steps_before = self.origin // self.batches_per_step

    def batches(self) -> int:
        """Read the number of batches that the optimizer has seen from the device."""
        return int(read(self.optimizer._iterations))

    def step_at(self, batches: Any) -> Any:
        """Return the step of the schedule at a count of batches, an int or a tensor."""
        # Nothing that would change nothing: eagerly, each operation has its price.
        step = batches if self.batches_per_step == 1 else batches // self.batches_per_step
        return step - self._steps_before if self._steps_before else step

    def traced(self, behind: int = 0) -> Any:
        """Return the current step, or that of a batch so far behind, as an integer tensor."""
        batches = ops.convert_to_tensor(self.optimizer._iterations)
        if not behind and self._steps_before <= 0:
            return self.step_at(batches)
        return ops.maximum(self.step_at(batches - behind), 0)

    def take_back(self, batches: int) -> None:
        """Set the optimizer's count to `batches` where it counts one too many.

        Without XLA, TensorFlow counts a step that it does not make at the end of data of unknown
        length.
        """
        if self.batches() == batches + 1:
            self.optimizer._iterations.assign(batches)
