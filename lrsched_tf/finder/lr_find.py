"""LR range test of a Keras model, in one call."""

from __future__ import annotations

import warnings
from types import GeneratorType
from typing import Any

from lrsched._names import RANGE_TEST, answers_to
from lrsched._progress import Progress
from lrsched._warn import warn_user
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED, RangeTest, readings_note
from lrsched.rewind.restore_on_exit import RestoreOnExit
from lrsched.rewind.snapshot import Snapshot
from lrsched_tf.compiled.installation import check_unscheduled
from lrsched_tf.compiled.optimizers import leaf_optimizers, top_optimizers
from lrsched_tf.finder.data import READ_AHEAD, is_drawn_ahead, is_empty, lasting_change
from lrsched_tf.finder.driver import SweepDriver, Tally
from lrsched_tf.fit_guard import clean_up_fit
from lrsched_tf.rewind.reading import DataReading
from lrsched_tf.rewind.registry import FIT
from lrsched_tf.rewind.roots import snapshot_of

# Arguments of `fit` about the training data, beside `x` and `y`.
DATA_ARGUMENTS = {"batch_size", "class_weight", "sample_weight", "shuffle", "steps_per_epoch"}
NO_BATCHES = "x must give batches, got none (a generator can be read only once)"
EPOCHS_LIMITED = "fit ended before the sweep (keras.config.set_max_epochs limits it)"


@answers_to(RANGE_TEST)
def lr_find(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    start_lr: float = DEFAULT_SWEEP[0],
    end_lr: float = DEFAULT_SWEEP[1],
    num_steps: int = DEFAULT_SWEEP[2],
    sweep: str | Schedule = TWO_SPEED,
    stop_factor: float | None = 2.0,
    progress: bool = False,
    optimizer: Any = None,
    **data: Any,
) -> LossCurve:
    """Find a learning rate: train for `num_steps` updates with a growing one, then undo it all.

    Afterwards the model, its optimizer, its history, the data and the random number generators are
    restored, also after an exception or Ctrl-C; what has changed and cannot be is warned of. For
    the batches of a generator, and the order of a tf.data pipeline that shuffles anew from a seed
    at each reading, that is before the start. It is in the `notes` of the curve, too, as is data
    that was read more than ten times.

    Args:
        model: A compiled, built Keras model.
        x: As for `fit`: arrays, a tf.data.Dataset, a PyDataset, a generator ...
        y: As for `fit`.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5; data that ends sooner is read again.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        progress: Show a progress bar over all updates (needs tqdm).
        optimizer: To drive, or a list of them, where `train_step` updates others than the one that
            the model is compiled with; None stands for that one.
        data: Other arguments of `fit` about the data: `batch_size`, `shuffle`, `class_weight`,
            `sample_weight`, `steps_per_epoch`.

    Returns:
        The curve; `curve.suggest()` reads a learning rate from it.

    Raises:
        TypeError: an argument of the wrong kind, or a model without a Keras optimizer.
        ValueError: an argument out of range, an argument of `fit` that is not about the data, a
            model that is not built, one whose optimizer makes more or fewer updates than one for
            each batch or whose `train_step` leaves them to a `tf.function`, or data without
            batches.

    Source: Smith 2015, arXiv:1506.01186.
    """
    unknown = sorted(data.keys() - DATA_ARGUMENTS)
    if unknown:
        raise ValueError(f"data must be arguments of fit about the training data, got {unknown}")
    test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
    leaves = leaf_optimizers(model, optimizer)
    clean_up_fit(model)
    check_unscheduled(leaves)
    if is_empty(x):
        raise ValueError(NO_BATCHES)
    lasting = lasting_change(x)
    if lasting is not None:
        warn_user(lasting)
        test.note(lasting)
    if is_drawn_ahead(x):
        test.note(READ_AHEAD)

    tally = Tally()
    with Progress(len(test.planned_lr), "LR range test", progress) as bar:
        notes, length = _fit(model, test, bar, tally, optimizer, {"x": x, "y": y, **data})
    for note in notes:
        test.note(note)
    if not tally.batches:
        raise ValueError(NO_BATCHES)
    test.stop(EPOCHS_LIMITED)
    whole = not data.get("steps_per_epoch")
    times = tally.readings(length, whole_epochs=whole)
    often = readings_note(times, tally.first_pass if whole else length)
    if often is not None:
        test.note(often)
    return test.curve


def _fit(
    model: Any,
    test: RangeTest,
    bar: Progress,
    tally: Tally,
    optimizer: Any,
    data: dict[str, Any],
) -> tuple[list[str], int | None]:
    """Train a model, and restore everything.

    Returns:
        What the reader of the curve should know, and the number of batches of the data.
    """
    snapshot = snapshot_of(model, data["x"], top_optimizers(model, optimizer))
    with (
        RestoreOnExit(snapshot, Snapshot([("model", model)], FIT)) as end,
        warnings.catch_warnings(),
    ):
        snapshot.suspend()
        if model.steps_per_execution != 1:
            # Callbacks hear of whole executions only, and what is traced runs several steps.
            model.steps_per_execution, model.train_function = 1, None
        # The epochs that it speaks of are not the user's.
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        with DataReading(**data) as reading:
            once = isinstance(data["x"], GeneratorType)
            driver = SweepDriver(
                test, bar, tally, once=once, around=reading.around, optimizer=optimizer
            )
            length = reading.adapter.num_batches
            try:
                model.fit(
                    reading.adapter,
                    epochs=10**6,
                    verbose=0,
                    callbacks=[driver],
                    steps_per_epoch=data.get("steps_per_epoch"),
                )
            except (UnboundLocalError, StopIteration):  # of the JAX trainer, without a batch
                if tally.batches:
                    raise
    return end.notes, length
