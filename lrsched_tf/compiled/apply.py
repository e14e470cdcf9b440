"""The update of an optimizer, with the lr and momentum of a schedule.

Keras reads `momentum` and `beta_1` as Python floats while it traces a step, so a value that a
callback sets later never reaches the compiled step; and a learning rate written from the host
costs a transfer per step, and is stale where one call runs several steps. Every update, on every
backend, goes through `optimizer.apply`, which is traced with the step. `ScheduledApply` takes its
place on the instance: it reads the optimizer's own counter, computes both values on the device,
and hands the call on. The optimizer keeps the user's floats all along and has no variable more
than before, so configs, checkpoints and saved models stay what they were; only who asks it for
its `learning_rate` is told the one of the last update.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.compiled.ops import KerasOps, float_type, lookup
from lrsched_tf.compiled.optimizers import momentum_floats
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.patch import patch_methods

# A longer schedule is computed rather than looked up: 16 MiB of float32.
MAX_TABLE = 2**22


def compiled(schedule: Schedule | NDArray[np.float64]) -> Callable[[Any], Any]:
    """A schedule, or its values, as a function of an integer tensor, for use inside a step.

    A schedule with an end is written out: one lookup is faster than its segments wherever a step
    is not compiled as a whole. The table is made here, outside of any trace, since a constant
    inside of one would be copied at every step.
    """
    if isinstance(schedule, Schedule):
        length = schedule.total_steps
        if length is None or length > MAX_TABLE:
            return functools.partial(schedule.evaluate_in, KerasOps)
        schedule = schedule.values()
    last = len(schedule) - 1
    table = ops.convert_to_tensor(schedule.astype(float_type()))
    return lambda step: lookup(table, ops.minimum(step, last))


class TracedScalar(keras.Variable):  # type: ignore[misc]
    """A value computed by the step, in the place of a Python float or of a variable.

    Optimizers ask `momentum != 0` and `momentum > 0` in Python, to know whether they keep a
    moving average. They do, or there would be nothing to schedule.
    """

    now: Any = None

    def __init__(self, name: str) -> None:
        super().__init__(0.0, dtype=float_type(), trainable=False, name=name)

    @property
    def value(self) -> Any:
        return super().value if self.now is None else self.now

    def __ne__(self, other: object) -> Any:
        return True if isinstance(other, (int, float)) else super().__ne__(other)

    def __gt__(self, other: Any) -> Any:
        return True if isinstance(other, (int, float)) else super().__gt__(other)


class ShownRate(TracedScalar):
    """The lr of the last update, for who asks the optimizer for its own; writes go to that one."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__("learning_rate")
        self._of = optimizer

    def assign(self, value: Any) -> Any:
        return self._of._learning_rate.assign(value)


class ScheduledApply:
    """Stands in for `optimizer.apply`: sets lr and momentum for the update, then calls it.

    Args:
        counter: Of the optimizer.
        lr, momentum: As for `Installation`.
        check: Called before each update, or the tracing of one.
    """

    def __init__(
        self,
        counter: StepCounter,
        lr: Schedule | NDArray[np.float64] | None,
        momentum: Schedule | None,
        check: Callable[[], object],
    ) -> None:
        self._counter, self._optimizer = counter, counter.optimizer
        self._check = check
        self._apply = self._optimizer.apply
        self._get_own_lr = self._optimizer._get_current_learning_rate
        self._lr = None if lr is None else compiled(lr)
        self._momentum = None if momentum is None else compiled(momentum)
        self._lr_now: Any = None
        self._lr_shown = ShownRate(self._optimizer)
        # What the attributes hold between updates.
        self._held: dict[str, float] = {}
        if momentum is not None:
            self._held = momentum_floats(self._optimizer)
            self._live_momentum = TracedScalar("momentum")

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        self._check()
        attributes, step = self._optimizer.__dict__, self._counter.traced()
        if self._lr is not None:
            self._lr_now = self._lr(step)
        if self._momentum is not None:
            self._live_momentum.now = self._momentum(step)
            attributes.update(dict.fromkeys(self._held, self._live_momentum))
        try:
            return self._apply(grads, trainable_variables)
        finally:
            self._lr_now = None
            # Known values, not ones read above: the replicas of a tf.distribute strategy run
            # this in turns, and the second would read what the first has set.
            attributes.update(self._held)

    def _learning_rate(self) -> Any:
        """In the update its lr; for all others the lr of the last update."""
        if self._lr_now is not None:
            return self._lr_now
        if self._lr is None:
            return self._get_own_lr()
        self._lr_shown.now = self._lr(self._counter.traced(behind=1))
        return self._lr_shown

    def install(self) -> Callable[[], None]:
        """Begin; gives what ends it."""
        return patch_methods(
            self._optimizer, {"apply": self, "_get_current_learning_rate": self._learning_rate}
        )
