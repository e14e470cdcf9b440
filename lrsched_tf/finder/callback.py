"""LR range test of a Keras model, as a callback of the user's own `fit`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import keras

from lrsched._names import RANGE_TEST, TEST, answers_to, no_attribute
from lrsched._progress import Progress
from lrsched._warn import warn_user
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED, RangeTest, readings_note
from lrsched.rewind.restore_on_exit import DeferredInterrupt, RestoreOnExit
from lrsched_tf.callbacks.hooks import SubclassHooks, needed
from lrsched_tf.compiled.optimizers import OwnRates, leaf_optimizers, top_optimizers
from lrsched_tf.finder.driver import SweepDriver, Tally
from lrsched_tf.fit_guard import FitGuard
from lrsched_tf.patch import patch_methods
from lrsched_tf.rewind.roots import snapshot_of

FIT_ENDED = "fit ended before the sweep (give it more epochs)"
DATA = (
    "LRFinder does not see the data: it is as fit has left it, and threads that read ahead may "
    "draw random numbers after the end (lr_find sees to both)."
)
LATE = (
    "The range test of a fit that broke off has put everything back just now, what was done to the "
    "model since with it (call finder.restore() right after such a fit)."
)


class LRFinder(SubclassHooks, SweepDriver):
    """Turns a `fit` into an LR range test: the learning rate grows, the model is restored.

    The loss of each batch is kept as it is, not as the running mean over the epoch that Keras
    reports. `fit` stops when the sweep ends or the loss diverges; give it enough epochs. At its
    end, after all other callbacks, the model, its optimizer and the random number generators are
    restored. The data is not: `lr_find` does that. What has changed and cannot be is warned of.

    An exception or Ctrl-C in a training step makes no difference. After one from elsewhere,
    `restore` restores everything, or the next `fit`, `train_on_batch` or `compile` does so first;
    `evaluate`, `predict` and `save` see the model as the `fit` has left it.

    Args:
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        progress: Show a progress bar (needs tqdm).
        optimizer: As for `lr_find`.

    Raises:
        TypeError: an argument of the wrong kind; from `fit`, a model without a Keras optimizer.
        ValueError: an argument out of range; from `fit`, a model that is not built, that runs
            several steps per execution, whose optimizer makes more or fewer updates than one for
            each batch, or whose `train_step` leaves them to a `tf.function`.
        RuntimeError: from `fit`, something else has trained the model within it.

    Example:
        >>> finder = LRFinder(num_steps=300)
        >>> model.fit(x, y, epochs=20, verbose=0, callbacks=[finder])
        >>> print(finder.curve.suggest())

    Source: Smith 2015, arXiv:1506.01186.
    """

    @answers_to(RANGE_TEST)
    def __init__(
        self,
        start_lr: float = DEFAULT_SWEEP[0],
        end_lr: float = DEFAULT_SWEEP[1],
        num_steps: int = DEFAULT_SWEEP[2],
        *,
        sweep: str | Schedule = TWO_SPEED,
        stop_factor: float | None = 2.0,
        progress: bool = False,
        optimizer: Any = None,
    ) -> None:
        test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
        bar = Progress(len(test.planned_lr), "LR range test", progress)
        super().__init__(test, bar, Tally(), optimizer=optimizer)
        if optimizer is not None:
            leaf_optimizers(None, optimizer)
        self._end, self._overwritten = RestoreOnExit(), False
        self._guard: FitGuard | None = None
        self._unhook: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, TEST)

    @property
    def curve(self) -> LossCurve:
        """The losses recorded so far, with the lr that each update used."""
        return self._test.curve

    @needed
    def on_train_begin(self, logs: Any = None) -> None:
        if not self._test.running or self._test.recorded:
            raise ValueError("callbacks must hold a new LRFinder for every fit, got a used one")
        self._check()
        self._thread = threading.get_ident()
        self._test.note(DATA)
        self._end.parts.append(
            snapshot_of(self.model, None, top_optimizers(self.model, self._optimizer))
        )
        with DeferredInterrupt():  # or nothing would take out what is not guarded yet
            self._install()
            self._unhook = self._after_others(vars(self._model).get("history"))

    def _install(self) -> None:
        super()._install()
        if self._installation is not None:
            self._guard = self._installation.guard(self.restore, self._restore_late)

    def _after_others(self, history: Any) -> Callable[[], object] | None:
        """Have the end come with that of the `History` of this `fit`: Keras calls it the last.

        Or a callback that sets the best weights might come later.
        """
        if self.params is None or getattr(history, "params", None) is not self.params:
            return None
        on_train_end = history.on_train_end

        def end(logs: Any = None) -> None:
            on_train_end(logs)
            self._finish()

        return patch_methods(history, {"on_train_end": end})

    def on_test_begin(self, logs: Any = None) -> None:
        self._check_training()

    def on_predict_begin(self, logs: Any = None) -> None:
        self._check_training()

    def _check_training(self) -> None:
        """Refuse `evaluate` and `predict` outside of a `fit`, which validates with the former."""
        if self._guard is None and self._test.running:
            raise ValueError(
                "LRFinder must be a callback of fit, got evaluate or predict, which train nothing"
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._check_alone()
        super().on_train_batch_begin(batch, logs)

    @needed
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if threading.get_ident() != self._thread:
            raise ValueError("callbacks must be a list, got a callback (pass callbacks=[finder])")
        with self._check_alone():
            super().on_train_batch_end(batch, logs)

    @needed
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self._check_alone():
            super().on_epoch_end(epoch, logs)
            # Each time, as the last one may happen to be the user's.
            self._restore_lrs()

    def _check_alone(self) -> FitGuard:
        """Return the guard; see that nothing else has begun to train the model."""
        if self._guard is None:
            raise RuntimeError(
                "LRFinder must be alone in training the model, got a fit or train_on_batch of the "
                "same model within its fit, which has ended the range test"
            )
        return self._guard

    def _restore_lrs(self) -> None:
        self.model  # noqa: B018 -- the property brings the state of JAX home
        self._overwritten |= self._own_lrs.restore()

    @needed
    def on_train_end(self, logs: Any = None) -> None:
        if self._unhook is None:
            self._finish()

    def _finish(self) -> None:
        """Restore everything at the end of `fit`."""
        too_short = self._test.running and not getattr(self._model, "stop_training", False)
        self._test.stop(FIT_ENDED)
        note = readings_note(self._tally.passes, self._tally.first_pass)
        if note is not None:
            self._test.note(note)
        with DeferredInterrupt():
            if self._guard is not None:
                self._restore_lrs()
            self.restore()
        if too_short:
            warn_user(f"LRFinder: {FIT_ENDED}, which has {len(self._test.planned_lr)} steps")
        if self._overwritten:
            self._warn(f"The range test: {OwnRates.overwritten}")

    def restore(self) -> None:
        """Restore everything, and warn of what could not be; may be called again."""
        with DeferredInterrupt():
            if self._unhook is not None:
                self._unhook()
            if self._installation is not None:
                self._installation.remove()
            self._guard = None
            if self._end.parts and keras.backend.backend() == "jax":
                # Or `fit` would take it home, and overwrite what is restored.
                self._model._jax_state = None
            with self._end:
                pass
            self._bar.__exit__(None, None, None)
        for note in self._end.notes:
            self._test.note(note)

    def _restore_late(self) -> None:
        self.restore()
        self._warn(LATE)

    def _warn(self, sentence: str) -> None:
        """Tell the user, and the reader of the curve."""
        self._test.note(sentence)
        warn_user(sentence)
