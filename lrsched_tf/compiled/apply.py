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

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.compiled.ops import KerasOps, float_type, lookup
from lrsched_tf.compiled.optimizers import HYPERPARAMETERS
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.compiled.traced_values import traced_value
from lrsched_tf.patch import patch_methods

# A longer schedule is computed rather than looked up: 16 MiB of float32.
MAX_TABLE = 2**22


def compiled(schedule: Schedule | NDArray[np.float64]) -> Callable[[Any], Any]:
    """Return a schedule, or its values, as a function of an integer tensor, for use in a step.

    A schedule that does not repeat is written out to its last knot, after which it holds: one
    lookup is faster than its segments wherever a step is not compiled as a whole. The table is
    made here, outside of any trace, since a constant inside of one would be copied at every step.
    """
    if isinstance(schedule, Schedule):
        last = schedule.holds_from
        if last is None or last >= MAX_TABLE:
            return functools.partial(schedule.evaluate_in, KerasOps)
        schedule = schedule.values(last + 1)
    last = len(schedule) - 1
    table = ops.convert_to_tensor(schedule.astype(float_type()))
    return lambda step: lookup(table, ops.minimum(step, last))


class ScheduledApply:
    """The `apply` of an optimizer with scheduled values; one per optimizer of an `Installation`.

    Args:
        counter: Of the optimizer.
        schedules: As for `Installation`.
        check: Called before each update, or the tracing of one.

    Raises:
        ValueError: the optimizer lacks a hyper-parameter of these; nothing has changed.
    """

    def __init__(
        self,
        counter: StepCounter,
        schedules: Mapping[str, Schedule | NDArray[np.float64]],
        check: Callable[[], object],
    ) -> None:
        self._counter, self._optimizer = counter, counter.optimizer
        self._check = check
        self._apply = self._optimizer.apply
        self._values = [
            traced_value(HYPERPARAMETERS[name], counter, compiled(schedule))
            for name, schedule in schedules.items()
        ]
        self._outside = {
            name: held for value in self._values for name, held in value.outside.items()
        }

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        self._check()
        attributes, step = self._optimizer.__dict__, self._counter.traced()
        try:
            for value in self._values:
                attributes.update(value.at(step))
            return self._apply(grads, trainable_variables)
        finally:
            # Known values, not ones read above: the replicas of a tf.distribute strategy run
            # this in turns, and the second would read what the first has set.
            attributes.update(self._outside)

    def install(self) -> Callable[[], None]:
        """Replace the methods of the optimizer; returns what restores them."""
        methods: dict[str, Callable[..., Any]] = {"apply": self}
        for value in self._values:
            methods |= value.methods
        return patch_methods(self._optimizer, methods)
