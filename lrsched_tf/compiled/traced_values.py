"""Hyper-parameters of an optimizer as values of the step that is being traced."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import keras

from lrsched_tf.compiled.hyperparameters import HyperParameter
from lrsched_tf.compiled.ops import CompiledSchedule, float_type
from lrsched_tf.compiled.step_counter import StepCounter


class TracedScalar(keras.Variable):  # type: ignore[misc]
    """A scalar that the step computes, in the place of a Python float or of a variable.

    Optimizers ask `momentum != 0` and `clipnorm > 0` in Python, to know what an update is made
    of. Where the answer is the same for all values of the schedule, it is that one; otherwise it
    is that of the step, which a compiled step cannot give, and raises.

    Attributes:
        now: The value in the update that is being traced; None outside of updates.
        bounds: Between which all the values are.
        is_read: Whether an update, or the tracing of one, has asked for the value.
    """

    now: Any = None
    bounds = (-math.inf, math.inf)
    is_read = False

    def __init__(self, name: str) -> None:
        super().__init__(0.0, dtype=float_type(), trainable=False, name=name)

    @property
    def value(self) -> Any:
        if self.now is None:
            return super().value
        self.is_read = True
        return self.now

    def __ne__(self, other: object) -> Any:
        low, high = self.bounds
        if isinstance(other, (int, float)) and not low <= other <= high:
            return True
        return super().__ne__(other)

    def __gt__(self, other: Any) -> Any:
        low, high = self.bounds
        if isinstance(other, (int, float)) and (low > other or high <= other):
            return low > other
        return super().__gt__(other)

    def __bool__(self) -> bool:
        return bool(self != 0)


if keras.backend.backend() == "jax":
    import jax

    # Keras hands a number to some functions of JAX as it stands, and these take no other objects.
    jax.tree_util.register_pytree_node(
        TracedScalar, lambda scalar: ((scalar.value,), None), lambda _, values: values[0]
    )


class ShownValue(TracedScalar):
    """The value of the last update, for readers of an optimizer; writes go to its own variable."""

    def __init__(self, optimizer: Any, row: HyperParameter) -> None:
        super().__init__(row.log_name)
        self._optimizer, (self._attribute,) = optimizer, row.attributes

    def assign(self, value: Any) -> Any:
        return getattr(self._optimizer, self._attribute).assign(value)


class TracedValue(Protocol):
    """A scheduled hyper-parameter of one optimizer; made with the `ScheduledApply` of that one.

    Attributes:
        schedule: Of an integer tensor; another one holds for what is traced from then on.
        methods: To replace in the optimizer for as long as it is scheduled.
        outside: What its attributes hold outside of updates.
    """

    schedule: CompiledSchedule
    methods: dict[str, Callable[..., Any]]
    outside: dict[str, Any]

    @property
    def is_read(self) -> bool:
        """Whether an update, or the tracing of one, has asked for the value."""
        ...

    def at(self, step: Any) -> Mapping[str, Any]:
        """Return what its attributes hold during the update at a step, a tensor."""
        ...


class TracedAttributes:
    """Attributes that hold a traced scalar during an update, and the user's floats otherwise.

    Args:
        row: Of the hyper-parameter.
        optimizer: A leaf optimizer.
        schedule: Of an integer tensor.
        others: Names that have schedules of their own.

    Raises:
        ValueError: the optimizer has none that is in use.
    """

    def __init__(
        self,
        row: HyperParameter,
        optimizer: Any,
        schedule: CompiledSchedule,
        others: Collection[str],
    ) -> None:
        self.schedule, self._row = schedule, row
        self._scalar = TracedScalar(row.name)
        self.methods: dict[str, Callable[..., Any]] = {}
        self.outside: dict[str, Any] = row.numbers(optimizer, others)

    @property
    def is_read(self) -> bool:
        return self._scalar.is_read

    def at(self, step: Any) -> Mapping[str, Any]:
        self._scalar.bounds = self._row.bounds(self.schedule.bounds)
        self._scalar.now = self.schedule(step)
        return dict.fromkeys(self.outside, self._scalar)


class TracedGetter:
    """A getter that returns the value of the update during one, and otherwise that of the last.

    Args:
        row: Of the hyper-parameter.
        getter: Of that row.
        counter: Of the optimizer.
        schedule: Of an integer tensor.
    """

    # Keras itself hands it to every update.
    is_read = True

    def __init__(
        self, row: HyperParameter, getter: str, counter: StepCounter, schedule: CompiledSchedule
    ) -> None:
        self._counter, self.schedule = counter, schedule
        self._name = getter
        self._shown = ShownValue(counter.optimizer, row)
        self.methods: dict[str, Callable[..., Any]] = {getter: self._get_last}
        self.outside: dict[str, Any] = self.methods

    def at(self, step: Any) -> Mapping[str, Any]:
        value = self.schedule(step)
        return {self._name: lambda: value}

    def _get_last(self) -> Any:
        self._shown.now = self.schedule(self._counter.traced(behind=1))
        return self._shown


def traced_value(
    row: HyperParameter,
    counter: StepCounter,
    schedule: CompiledSchedule,
    others: Collection[str] = (),
) -> TracedValue:
    """Return the traced value of a hyper-parameter, by the way that an optimizer reads it."""
    if row.getter is None:
        return TracedAttributes(row, counter.optimizer, schedule, others)
    return TracedGetter(row, row.getter, counter, schedule)
