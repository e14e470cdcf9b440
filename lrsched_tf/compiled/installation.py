"""Schedules put into a compiled model, and taken out again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.compiled.apply import ScheduledApply
from lrsched_tf.compiled.inner_traces import check_train_step, inner_traces
from lrsched_tf.compiled.optimizers import leaf_optimizers
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.fit_guard import FitGuard, guard_of
from lrsched_tf.patch import patch_methods


def check_unscheduled(optimizers: Iterable[Any]) -> None:
    """See that no schedule drives one of these leaf optimizers; one that does goes on."""
    if any(isinstance(o.__dict__.get("apply"), ScheduledApply) for o in optimizers):
        raise ValueError(
            "callbacks must hold one schedule for the optimizer, got a second one "
            "(a ScheduleCallback takes both an lr and a momentum; a range test comes before)"
        )


def check_unscheduled_in_fit(model: Any) -> None:
    """See the same for a callback; its error ends the `fit`, and so what else is at work there."""
    try:
        check_unscheduled(leaf_optimizers(model))
        check_train_step(model)
    except ValueError:
        # Of this fit: it has begun with the clean-up after any other.
        guard = guard_of(model)
        if guard is not None:
            guard.clean_up()
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
        self._guard: FitGuard | None = None
        traces = inner_traces(model, counters)
        check = traces.check_update
        applies = [ScheduledApply(c, lr, momentum, check) for c in counters]
        self._counters, self._model = counters, model
        self._make_train_function = model.make_train_function
        self._ends = [apply.install() for apply in applies]
        step = traces.around(model.train_step)
        step = step if wrap is None else wrap(step)
        self._ends.append(patch_methods(model, {"train_step": step}))
        self.retrace()

    def guard(
        self, clean_up: Callable[[], object], late: Callable[[], object] | None = None
    ) -> FitGuard:
        """Have `clean_up` called where an exception ends `fit`, as `FitGuard` says."""
        self._guard = FitGuard(self._model, clean_up, self.retrace, late)
        self._guard.install()
        return self._guard

    @property
    def active(self) -> bool:
        """Whether the schedules are at work."""
        return bool(self._ends)

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
        put_back = patch_methods(
            self._model, {"train_step": functools.partial(self._model.train_step)}
        )
        try:
            self._make_train_function(force=True)
        finally:
            put_back()
