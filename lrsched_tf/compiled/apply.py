"""The update of an optimizer, with scheduled hyper-parameters.

Keras reads `momentum` and `beta_1` as Python floats while it traces a step, so a value that a
callback sets later never reaches the compiled step; and a learning rate written from the host
costs a transfer per step, and is stale where one call runs several steps. Every update, on every
backend, goes through `optimizer.apply`, which is traced with the step. `ScheduledApply` takes its
place on the instance: it reads the optimizer's own counter, computes the values on the device,
and hands the call on. The optimizer keeps the user's floats all along and has no variable more
than before, so configs, checkpoints and saved models stay what they were; only readers of its
`learning_rate` see that of the last update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.compiled.hyperparameters import hyperparameter
from lrsched_tf.compiled.ops import CompiledSchedule
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.compiled.traced_values import TracedValue, traced_value
from lrsched_tf.patch import patch_methods

if keras.backend.backend() == "torch":
    import torch


class ScheduledApply:
    """The `apply` of an optimizer with scheduled values; one per optimizer of an `Installation`.

    Args:
        counter: Of the optimizer.
        schedules: As for `Installation`.
        check: Called before each update, or the tracing of one.
        check_read: Called after it, unless that builds the optimizer or `torch.compile` traces it.

    Attributes:
        kind: Of the optimizer, in messages.
        has_updated: Whether such a call, or its tracing, has gone through a whole update.

    Raises:
        ValueError: the optimizer lacks a hyper-parameter of these; nothing has changed.
    """

    def __init__(
        self,
        counter: StepCounter,
        schedules: Mapping[str, Schedule | NDArray[np.float64]],
        check: Callable[[], object],
        check_read: Callable[[], object],
    ) -> None:
        self._counter, self._optimizer = counter, counter.optimizer
        self._check, self._check_read = check, check_read
        self._apply = self._optimizer.apply
        self._values: dict[str, TracedValue] = {
            name: traced_value(hyperparameter(name), counter, CompiledSchedule(given), schedules)
            for name, given in schedules.items()
        }
        self._outside = {
            name: held for value in self._values.values() for name, held in value.outside.items()
        }
        self.kind, self.has_updated = type(self._optimizer).__name__, False
        self._calls, self._first = 0, counter.batches()

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        self._check()
        was_built = self._optimizer.built
        if not was_built and trainable_variables is not None:
            trainable_variables = self._build(trainable_variables)
        attributes, step = self._optimizer.__dict__, self._counter.traced()
        try:
            for value in self._values.values():
                attributes.update(value.at(step))
            result = self._apply(grads, trainable_variables)
        finally:
            # Known values, not ones read above: the replicas of a tf.distribute strategy run
            # this in turns, and the second would read what the first has set.
            attributes.update(self._outside)
        # An error here would leave variables without values that TensorFlow has just traced, and
        # PyTorch would compile a step anew for each count.
        if grads and was_built and not _is_compiled_by_torch():
            self._calls += 1
            steps = self._optimizer.gradient_accumulation_steps or 1
            self.has_updated |= self._calls >= steps or self._is_whole()
            self._check_read()
        return result

    def _build(self, variables: Iterable[Any]) -> list[Any]:
        """Build the optimizer as its `apply` does, but with the user's numbers."""
        variables = list(variables)
        with keras.name_scope(self._optimizer.name, caller=self._optimizer):
            self._optimizer.build(variables)
        self._optimizer.built = True
        return variables

    @property
    def has_counted(self) -> bool:
        """Whether the optimizer has counted a whole update, of whatever kind."""
        batches = self._counter.batches() - self._first
        return batches >= (self._optimizer.gradient_accumulation_steps or 1)

    def _is_whole(self) -> bool:
        """Tell whether each call goes through all of an update, where gradients accumulate too."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow

            return not bool(tensorflow.executing_eagerly())
        return bool(keras.backend.backend() == "jax")

    def unread(self) -> set[str]:
        """Return the hyper-parameters that no update, or tracing of one, has read."""
        return {name for name, value in self._values.items() if not value.is_read}

    def change(self, schedules: Mapping[str, CompiledSchedule]) -> None:
        """Take other schedules of the same names, for what is traced from now on."""
        for name, schedule in schedules.items():
            self._values[name].schedule = schedule

    def install(self) -> Callable[[], None]:
        """Replace the methods of the optimizer; returns what restores them."""
        methods: dict[str, Callable[..., Any]] = {"apply": self}
        for value in self._values.values():
            methods |= value.methods
        return patch_methods(self._optimizer, methods)


def _is_compiled_by_torch() -> bool:
    return keras.backend.backend() == "torch" and torch.compiler.is_compiling()
