"""Hyper-parameters of an optimizer as values of the step that is being traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras

from lrsched_tf.compiled.ops import float_type
from lrsched_tf.compiled.optimizers import HyperParameter
from lrsched_tf.compiled.step_counter import StepCounter


class TracedScalar(keras.Variable):  # type: ignore[misc]
    """A scalar that the step computes, in the place of a Python float or of a variable.

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
        methods: To replace in the optimizer for as long as it is scheduled.
        outside: What its attributes hold outside of updates.
    """

    methods: dict[str, Callable[..., Any]]
    outside: dict[str, Any]

    def at(self, step: Any) -> Mapping[str, Any]:
        """Return what its attributes hold during the update at a step, a tensor."""
        ...


class TracedAttributes:
    """Attributes that hold a traced scalar during an update, and the user's floats otherwise.

    Raises:
        ValueError: the optimizer has none that is in use.
    """

    def __init__(self, row: HyperParameter, optimizer: Any, schedule: Callable[[Any], Any]) -> None:
        self._schedule, self._scalar = schedule, TracedScalar(row.name)
        self.methods: dict[str, Callable[..., Any]] = {}
        self.outside: dict[str, Any] = row.numbers(optimizer)

    def at(self, step: Any) -> Mapping[str, Any]:
        self._scalar.now = self._schedule(step)
        return dict.fromkeys(self.outside, self._scalar)


class TracedGetter:
    """A getter that returns the value of the update during one, and otherwise that of the last.

    Args:
        row: Of the hyper-parameter.
        getter: Of that row.
        counter: Of the optimizer.
        schedule: Of an integer tensor.
    """

    def __init__(
        self,
        row: HyperParameter,
        getter: str,
        counter: StepCounter,
        schedule: Callable[[Any], Any],
    ) -> None:
        self._counter, self._schedule = counter, schedule
        self._name = getter
        self._shown = ShownValue(counter.optimizer, row)
        self.methods: dict[str, Callable[..., Any]] = {getter: self._get_last}
        self.outside: dict[str, Any] = self.methods

    def at(self, step: Any) -> Mapping[str, Any]:
        value = self._schedule(step)
        return {self._name: lambda: value}

    def _get_last(self) -> Any:
        self._shown.now = self._schedule(self._counter.traced(behind=1))
        return self._shown


def traced_value(
    row: HyperParameter, counter: StepCounter, schedule: Callable[[Any], Any]
) -> TracedValue:
    """Return the traced value of a hyper-parameter, by the way that an optimizer reads it."""
    if row.getter is None:
        return TracedAttributes(row, counter.optimizer, schedule)
    return TracedGetter(row, row.getter, counter, schedule)
