"""A `fit` that a state machine drives, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras

from lrsched._progress import Progress
from lrsched._validate import check_loss
from lrsched.range_test import RangeTest
from lrsched_tf.compiled.installation import Installation, check_unscheduled_in_fit
from lrsched_tf.compiled.optimizers import (
    OwnRates,
    leaf_optimizers,
    other_optimizers,
    own_lr,
    top_optimizers,
    unbuilt_layers,
)
from lrsched_tf.compiled.optimizers import scales_loss as scales_loss_of
from lrsched_tf.compiled.step_counter import StepCounter

# Halving the scale so often takes the largest one to nothing.
MAX_SKIPPED = 100
NAMES_SHOWN = 5


@dataclass
class Tally:
    """How often a range test has read the data.

    Attributes:
        batches: Batches trained on.
        passes: Times that the data was begun.
        first_pass: Batches of the first time.
        ended: Epochs that the end of the data broke off.
        since_ended: Batches since the last of them.
    """

    batches: int = 0
    passes: int = 0
    first_pass: int = 0
    ended: int = 0
    since_ended: int = 0

    def readings(self, length: int | None, *, whole_epochs: bool) -> int:
        """Return how often the data was begun.

        Args:
            length: Its number of batches, where it is known.
            whole_epochs: Each epoch goes through all of it.
        """
        if length and not whole_epochs:
            return -(-self.batches // length)
        return self.passes if whole_epochs else self.ended + (self.since_ended > 0)


class SweepDriver(keras.callbacks.Callback):  # type: ignore[misc]
    """Trains with the learning rates of a plan, and reports raw losses; restores nothing.

    The learning rates, and the return of the metrics to zero before each batch, are part of the
    compiled step: the host writes nothing, and the loss in the logs is that of the batch alone.
    With gradient accumulation, an update has the mean loss of its batches. An update that loss
    scaling skips is not reported. A sweep by two speeds gets its knee from the optimizer's own lr.

    Args:
        test: Plans the lr of each update, takes the losses, and says when to stop.
        bar: Counts the updates.
        tally: Counts the batches.
        once: The data can be read only once, so an epoch that ends early is the last.
        around: Wraps the training function.
        optimizer: As for `lr_find`.
    """

    def __init__(
        self,
        test: RangeTest,
        bar: Progress,
        tally: Tally,
        *,
        once: bool = False,
        around: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__()
        self._test, self._bar, self._tally, self._once = test, bar, tally, once
        self._around, self._optimizer = around, optimizer
        self._installation: Installation | None = None
        self._losses: list[float] = []
        self._counters: list[StepCounter] = []
        # What each of them, and all of them together, showed when the test and the batch began.
        self._first: list[int] = []
        self._count = 0
        # Batches that made an update, updates reported, updates skipped in a row.
        self._counted = self._reported = self._skipped = self._before_epoch = 0
        self._in_train_step = self._scales_loss = False

    def on_train_begin(self, logs: Any = None) -> None:
        self._check()
        self._install()

    def _check(self) -> None:
        """See that the model can be trained by a plan, before anything is done to it."""
        leaves = leaf_optimizers(self.model, self._optimizer)
        check_unscheduled_in_fit(self.model, leaves, range_test=True)
        self._counters = [StepCounter(leaf, 0, count_batches=False) for leaf in leaves]
        self._own_lrs = OwnRates(leaves)
        _check_model(self.model, top_optimizers(self.model, self._optimizer))

    def _install(self) -> None:
        model = self.model
        self._first = [counter.batches() for counter in self._counters]
        self._count, self._scales_loss = sum(self._first), scales_loss_of(model, self._optimizer)
        self._test.place_knee(own_lr(counter.optimizer for counter in self._counters))
        schedules = {"lr": self._test.planned_lr}
        self._installation = Installation(model, self._counters, schedules, wrap=self._wrap)
        if self._around is not None:
            model.train_function = self._around(model.train_function)

    def _wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the training step with metrics that begin at zero."""
        model = self._model

        def stateful(data: Any) -> Any:
            self._in_train_step = True
            for metric in model.metrics:
                metric.reset_state()
            return step(data)

        def stateless(state: Any, data: Any) -> Any:
            self._in_train_step = True
            *others, metrics = state
            return step((*others, _at_zero(model, metrics)), data)

        return stateless if keras.backend.backend() == "jax" else stateful

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before_epoch = self._tally.batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Nothing here asks for `self.model` as long as it goes on: that brings the whole state of
        # JAX home. But for loss scaling: only the counters tell which updates it has skipped.
        if not self._in_train_step:
            raise ValueError("model must be trained by its train_step, got another train_function")
        loss = _loss(logs or {})
        self._tally.batches += 1
        self._tally.since_ended += 1
        skipped = self._has_skipped()
        if skipped and math.isfinite(loss):
            self._skip()
        else:
            self._skipped = 0
            self._counted += not skipped
            self._losses.append(loss)
            updates = self._counters[0].step_at(self._first[0] + self._counted)
            if updates > self._reported or not math.isfinite(loss):
                self._report()
        if self._tally.batches == 1:
            self._check_updates()
        super().on_train_batch_end(batch, logs)  # which calls on_batch_end

    def _has_skipped(self) -> bool:
        """Return whether loss scaling has skipped the update of the batch."""
        if not self._scales_loss:
            return False
        self.model  # noqa: B018 -- the property brings the state of JAX home
        before, self._count = self._count, sum(c.batches() for c in self._counters)
        return before == self._count

    def _check_updates(self) -> None:
        """See that the optimizer made the updates that the curve speaks of.

        After the first batch, before time is spent on others, and after each epoch: asked at each
        batch, the device would have to be waited for.
        """
        self.model  # noqa: B018 -- the property brings the state of JAX home
        counts = zip(self._counters, self._first, strict=True)
        # A part of a MultiOptimizer that owns no weights never counts.
        made = max(counter.batches() - first for counter, first in counts)
        if made != self._counted:
            other = "" if made else f"; {other_optimizers(self.model, self._optimizer)}"
            raise ValueError(
                "optimizer must make one update for each batch, got one that made "
                f"{made or 'none'} for {self._counted} (train_step must call its apply once; to "
                "gather gradients, compile with its gradient_accumulation_steps"
                f"{other})"
            )

    def _skip(self) -> None:
        self._skipped += 1
        self._test.note("Loss scaling skipped updates; they are not in the curve.")
        if self._skipped == MAX_SKIPPED:
            self._stop(f"loss scaling skipped {MAX_SKIPPED} updates in a row")

    def _report(self) -> None:
        loss = math.fsum(self._losses) / len(self._losses)
        self._losses.clear()
        self._reported += 1
        self._bar.update()
        if not self._test.record(loss):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        trained = self._tally.batches - self._before_epoch
        steps = (self.params or {}).get("steps")
        ended = steps is None or trained < steps
        if ended and keras.backend.backend() == "tensorflow":
            for counter, first in zip(self._counters, self._first, strict=True):
                counter.take_back(first + self._counted)
        self._check_updates()
        self._tally.passes += trained > 0
        self._tally.first_pass = self._tally.first_pass or self._tally.batches
        if ended:
            self._tally.ended += trained > 0
            self._tally.since_ended = 0
        if not trained or (self._once and ended):
            self._stop("the data ended before the sweep")

    def _stop(self, reason: str) -> None:
        self._test.stop(reason)
        self.model.stop_training = True


