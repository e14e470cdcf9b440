"""Schedules inside the compiled step of a model, until they are removed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrsched import Schedule
from lrsched_tf.compiled.apply import ScheduledApply
from lrsched_tf.compiled.inner_traces import check_train_step, inner_traces
from lrsched_tf.compiled.ops import CompiledSchedule
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.fit_guard import FitGuard, clean_up_fit, guard_of
from lrsched_tf.patch import patch_methods

NO_UPDATE = "the optimizer of the model made no update, so its schedule had no effect"


def check_unscheduled(optimizers: Iterable[Any]) -> None:
    """Check that no schedule drives one of these leaf optimizers.

    Raises:
        ValueError: one does, and goes on.
    """
    if any(isinstance(o.__dict__.get("apply"), ScheduledApply) for o in optimizers):
        raise ValueError(
            "callbacks must hold one schedule for the optimizer, got a second one "
            "(a ScheduleCallback takes both an lr and a momentum; a range test comes before)"
        )


def check_unscheduled_in_fit(
    model: Any, optimizers: Iterable[Any], *, range_test: bool = False
) -> None:
    """Check the same in a callback, and that `fit` compiles the whole step.

    Args:
        model: Its `fit` is running.
        optimizers: Leaf optimizers.
        range_test: For one, which has to be alone in the model, whatever it drives.

    Raises:
        ValueError: a check fails; it ends the `fit`, and so the schedule that is there already.
    """
    try:
        check_unscheduled(optimizers)
        guard = guard_of(model)
        if guard is not None and (range_test or guard.is_alone):
            raise ValueError(
                "callbacks must hold a range test or schedules, got both (a range test comes "
                "before, in a fit of its own)"
            )
        check_train_step(model)
    except ValueError:
        # Of this fit: it has begun with the clean-up after any other.
        clean_up_fit(model, running=True)
        raise


class Installation:
    """Schedules at work in a model, from when it is made until `remove`.

    Args:
        model: A model, or None where a loop of the user's has only optimizers.
        counters: One for each of the `leaf_optimizers`, which have passed `check_unscheduled`.
        schedules: By names of `HYPERPARAMETERS`; an array has a value for each step. What has no
            schedule stays the user's.
        wrap: Makes the `train_step` that replaces the model's own from that one.

    Raises:
        ValueError: an optimizer lacks a hyper-parameter of these; the model is as before.
    """

    def __init__(
        self,
        model: Any,
        counters: list[StepCounter],
        schedules: Mapping[str, Schedule | NDArray[np.float64]],
        *,
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    ) -> None:
        self._guard: FitGuard | None = None
        self._has_warned = False
        self._traces = traces = inner_traces(model, counters)
        self._applies = [
            ScheduledApply(counter, schedules, traces.check_update, self._check_read)
            for counter in counters
        ]
        self._has_checked_read = False
        self._loop = ExitStack()
        self._counters, self._model = counters, model
        self._ends = [apply.install() for apply in self._applies]
        if model is None:
            return
        self._make_train_function = model.make_train_function
        step = traces.around(model.train_step)
        step = step if wrap is None else wrap(step)
        self._ends.append(patch_methods(model, {"train_step": step}))
        self.retrace()

    def guard(
        self, clean_up: Callable[[], object], late: Callable[[], object] | None = None
    ) -> FitGuard:
        """Call `clean_up` where an exception ends `fit`, as `FitGuard` says."""
        self._guard = FitGuard(self._model, clean_up, self.retrace, late)
        self._guard.install()
        return self._guard

    @property
    def active(self) -> bool:
        """Whether the schedules are at work."""
        return bool(self._ends)

    def remove(self) -> None:
        """Remove the schedules; the optimizers train with the user's values again."""
        if not self.active:
            return
        if self._guard is not None:
            self._guard.remove()
        while self._ends:
            self._ends.pop()()
        if self._model is not None:
            # The traced function has the schedules in it.
            self._model.train_function = None

    def apart(self) -> AbstractContextManager[object]:
        """Return a context for a loop of the user's own."""
        self._loop.enter_context(self._traces.apart())
        return self._loop

    def change(self, schedules: Mapping[str, Schedule], warn: Callable[[str], object]) -> None:
        """Put other schedules of the same names in place, between two steps.

        The next step is traced anew. Steps that the user compiles are, too, on JAX and PyTorch;
        on TensorFlow a loop that has some is warned of.
        """
        compiled = {name: CompiledSchedule(schedule) for name, schedule in schedules.items()}
        for apply in self._applies:
            apply.change(compiled)
        is_in_loop = self._guard is None
        if is_in_loop:
            self._loop.close()
        if self._traces.renew():
            warn(
                "the change of schedule is not in steps that tf.function has compiled before "
                "(define the tf.function of the loop anew after the change)"
            )
        if is_in_loop:
            self._loop.enter_context(self._traces.apart())
        if self._model is None:
            return
        if is_in_loop:
            self.retrace()
        else:  # past whatever else guards the same fit, which has to guard the new step too
            self._model.make_train_function(force=True)

    def warn_of_traces_from_outside(self, warn: Callable[[str], object]) -> None:
        """Warn where a loop of the user's own has made updates without the schedules."""
        if self._has_warned or (self._guard is not None and self._guard.has_trained):
            return  # the latter in a fit, whose step was traced here
        updates, outside = self._traces.updates(), self._traces.from_outside()
        self._has_warned = bool(outside)
        if outside:
            warn(
                f"{outside} of {updates} updates were made by a step that had been compiled "
                "before the schedule came in, and keeps the learning rate that it was traced with "
                "(define the tf.function or jax.jit after that: within the block of applied_to)"
            )
        elif not updates and not self._traces.is_reached:
            warn(
                f"{NO_UPDATE} (a step that was compiled before is to be compiled within the block "
                "of applied_to)"
            )

    def check_counts(self, change: str) -> None:
        """Check that the optimizers count the updates that are made, for a change of schedule.

        Raises:
            RuntimeError: they do not, as far as it shows.
        """
        if self._traces.is_reached and not self._traces.updates():
            raise RuntimeError(
                f"{change} must be told the step by the optimizer, got one that has counted no "
                "update (assign the results of stateless_apply to optimizer.variables first)"
            )

    def _check_read(self) -> None:
        """Check that updates read what is scheduled, as soon as each optimizer has made one.

        Raises:
            ValueError: none of them does.
        """
        if self._has_checked_read or not all(apply.has_updated for apply in self._applies):
            return
        self._has_checked_read = True
        message = self._unread(self._applies)
        if message:
            raise ValueError(message)

    def warn_of_unread(self, warn: Callable[[str], object]) -> None:
        """Warn where the updates so far read nothing of what is scheduled.

        Of optimizers some of which make none, and in steps that `torch.compile` traces, there was
        no such check.
        """
        if self._has_checked_read or not self._traces.is_reached:
            return
        reached = [apply for apply in self._applies if apply.has_counted]
        message = self._unread(reached) if reached else ""
        if message:
            warn(message)

    @staticmethod
    def _unread(applies: list[ScheduledApply]) -> str:
        names = sorted(set.intersection(*(apply.unread() for apply in applies)))
        if not names:
            return ""
        kinds = sorted({apply.kind for apply in applies})
        return (
            f"optimizer must read {' and '.join(names)} in its updates to have a schedule of it, "
            f"got {' and '.join(kinds)}, which does not (pass a policy without it)"
        )

    def batches(self) -> int:
        """Read the number of batches that the optimizer has counted from the device."""
        # A part of a MultiOptimizer that owns no weights never counts. Others in a list may have
        # begun at other counts: those of the first are the common ones.
        lead = max(counter.batches() - counter.origin for counter in self._counters)
        return self._counters[0].origin + lead

    def retrace(self) -> None:
        """Trace the next step anew, with the schedules in it."""
        # jax.jit finds traces by the equality of functions, and bound methods are equal: without
        # an identity of its own the step would run a trace from before the schedules came in.
        step = {"train_step": functools.partial(self._model.train_step)}
        restore = patch_methods(self._model, step if keras.backend.backend() == "jax" else {})
        try:
            self._make_train_function(force=True)
        finally:
            restore()
        self._model.train_function = self._traces.around_function(self._model.train_function)
