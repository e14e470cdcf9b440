"""A `fit` that a state machine drives, batch by batch, and that leaves no trace."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.stateless_scope import in_stateless_scope

from lrsched._progress import Progress
from lrsched._validate import check_loss
from lrsched.range_test import RangeTest
from lrsched.rewind.interrupt import deferred_interrupt
from lrsched_tf.compiled.installation import Installation, check_unscheduled_in_fit
from lrsched_tf.compiled.optimizers import OwnRates, leaf_optimizers, unbuilt_layers
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.fit_guard import USES_OF_MODEL, FitGuard, clean_up_aborted_fit
from lrsched_tf.frames import warn_user
from lrsched_tf.snapshot import Held, Snapshot

# In the logs of a batch, where loss scaling may skip the update: batches counted so far.
COUNT = "lrsched_batches"
# Halving the scale so often takes the largest one to nothing.
MAX_SKIPPED = 100
NAMES_SHOWN = 5


class SweepDriver(keras.callbacks.Callback):  # type: ignore[misc]
    """Trains with the learning rates of a plan, reports raw losses, and undoes it all.

    The learning rates, and the return of the metrics to zero before each batch, are part of the
    compiled step: the host writes nothing, and the loss in the logs is that of the batch alone.
    With gradient accumulation, an update has the mean loss of its batches. An update that loss
    scaling skips is not reported.

    Args:
        test: Plans the lr of each update, takes the losses, and says when to stop.
        bar: Counts the updates.
        once: The data can be read only once, so an epoch that ends early is the last.

    Attributes:
        batches: Batches trained on.
        passes: Times that the data was begun.
        first_pass: Batches of the first time.
    """

    def __init__(self, test: RangeTest, bar: Progress, once: bool = False) -> None:
        super().__init__()
        self._test, self._bar, self._once = test, bar, once
        self._held: list[Held] = []
        self._installation: Installation | None = None
        self._guard: FitGuard | None = None
        self._losses: list[float] = []
        self._counters: list[StepCounter] = []
        # What each of them, and all of them together, showed when the test and the batch began.
        self._first: list[int] = []
        self._count = 0
        self.batches = self.passes = self.first_pass = self._before_epoch = 0
        # Batches that made an update, updates reported, updates skipped in a row.
        self._counted = self._reported = self._skipped = 0
        self._in_train_step = self._finishes_last = self._overwritten = False
        self._thread: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._test.running:
            raise ValueError("callbacks must hold a new LRFinder for every fit, got a used one")
        model, self._thread = self.model, threading.get_ident()
        clean_up_aborted_fit(model)
        leaves = leaf_optimizers(model)
        check_unscheduled_in_fit(model, leaves)
        _check(model)
        self._counters = [StepCounter(leaf, 0, count_batches=False) for leaf in leaves]
        self._first = [counter.batches() for counter in self._counters]
        self._count = sum(self._first)
        self._own_lrs = OwnRates(leaves)
        self._hold(Snapshot(model))
        lrs = self._test.planned_lr
        with deferred_interrupt():  # or nothing would take out what is not guarded yet
            self._installation = Installation(model, self._counters, {"lr": lrs}, wrap=self._wrap)
            guard = self._guard = self._installation.guard(self.restore, USES_OF_MODEL)
        # First, to take its count out of the logs; last, after what sets the best weights.
        last = keras.callbacks.LambdaCallback(on_train_end=lambda logs: self.finish())
        self._finishes_last = guard.call_around(self, last)

    def _wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The training step with metrics that begin at zero."""
        model = self._model
        counts = [c.optimizer._iterations for c in self._counters] if _scales_loss(model) else []

        def stateful(data: Any) -> Any:
            self._in_train_step = True
            for metric in model.metrics:
                metric.reset_state()
            logs = step(data)
            return {**logs, COUNT: sum(map(ops.convert_to_tensor, counts))} if counts else logs

        def stateless(state: Any, data: Any) -> Any:
            self._in_train_step = True
            *others, metrics = state
            logs, state = step((*others, _at_zero(model, metrics)), data)
            if counts:
                values = dict(zip(map(id, model.optimizer.variables), state[2], strict=True))
                logs = {**logs, COUNT: sum(values[id(count)] for count in counts)}
            return logs, state

        return stateless if keras.backend.backend() == "jax" else stateful

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before_epoch = self.batches
        self._count = sum(counter.batches() for counter in self._counters)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Nothing here asks for `self.model` as long as it goes on: that brings the whole state of
        # JAX home.
        if threading.get_ident() != self._thread:
            raise ValueError("callbacks must be a list, got a callback (pass callbacks=[finder])")
        if not self._in_train_step:
            raise ValueError("model must be trained by its train_step, got another train_function")
        loss, count = _loss(logs or {}), (logs or {}).pop(COUNT, None)
        self.batches += 1
        skipped = count is not None and count == self._count
        if skipped and math.isfinite(loss):
            self._skip()
        else:
            self._count, self._skipped = count, 0
            self._counted += not skipped
            self._losses.append(loss)
            updates = self._counters[0].step_at(self._first[0] + self._counted)
            if updates > self._reported or not math.isfinite(loss):
                self._report()
        if self.batches == 1:
            self._check_updates()

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
            self.restore()
            raise ValueError(
                "optimizer must make one update for each batch, got one that made "
                f"{made or 'none'} for {self._counted} (train_step must call its apply once; to "
                "gather gradients, compile with its gradient_accumulation_steps)"
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
        if logs is not None:
            logs.pop(COUNT, None)
        trained, steps = self.batches - self._before_epoch, (self.params or {}).get("steps")
        ended = steps is None or trained < steps
        if ended and keras.backend.backend() == "tensorflow":
            for counter, first in zip(self._counters, self._first, strict=True):
                counter.take_back(first + self._counted)
        self._check_updates()
        # Each time, as the last one may happen to be the user's.
        self._put_lrs_back()
        self.passes += trained > 0
        self.first_pass = self.first_pass or self.batches
        if not trained or (self._once and ended):
            self._stop("the data ended before the sweep")

    def on_train_end(self, logs: Any = None) -> None:
        if not self._finishes_last:
            self.finish()

    def _put_lrs_back(self) -> None:
        if self._held:
            self.model  # noqa: B018 -- the property brings the state of JAX home
            self._overwritten |= self._own_lrs.restore()

    def finish(self) -> None:
        """Put everything back at the end of `fit`, when all other callbacks have been called."""
        with deferred_interrupt():
            self._put_lrs_back()
            self.restore()
        if self._overwritten:
            self.warn(f"The range test: {OwnRates.overwritten}")

    def restore(self) -> None:
        """Put everything back, and warn of what could not be.

        Raises:
            RuntimeError: a step that is being traced uses the model first; nothing has changed.
        """
        if not self._held:
            return
        if _is_tracing():
            raise RuntimeError(
                "the range test must be undone outside of a compiled step, got one that uses the "
                "model of a fit that broke off (call finder.restore() first)"
            )
        with deferred_interrupt():
            if self._guard is not None:
                self._guard.stop_reading()
            # The property brings the state of JAX home, which must not overwrite what is put back.
            self.model.reset_metrics()
            if self._installation is not None:
                self._installation.remove()
            while self._held:
                self.put_back(self._held.pop())

    def _hold(self, held: Held) -> None:
        """Have things put back at the end, and loaders in them read by workers of their own."""
        self._held.append(held)
        held.set_aside()

    def put_back(self, held: Held) -> None:
        """Put things back, and say what could not be."""
        held.restore()
        names = held.remains()
        if names:
            self.warn(f"The range test could not put back: {_listed(names)}.")

    def warn(self, sentence: str) -> None:
        """Tell the user, and the reader of the curve."""
        self._test.note(sentence)
        warn_user(sentence)

    def _stop(self, reason: str) -> None:
        self._test.stop(reason)
        self.model.stop_training = True


def _is_tracing() -> bool:
    """Whether what is assigned now would be part of a compiled step, or lost."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return not tensorflow.executing_eagerly()
    return bool(in_stateless_scope())


def _check(model: Any) -> None:
    unbuilt = [] if model.optimizer.built else unbuilt_layers(model)
    if unbuilt:
        raise ValueError(
            "model must be built before a range test, or nothing can be put back (give it an "
            "Input, call it on a batch, or train it for a step), got layers without their "
            f"weights: {_listed(unbuilt)}"
        )
    if not model.trainable_variables:
        raise ValueError("model must have trainable weights for a range test, got none")
    if model.steps_per_execution != 1:
        raise ValueError(
            "model must be compiled with steps_per_execution=1 for a callback that needs the loss "
            f"of each batch, got {model.steps_per_execution} (lr_find sets it for the test)"
        )


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _scales_loss(model: Any) -> bool:
    pending = [model.optimizer]
    for optimizer in pending:
        if hasattr(optimizer, "inner_optimizer"):
            return True
        pending += getattr(optimizer, "optimizers", [])
    return False


def _at_zero(model: Any, values: Iterable[Any]) -> list[Any]:
    """Values of the metrics' variables after a reset, for a step without side effects."""
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
