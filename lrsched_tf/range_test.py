"""LR range test for Keras: in one call, or as a callback of `fit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from lrsched._progress import Progress
from lrsched._validate import check_bool, check_choice
from lrsched.loss_curve import LossCurve
from lrsched.range_test import RangeTest
from lrsched.refine import REFINE_STEPS, ProbeRun, check_refine_steps
from lrsched.refine import refine as refine_curve
from lrsched.schedule import Schedule
from lrsched.suggestion import SCHEDULE_FACTORS
from lrsched_tf.install import leaf_optimizers
from lrsched_tf.snapshot import Snapshot

# Arguments of `fit` that a range test sets itself.
OWN_ARGUMENTS = ("epochs", "callbacks", "verbose", "initial_epoch")
FIT_ENDED = "fit ended before the sweep (give it more epochs)"


class _Trial(keras.callbacks.Callback):  # type: ignore[misc]
    """A `fit` whose lr a state machine sets, with everything put back at its end.

    Args:
        test: Says which lr the next update uses and whether to go on, and takes the losses.
        bar: Counts the updates.
    """

    def __init__(self, test: RangeTest | ProbeRun, bar: Progress) -> None:
        super().__init__()
        self._test, self._bar = test, bar
        self._snapshot: Snapshot | None = None
        self._optimizers: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._test.running:
            raise ValueError("callbacks must hold a new LRFinder for every fit, got a used one")
        model = self.model
        self._optimizers = leaf_optimizers(model)
        _check_settable(self._optimizers)
        if not model.built:
            raise ValueError(
                "model must be built before a range test, or nothing can be put back "
                "(give it an Input, or call it on a batch)"
            )
        if not model.optimizer.built:
            # TensorFlow builds it inside the first step, after the variables have been listed.
            model.optimizer.build(model.trainable_variables)
        self._snapshot = Snapshot(model)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # The property brings the state of JAX home; the optimizer itself would be out of date.
        self.model.reset_metrics()
        for optimizer in self._optimizers:
            optimizer.learning_rate = self._test.lr

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._bar.update()
        if not self._test.record(float((logs or {})["loss"])):
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the model, its optimizer and the random number generators back."""
        if self._snapshot is not None:
            # Through the property, as above: JAX must not overwrite what is put back.
            self.model.reset_metrics()
            self._snapshot.restore()
            self._snapshot = None


class LRFinder(_Trial):
    """Turns a `fit` into an LR range test: the learning rate grows, the model is put back.

    The loss of each batch is kept as it is, not as the running mean over the epoch that Keras
    reports. `fit` stops when the sweep ends or the loss diverges; give it enough epochs. At its
    end the model, its optimizer and the random number generators are as they were; an exception
    or Ctrl-C leaves `fit` without a word to its callbacks, and `restore` puts them back then.

    Args:
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        progress: Show a progress bar (needs tqdm).

    Raises:
        TypeError: an argument of the wrong kind; from `fit`, a model without a Keras optimizer.
        ValueError: an argument out of range; from `fit`, a model that is not built, or whose
            learning rate is a schedule.

    Example:
        >>> finder = LRFinder(num_steps=300)
        >>> model.fit(x, y, epochs=20, verbose=0, callbacks=[finder])
        >>> print(finder.curve.suggest())

    Source: Smith 2015, arXiv:1506.01186.
    """

    def __init__(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_steps: int = 300,
        *,
        sweep: str | Schedule = "exponential",
        stop_factor: float | None = 2.0,
        progress: bool = False,
    ) -> None:
        self._test: RangeTest
        test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
        super().__init__(test, Progress(len(test.planned_lr), "LR range test", progress))

    @property
    def curve(self) -> LossCurve:
        """The losses recorded so far, with the lr that each update used."""
        return self._test.curve

    def on_train_end(self, logs: Any = None) -> None:
        self._test.stop(FIT_ENDED)
        super().on_train_end(logs)

    def restore(self) -> None:
        super().restore()
        self._bar.__exit__(None, None, None)


def lr_find(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 300,
    sweep: str | Schedule = "exponential",
    stop_factor: float | None = 2.0,
    refine: bool = False,
    refine_steps: int = REFINE_STEPS,
    schedule: str = "one_cycle",
    progress: bool = False,
    **data: Any,
) -> LossCurve:
    """Find a learning rate: train for `num_steps` updates with a growing one, then undo it all.

    With `refine=True`, three short trainings follow, around the suggestion and with the schedule
    that it is for, each from the state of before; then `curve.suggest(schedule=schedule)` goes by
    them. They are undone too. Batches come in the same order each time, except that TensorFlow
    shuffles anew.

    Afterwards the model, its optimizer, its history and the random number generators are as they
    were, also after an exception or Ctrl-C.

    Args:
        model: A compiled, built Keras model.
        x: As for `fit`: arrays, a tf.data.Dataset, a PyDataset, a generator ...
        y: As for `fit`.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10; data that ends sooner is read again.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        refine: Check the suggestion with short trainings.
        refine_steps: Updates of all of them together, int >= 60.
        schedule: What the lr is for, where `refine` is set: "one_cycle" or "constant".
        progress: Show a progress bar over all updates (needs tqdm).
        data: Other arguments of `fit` about the data: `batch_size`, `shuffle`, `class_weight`,
            `sample_weight`, `steps_per_epoch`.

    Returns:
        The curve; `curve.suggest()` reads a learning rate from it.

    Raises:
        TypeError: an argument of the wrong kind, or a model without a Keras optimizer.
        ValueError: an argument out of range, an argument of `fit` that is not about the data, a
            model that is not built, or one whose learning rate is a schedule.

    Source: Smith 2015, arXiv:1506.01186.
    """
    own = sorted(name for name in data if name in OWN_ARGUMENTS or name.startswith("validation"))
    if own:
        raise ValueError(f"data must be arguments of fit about the training data, got {own}")
    test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
    check_choice("schedule", schedule, SCHEDULE_FACTORS)
    probed = check_refine_steps(refine_steps) if check_bool("refine", refine) else 0
    _check_settable(leaf_optimizers(model))

    def train(test: RangeTest | ProbeRun) -> None:
        trial = _Trial(test, bar)
        try:
            model.fit(x, y, epochs=10**6, verbose=0, callbacks=[trial], **data)
        finally:
            trial.restore()

    with (
        Progress(len(test.planned_lr) + probed, "LR range test", progress) as bar,
        _single_steps(model),
    ):
        train(test)
        test.stop(FIT_ENDED)
        if not refine:
            return test.curve
        return refine_curve(test.curve, train, schedule=schedule, num_steps=probed)


@contextmanager
def _single_steps(model: Any) -> Iterator[None]:
    """One update per execution, and what `fit` leaves in the model's attributes put back."""
    kept = {name: getattr(model, name, None) for name in ("history", "stop_training")}
    per_execution = model.steps_per_execution
    if per_execution != 1:
        # A callback hears of whole executions only.
        _set_steps_per_execution(model, 1)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(model, name, value)
        if per_execution != 1:
            _set_steps_per_execution(model, per_execution)


def _set_steps_per_execution(model: Any, steps: int) -> None:
    model.steps_per_execution = steps
    # The traced function runs the old number of steps.
    model.train_function = None


def _check_settable(optimizers: list[Any]) -> None:
    for optimizer in optimizers:
        if not isinstance(optimizer._learning_rate, keras.Variable):
            raise ValueError(
                "optimizer must have a learning rate that can be set, got a schedule "
                f"({optimizer._learning_rate!r}) (compile with a number for the range test)"
            )
