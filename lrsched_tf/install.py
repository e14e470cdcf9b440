"""Schedules at work inside the compiled training step, put into a model and taken out again.

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
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.guard import Guard, end_own_fit, stand_in
from lrsched_tf.inner_traces import check_train_step, inner_traces
from lrsched_tf.kinds import read_parts
from lrsched_tf.namespace import KerasOps, float_type, lookup

if keras.backend.backend() == "torch":
    from torch.compiler import is_compiling
else:

    def is_compiling() -> bool:
        """Only torch traces Python frames, and cannot look at them meanwhile."""
        return False


# Where Keras optimizers keep their momentum; Muon has one for each of its two rules.
MOMENTUM_ATTRIBUTES = ("momentum", "beta_1", "adam_beta_1")
# A longer schedule is computed rather than looked up: 16 MiB of float32.
MAX_TABLE = 2**22


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
    if hasattr(optimizer, "optimizers") and not optimizer.built and not unbuilt_layers(model):
        # A MultiOptimizer may choose its parts when it is built.
        optimizer.build(model.trainable_variables)
    return list(_leaves(optimizer))


def unbuilt_layers(model: Any) -> list[str]:
    """Names of the layers, the model among them, whose weights are yet to be made.

    An optimizer that is built now would know nothing of those weights, and refuse to train them.
    """
    return [
        layer.name
        for layer in model._flatten_layers()
        if not layer.built and type(layer).build is not keras.Layer.build
    ]


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
    return lambda step: lookup(table, ops.minimum(step, last))


class Live(keras.Variable):  # type: ignore[misc]
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


def read(variable: Any) -> float:
    """A scalar variable, from the device."""
    return read_parts(variable)[0].item()  # type: ignore[no-any-return]


def learning_rates(model: Any) -> list[keras.Variable]:
    """The user's learning rates, of the optimizers that have numbers for it."""
    rates = [optimizer.__dict__["_learning_rate"] for optimizer in leaf_optimizers(model)]
    return [rate for rate in rates if isinstance(rate, keras.Variable)]


class OwnRates:
    """The user's learning rates, which a schedule leaves as they are.

    Args:
        model: A compiled model, to which nothing has been done.
    """

    overwritten = (
        "something else set the learning rate, which has no effect: the schedule gives it to "
        "every update (remove the other callback)"
    )

    def __init__(self, model: Any) -> None:
        self._values = [read(rate) for rate in learning_rates(model)]

    def put_back(self, model: Any) -> bool:
        """Give the optimizer those where something has set others; whether it had."""
        pairs = zip(learning_rates(model), self._values, strict=False)
        changed = [(rate, own) for rate, own in pairs if read(rate) != own]
        for rate, own in changed:
            rate.assign(own)
        return bool(changed)


class ShownRate(Live):
    """The lr of the last update, for who asks the optimizer for its own; writes go to that one."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__("learning_rate")
        self._of = optimizer

    def assign(self, value: Any) -> Any:
        return self._of._learning_rate.assign(value)


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

    def traced(self, behind: int = 0) -> Any:
        """The current step, or that of a batch so far behind, an integer tensor."""
        batches = ops.convert_to_tensor(self.optimizer._iterations) - behind
        return ops.maximum(self.step_at(batches), 0)

    def take_back(self, batches: int) -> None:
        """Have the optimizer count `batches` where it counts one too many.

        Without XLA, TensorFlow counts a step that it does not make at the end of data of unknown
        length.
        """
        if self.batches() == batches + 1:
            self.optimizer._iterations.assign(batches)


class ScheduledApply:
    """Stands in for `optimizer.apply`: sets lr and momentum for the update, then calls it.

    Args:
        counter: Of the optimizer.
        lr, momentum: As for `Installation`.
        cleared: Whether both were removed just now, since the `fit` they were for is over.
        check: Called before each update, or the tracing of one.
    """

    def __init__(
        self,
        counter: StepCounter,
        lr: Schedule | NDArray[np.float64] | None,
        momentum: Schedule | None,
        cleared: Callable[[], bool],
        check: Callable[[], object],
    ) -> None:
        self._counter, self._optimizer = counter, counter.optimizer
        self._cleared, self._check = cleared, check
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
            self._live_momentum = Live("momentum")

    def __call__(self, grads: Any, trainable_variables: Any = None) -> Any:
        if self._cleared():
            return self._optimizer.apply(grads, trainable_variables)
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
        if self._lr is None or self._cleared():
            return self._get_own_lr()
        self._lr_shown.now = self._lr(self._counter.traced(behind=1))
        return self._lr_shown

    def install(self) -> Callable[[], None]:
        """Begin; gives what ends it."""
        return stand_in(
            self._optimizer, {"apply": self, "_get_current_learning_rate": self._learning_rate}
        )


def check_unscheduled(optimizers: Iterable[Any]) -> None:
    """See that no schedule drives one of these leaf optimizers; one that does goes on."""
    if any(isinstance(o.__dict__.get("apply"), ScheduledApply) for o in optimizers):
        raise ValueError(
            "callbacks must hold one schedule for the optimizer, got a second one "
            "(a ScheduleCallback takes both an lr and a momentum; a range test comes before)"
        )


def check_unscheduled_in_fit(model: Any) -> None:
    """The same for a callback, whose error ends the `fit` and so what else drives it."""
    try:
        check_unscheduled(leaf_optimizers(model))
        check_train_step(model)
    except ValueError:
        # Callbacks are not watched in the call in which the guard came in.
        end_own_fit(model)
        raise


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
        check_unscheduled(counter.optimizer for counter in counters)
        self._guard: Guard | None = None
        traces = inner_traces(model, counters)
        check = traces.check_update
        applies = [ScheduledApply(c, lr, momentum, self._cleared, check) for c in counters]
        self._counters, self._model = counters, model
        self._make_train_function = model.make_train_function
        self._ends = [apply.install() for apply in applies]
        step = traces.around(model.train_step)
        step = step if wrap is None else wrap(step)
        self._ends.append(stand_in(model, {"train_step": step}))
        self.retrace()

    def guard(self, clean_up: Callable[[], object], uses: tuple[str, ...] = ()) -> Guard:
        """Have `clean_up` called where an exception ends `fit`, as `Guard` says."""
        self._guard = Guard(self._model, clean_up, self.retrace)
        self._guard.install(uses)
        return self._guard

    @property
    def active(self) -> bool:
        """Whether the schedules are at work."""
        return bool(self._ends)

    def _cleared(self) -> bool:
        if self._guard is None or is_compiling() or not self._guard.is_over():
            return False
        self._guard.clean_up()
        return True

    def remove(self) -> None:
        """Take the schedules out; lr and momentum are the user's floats again."""
        if not self.active:
            return
        if self._guard is not None:
            self._guard.remove()
        while self._ends:
            self._ends.pop()()
        # The traced function has the schedules in it.
        self._model.train_function = None

    def batches(self) -> int:
        """Batches that the optimizer has counted, read from the device."""
        # A part of a MultiOptimizer that owns no weights never counts.
        return max(counter.batches() for counter in self._counters)

    def retrace(self) -> None:
        """Have the next step traced anew, with the schedules in it."""
        if keras.backend.backend() != "jax":
            self._make_train_function(force=True)
            return
        # jax.jit finds traces by the equality of functions, and bound methods are equal: without
        # an identity of its own the step would run a trace from before the schedules came in.
        put_back = stand_in(self._model, {"train_step": functools.partial(self._model.train_step)})
        try:
            self._make_train_function(force=True)
        finally:
            put_back()