def _check_model(model: Any, optimizers: list[Any]) -> None:
    built = all(optimizer.built for optimizer in optimizers)
    unbuilt = [] if built else unbuilt_layers(model)
    if unbuilt:
        more = len(unbuilt) - NAMES_SHOWN
        names = ", ".join(unbuilt[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise ValueError(
            "model must be built before a range test, or nothing can be put back (give it an "
            "Input, call it on a batch, or train it for a step), got layers without their "
            f"weights: {names}"
        )
    if not model.trainable_variables:
        raise ValueError("model must have trainable weights for a range test, got none")
    if model.steps_per_execution != 1:
        raise ValueError(
            "model must be compiled with steps_per_execution=1 for a callback that needs the loss "
            f"of each batch, got {model.steps_per_execution} (lr_find sets it for the test)"
        )


def _at_zero(model: Any, values: Iterable[Any]) -> list[Any]:
    """Return the values of the metrics' variables after a reset, in a step without side effects."""
    variables = model.metrics_variables
    mapping = list(zip(variables, values, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        for metric in model.metrics:
            metric.reset_state()
    return [scope.get_current_value(variable) for variable in variables]


def _loss(logs: dict[str, Any]) -> float:
    if "loss" not in logs:
        raise ValueError(
            f"train_step must return logs with 'loss', got {sorted(logs)} "
            "(return {'loss': ...} from it)"
        )
    return check_loss(logs["loss"])
