"""LR range test for Keras: in one call, or as a callback of `fit`."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from types import GeneratorType
from typing import Any

import keras

from lrsched._interrupt import WholeEnd, deferred_interrupt
from lrsched._progress import Progress
from lrsched.loss_curve import LossCurve
from lrsched.range_test import RangeTest
from lrsched.schedule import Schedule
from lrsched_tf.data import READ_AHEAD, is_drawn_ahead, is_empty, lasting_change
from lrsched_tf.frames import warn_user
from lrsched_tf.guard import clear_leftovers
from lrsched_tf.install import check_unscheduled, leaf_optimizers
from lrsched_tf.snapshot import DataSnapshot, DataState
from lrsched_tf.trial import Trial

# Arguments of `fit` that a range test sets itself.
OWN_ARGUMENTS = ("epochs", "callbacks", "verbose", "initial_epoch")
NO_BATCHES = "x must give batches, got none (a generator can be read only once)"
FIT_ENDED = "fit ended before the sweep (give it more epochs)"
EPOCHS_LIMITED = "fit ended before the sweep (keras.config.set_max_epochs limits it)"
TOLD_OF_END = (
    "The on_epoch_end of the data has been called once more than without the range test, by fit "
    "before its callbacks (lr_find undoes that)."
)
READ_BEFORE = "Keras read batches of the data before the range test began (lr_find undoes that)."


class LRFinder(Trial):
    """Turns a `fit` into an LR range test: the learning rate grows, the model is put back.

    The loss of each batch is kept as it is, not as the running mean over the epoch that Keras
    reports. `fit` stops when the sweep ends or the loss diverges; give it enough epochs. At its
    end, after all other callbacks, the model, its optimizer and the random number generators are
    as they were. An exception or Ctrl-C in a step, the data or a callback makes no difference;
    where it cannot be seen, `restore` puts them back, or the next call of `fit`, `evaluate`,
    `predict`, `compile`, `save`, `get_weights`, `set_weights` and the like does first. So is the
    data, as it was when the training began; `fit` has told a PyDataset of the end of an epoch by
    then. What cannot be put back is warned of.

    Args:
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        progress: Show a progress bar (needs tqdm).

    Raises:
        TypeError: an argument of the wrong kind; from `fit`, a model without a Keras optimizer.
        ValueError: an argument out of range; from `fit`, a model that is not built, that runs
            several steps per execution, whose optimizer makes more or fewer updates than one for
            each batch, or whose `train_step` leaves them to a `tf.function`.

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
        test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
        super().__init__(test, Progress(len(test.planned_lr), "LR range test", progress))

    @property
    def curve(self) -> LossCurve:
        """The losses recorded so far, with the lr that each update used."""
        return self._test.curve

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        data = self._guard.of_fit("x") if self._guard is not None else None
        self._hold(DataSnapshot(data))
        for change in (lasting_change(data), _told_of_end(data)):
            if change is not None:
                self.warn(change)
        if _is_read_before(data):
            self._test.note(READ_BEFORE)
        if is_drawn_ahead(data):
            self._test.note(READ_AHEAD)

    def finish(self) -> None:
        self._test.stop(FIT_ENDED)
        super().finish()

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
    progress: bool = False,
    **data: Any,
) -> LossCurve:
    """Find a learning rate: train for `num_steps` updates with a growing one, then undo it all.

    Afterwards the model, its optimizer, its history and the random number generators are as they
    were, also after an exception or Ctrl-C; what differs, if anything does, is warned of. What
    cannot be put back of the data is warned of before the start: the batches of a generator, and
    the order of a tf.data pipeline that shuffles anew from a seed at each reading. That, and data
    that was read more than once, are in the `notes` of the curve.

    Args:
        model: A compiled, built Keras model.
        x: As for `fit`: arrays, a tf.data.Dataset, a PyDataset, a generator ...
        y: As for `fit`.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10; data that ends sooner is read again.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        progress: Show a progress bar over all updates (needs tqdm).
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
    own = sorted(name for name in data if name in OWN_ARGUMENTS or name.startswith("validation"))
    if own:
        raise ValueError(f"data must be arguments of fit about the training data, got {own}")
    test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
    leaves = leaf_optimizers(model)
    clear_leftovers(model)
    check_unscheduled(leaves)
    if is_empty(x):
        raise ValueError(NO_BATCHES)
    lasting, once = lasting_change(x), isinstance(x, GeneratorType)
    if lasting is not None:
        warn_user(lasting)
        test.note(lasting)
    if is_drawn_ahead(x):
        test.note(READ_AHEAD)

    with (
        Progress(len(test.planned_lr), "LR range test", progress) as bar,
        _Undoing(model, Trial(test, bar, once)) as undoing,
    ):
        trial, state = undoing.trial, undoing.begin(x)
        start = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: state.begin_training())
        try:
            model.fit(x, y, epochs=10**6, verbose=0, callbacks=[start, trial], **data)
        except (UnboundLocalError, StopIteration):  # of the JAX trainer, where there is no batch
            if trial.batches:
                raise
    if not trial.batches:
        raise ValueError(NO_BATCHES)
    test.stop(EPOCHS_LIMITED)
    if trial.passes > 1 and not data.get("steps_per_epoch"):
        length = trial.first_pass
        test.note(f"The data was read {trial.passes} times (number of batches: {length}).")
    return test.curve


def _told_of_end(data: Any) -> str | None:
    own = isinstance(data, keras.utils.PyDataset) and (
        type(data).on_epoch_end is not keras.utils.PyDataset.on_epoch_end
    )
    return TOLD_OF_END if own else None


def _is_read_before(data: Any) -> bool:
    """Whether Keras looks at batches of data, a torch DataLoader for one, before its callbacks."""
    is_loader = isinstance(data, keras.utils.PyDataset) or hasattr(data, "dataset")
    return is_loader and keras.backend.backend() == "tensorflow"


class _Undoing(WholeEnd):
    """Puts everything back at the end of the block around a `fit`.

    Args:
        model: A compiled model.
        trial: Runs the `fit`, and has the state of the model.
    """

    def __init__(self, model: Any, trial: Trial) -> None:
        super().__init__()
        self._model, self.trial = model, trial
        self._end = ExitStack()

    def begin(self, data: Any) -> DataState:
        """Have one update per execution, and hold what `fit` does to data and attributes."""
        model, attributes = self._model, vars(self._model)
        with deferred_interrupt():
            self._end.callback(_put_attributes_back, attributes, dict(attributes))
            if model.steps_per_execution != 1:
                # Callbacks hear of whole executions only, and what is traced runs several steps.
                model.steps_per_execution, model.train_function = 1, None
            self._end.enter_context(warnings.catch_warnings())
            # The epochs that it speaks of are not the user's.
            warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
            state = DataState(model, data)
            self._end.callback(lambda: self.trial.put_back(state.for_next_fit()))
        return state

    def _put_back(self) -> None:
        with self._end:
            self.trial.restore()


def _put_attributes_back(attributes: dict[str, Any], kept: dict[str, Any]) -> None:
    """Give a model the attributes back that `fit` sets, and its compiled function."""
    for name in ("history", "stop_training", "steps_per_execution", "train_function"):
        if name in kept:
            attributes[name] = kept[name]
        else:
            attributes.pop(name, None)
