"""Schedules at work inside the compiled training step, put into a model and taken out again.

Keras reads `momentum` and `beta_1` as Python floats while it traces a step, so a value that a
callback sets later never reaches the compiled step; and a learning rate written from the host
costs a transfer per step, and is stale where one call runs several steps. Every update, on every
backend, goes through `optimizer.apply`, which is traced with the step. `ScheduledApply` takes its
place on the instance: it reads the optimizer's own counter, computes both values on the device,
and hands the call on. Between updates the optimizer holds the user's floats and has no variable
more than before, so configs, checkpoints and saved models stay what they were.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.namespace import KerasOps, float_type

# Where Keras optimizers keep their momentum; Muon has one for each of its two rules.
MOMENTUM_ATTRIBUTES = ("momentum", "beta_1", "adam_beta_1")
# A longer schedule is computed rather than looked up: 16 MiB of float32.
MAX_TABLE = 2**22
# Attributes of a model that are classes' methods until something stands in for them.
STOOD_IN_FOR = ("make_train_function", "train_step")


def leaf_optimizers(model: Any) -> list[Any]:
    """The optimizers that update the weights of a compiled model, without their wrappers.

    Raises:
        TypeError: the model is not compiled with a Keras optimizer.
    """
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"model must be compiled with a Keras optimizer, got optimizer {optimizer!r}"
        )
    if hasattr(optimizer, "optimizers") and not optimizer.built and model.built:
        # A MultiOptimizer may choose its parts when it is built.
        optimizer.build(model.trainable_variables)
    return list(_leaves(optimizer))


def _leaves(optimizer: Any) -> Iterator[Any]:
    if hasattr(optimizer, "inner_optimizer"):
        yield from _leaves(optimizer.inner_optimizer)
    elif hasattr(optimizer, "optimizers"):
        for part in optimizer.optimizers:
            yield from _leaves(part)
    else:
        yield optimizer


def momentum_floats(optimizer: Any) -> dict[str, float]:
    """The momentum attributes of an optimizer, by name.

    Raises:
        ValueError: it has none, or was made with a momentum of 0 and so keeps no moving average.
    """
    held = {name: getattr(optimizer, name, None) for name in MOMENTUM_ATTRIBUTES}
    floats = {name: value for name, value in held.items() if isinstance(value, float) and value > 0}
    if floats:
        return floats
    name = type(optimizer).__name__
    remedy = "pass momentum=None"
    if held["momentum"] is not None:
        remedy = f"compile with {name}(momentum=0.9), or {remedy}"
    raise ValueError(f"optimizer must have a momentum > 0 to schedule, got {name} ({remedy})")


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
    return lambda step: ops.take(table, ops.minimum(step, last), axis=0)


class Live(keras.Variable):  # type: ignore[misc]
    """A momentum computed by the step, in the place of a Python float.

    Optimizers ask `momentum != 0` and `momentum > 0` in Python, to know whether they keep a
    moving average. They do, or there would be nothing to schedule.
    """

    now: Any = None

    @property
    def value(self) -> Any:
        return super().value if self.now is None else self.now

    def __ne__(self, other: object) -> Any:
        return True if isinstance(other, (int, float)) else super().__ne__(other)

    def __gt__(self, other: Any) -> Any:
        return True if isinstance(other, (int, float)) else super().__gt__(other)


def read(variable: Any) -> float:
    """A scalar variable, from the device."""
    return ops.convert_to_numpy(variable).item()  # type: ignore[no-any-return]


class StepCounter:
    """Turns an optimizer's count of batches into steps of a schedule.

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

    def batches(self) -> int:
        """Batches that the optimizer has seen, read from the device."""
        return int(read(self.optimizer._iterations))

    def step_at(self, batches: Any) -> Any:
        """The step of the schedule at a count of batches, an int or a tensor."""
        return batches // self.batches_per_step - self.origin // self.batches_per_step

    def traced(self) -> Any:
        """The current step, an integer tensor of the optimizer's counter."""
        return ops.maximum(self.step_at(ops.convert_to_tensor(self.optimizer._iterations)), 0)


class ScheduledApply:
    """Stands in for `optimizer.apply`: sets lr and momentum for the update, then calls it."""

    def __init__(
        self,
        counter: StepCounter,
        lr: Schedule | NDArray[np.float64] | None,
        momentum: Schedule | None,
    ) -> None:
        self._counter, self._optimizer = counter, counter.optimizer
        self._apply = self._optimizer.apply
        self._lr = None if lr is None else compiled(lr)
        self._momentum = None if momentum is None else compiled(momentum)
        # What the attributes hold between updates.
        self._held: dict[str, Any] = {}
        if momentum is not None:
            self._held |= momentum_floats(self._optimizer)
            self._live = Live(0.0, dtype=float_type(), trainable=False, name="momentum")
        self._lives = dict.fromkeys(self._held)
        self._lr_variable = None
        if lr is not None:
            rate = self._optimizer.__dict__["_learning_rate"]
            if isinstance(rate, keras.Variable):
                self._lr_variable, self._lr_before = rate, read(rate)
            else:
                self._held["_learning_rate"] = rate

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        attributes, step = self._optimizer.__dict__, self._counter.traced()
        if self._lr is not None:
            lr = self._lr(step)
            if self._lr_variable is None:
                attributes["_learning_rate"] = lr
            else:
                self._lr_variable.assign(lr)
        if self._momentum is not None:
            self._live.now = self._momentum(step)
            attributes.update(dict.fromkeys(self._lives, self._live))
        try:
            return self._apply(grads, trainable_variables)
        finally:
            # Known values, not ones read above: the replicas of a tf.distribute strategy run
            # this in turns, and the second would read what the first has set.
            attributes.update(self._held)

    def install(self) -> None:
        # Past __setattr__, which tracks what it is given.
        self._optimizer.__dict__["apply"] = self

    def remove(self) -> None:
        self._optimizer.__dict__.pop("apply", None)
        if self._lr_variable is not None:
            self._lr_variable.assign(self._lr_before)


class Installation:
    """Schedules at work in a model, until `remove`.

    Args:
        model: A compiled model.
        counters: One for each of its `leaf_optimizers`.
        lr, momentum: Schedules, or None for what stays the user's; the lr may be an array too, a
            value for each step.
        wrap: Makes the `train_step` that stands in for the model's own from that one.

    Raises:
        ValueError: an optimizer has no momentum to schedule, or is scheduled already; the model
            is as before.
    """

    def __init__(
        self,
        model: Any,
        counters: list[StepCounter],
        lr: Schedule | NDArray[np.float64] | None,
        momentum: Schedule | None,
        *,
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    ) -> None:
        if any(isinstance(c.optimizer.__dict__.get("apply"), ScheduledApply) for c in counters):
            standing = model.__dict__.get("make_train_function")
            if isinstance(standing, Guard):  # of a fit that this error is the end of
                standing.clean_up()
            raise ValueError(
                "callbacks must hold one schedule for the optimizer, got a second one "
                "(a ScheduleCallback takes both an lr and a momentum)"
            )
        self._applies = [ScheduledApply(counter, lr, momentum) for counter in counters]
        self._counters, self._model = counters, model
        attributes = model.__dict__
        self._own = {name: attributes[name] for name in STOOD_IN_FOR if name in attributes}
        self._make_train_function = model.make_train_function
        self.active = True
        for apply in self._applies:
            apply.install()
        if wrap is not None:
            attributes["train_step"] = wrap(model.train_step)
        self.retrace()

    def guard(self, clean_up: Callable[[], object] | None = None) -> None:
        """Have the next `fit` begin with the removal of the schedules, or with `clean_up`."""
        guard = Guard(self, self._model, clean_up or self.remove)
        self._model.__dict__["make_train_function"] = guard

    def remove(self) -> None:
        """Take the schedules out; lr and momentum are the user's floats again."""
        if not self.active:
            return
        self.active = False
        for apply in self._applies:
            apply.remove()
        attributes = self._model.__dict__
        for name in STOOD_IN_FOR:
            attributes.pop(name, None)
        attributes.update(self._own)
        # The traced function has the schedules in it.
        self._model.train_function = None

    def step(self) -> int:
        """Steps of the schedule made so far, read from the device."""
        # A part of a MultiOptimizer that owns no weights never counts.
        return max(int(c.step_at(c.batches())) for c in self._counters)

    def retrace(self) -> None:
        """Have the next step traced anew, with the schedules in it."""
        if keras.backend.backend() != "jax":
            self._make_train_function(force=True)
            return
        # jax.jit finds traces by the equality of functions, and bound methods are equal: without
        # an identity of its own the step would run a trace from before the schedules came in.
        attributes, step = self._model.__dict__, self._model.train_step
        own_step = attributes.get("train_step")
        attributes["train_step"] = functools.partial(step)
        try:
            self._make_train_function(force=True)
        finally:
            attributes.pop("train_step")
            if own_step is not None:
                attributes["train_step"] = own_step


class Guard:
    """Stands in for `model.make_train_function`, which every `fit` begins with.

    An exception or Ctrl-C leaves `fit` without a call to any callback; so the schedules that it
    leaves behind are removed here.
    """

    def __init__(
        self, installation: Installation, model: Any, clean_up: Callable[[], object]
    ) -> None:
        self.installation, self._model, self.clean_up = installation, model, clean_up

    def __call__(self, force: bool = False) -> None:
        if force:  # a callback that unfreezes layers, say, and goes on training
            self.installation.retrace()
        else:
            self.clean_up()
            self._model.make_train_function()
