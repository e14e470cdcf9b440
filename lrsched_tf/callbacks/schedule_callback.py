"""The callback that drives `fit` by schedules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from lrsched import Schedule
from lrsched._validate import check_bool, check_choice
from lrsched.rewind.restore_on_exit import DeferredInterrupt
from lrsched_tf.callbacks.hooks import SubclassHooks, needed
from lrsched_tf.callbacks.recipe import FitLength, Recipe, RunLength, Schedules, given_schedules
from lrsched_tf.callbacks.run_warnings import RunWarnings
from lrsched_tf.compiled.installation import (
    NO_UPDATE,
    Installation,
    check_unscheduled,
    check_unscheduled_in_fit,
)
from lrsched_tf.compiled.optimizers import (
    HYPERPARAMETERS,
    OwnRates,
    leaf_optimizers,
    naming_others,
    other_optimizers,
    scales_loss,
)
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.fit_guard import clean_up_aborted_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COUNTS = ("updates", "batches")


class ScheduleCallback(SubclassHooks):
    """Drives the learning rate, and the momentum, of `model.fit` by schedules.

    Both are computed inside the compiled step from the optimizer's own counter, so each update
    gets its exact value, also with `jit_compile` and `steps_per_execution`, and nothing waits for
    the host. The optimizer keeps its own lr and momentum, in saved models too, and trains with
    them again after `fit`; only its `learning_rate` shows that of the last update meanwhile.

    `logs`, and so `History`, get `learning_rate` and `momentum` of the last update of each epoch.
    Put this callback before those that read `logs`, such as CSVLogger.

    Args:
        lr: Schedule of the learning rate; None leaves it alone.
        momentum: Schedule of `momentum` (SGD, RMSprop, Muon) or `beta_1` (the Adam family, Lion),
            with values in [0, 1); None leaves it alone.
        restart: Each `fit` starts at step 0, or with `initial_epoch` at the step where that epoch
            starts. False takes the optimizer's own count of updates, so a second `fit` goes on
            where the first one ended, also from a loaded model.
        count: With gradient accumulation, whether steps of the schedule are "updates" or
            "batches".
        steps_per_epoch: Batches per epoch, for data of unknown length; None takes them from `fit`.
        log_batches: Put `learning_rate` and `momentum` into the `logs` of every batch as well.
            Updates that loss scaling skips are counted in these, for want of a look at the device.
        optimizer: To drive, or a list of them, where `train_step` updates others than the one that
            the model is compiled with; None stands for that one.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: neither `lr` nor `momentum`, a momentum outside [0, 1), or an unknown `count`.
            From `fit`: an optimizer without momentum although one was given, a second schedule
            for the same optimizer, a `steps_per_epoch` that `fit` contradicts, or a `train_step`
            that leaves the update to a `tf.function`.

    Example:
        >>> warmup = lrsched.linear(0.0, 1e-3, 500).then(lrsched.cosine(1e-3, 0.0, 9500))
        >>> model.fit(x, y, epochs=10, callbacks=[ScheduleCallback(lr=warmup)])
    """

    def __init__(
        self,
        lr: Schedule | None = None,
        momentum: Schedule | None = None,
        *,
        restart: bool = True,
        count: str = "updates",
        steps_per_epoch: int | None = None,
        log_batches: bool = False,
        optimizer: Any = None,
    ) -> None:
        schedules = given_schedules(lr=lr, momentum=momentum)
        if not schedules:
            raise ValueError("lr or momentum must be given, got neither")
        for name, schedule in schedules.items():
            HYPERPARAMETERS[name].check_schedule(schedule)
        self._configure(
            schedules,
            restart=restart,
            count=count,
            steps_per_epoch=steps_per_epoch,
            log_batches=log_batches,
            optimizer=optimizer,
        )

    def _configure(
        self,
        schedules: Schedules | Recipe,
        *,
        restart: bool,
        count: str,
        steps_per_epoch: int | None,
        log_batches: bool,
        optimizer: Any = None,
        learn: bool = False,
    ) -> None:
        """Initialize the callback; called by its constructor, and by those of subclasses.

        Args:
            schedules: Checked, or a recipe that makes them as soon as `fit` knows its length.
            restart, count, steps_per_epoch, log_batches, optimizer: As for the class.
            learn: As for `FitLength`.
        """
        super().__init__()
        self._plan(schedules)
        self._restart = check_bool("restart", restart)
        self._count_batches = check_choice("count", count, COUNTS) == "batches"
        self._length = FitLength(steps_per_epoch, learn)
        self._log_batches = check_bool("log_batches", log_batches)
        self._given_optimizer = optimizer
        if optimizer is not None:
            leaf_optimizers(None, optimizer)
        # On the instance, since a callback that has this hook keeps Keras from running ahead of the
        # device, where it could; with TensorFlow it never does.
        if self._log_batches:
            self.on_train_batch_end = self._log_batch
        elif keras.backend.backend() == "tensorflow":
            self.on_train_batch_end = self._count_batch
        self._reset()

    def _plan(self, schedules: Schedules | Recipe) -> None:
        # Empty as long as their length is not known.
        self._schedules: Schedules = schedules if isinstance(schedules, Mapping) else {}
        self._recipe: Recipe | None = None if isinstance(schedules, Mapping) else schedules

    def _reset(self) -> None:
        self._installation: Installation | None = None
        self._epoch: int | None = None
        self._first_step: int | None = None
        self._step = self._batches = self._batches_of_epoch = 0
        self._warnings = RunWarnings(type(self).__name__)

    @property
    def lr(self) -> Schedule | None:
        """Schedule of the learning rate; None leaves it alone.

        Raises:
            AttributeError: its length is that of a `fit`, which has not begun.
        """
        return self._schedule_of("lr")

    @property
    def momentum(self) -> Schedule | None:
        """Schedule of the momentum; None leaves it alone.

        Raises:
            AttributeError: its length is that of a `fit`, which has not begun.
        """
        return self._schedule_of("momentum")

    def _schedule_of(self, name: str) -> Schedule | None:
        if not self._schedules:
            raise AttributeError(
                f"{type(self).__name__} must know the length of fit to have a schedule of {name}, "
                "got none before fit"
            )
        return self._schedules.get(name)

    @needed
    def on_train_begin(self, logs: Any = None) -> None:
        self._begin(self.model)

    def _begin(self, model: Any) -> None:
        self._reset()
        self._length.begin(self.params)
        self._optimizers = leaf_optimizers(model, self._given_optimizer)
        self._own_lrs = OwnRates(self._optimizers)

    @needed
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self._epoch:
            self.remove()
            raise ValueError(
                f"callbacks must hold each callback once, got one {type(self).__name__} twice"
            )
        if self._epoch == 0 and self._length.is_learning:
            self._length.learnt = self._batches - self._counters[0].origin
            self.remove()
        self._epoch, self._batches_of_epoch = epoch, 0
        # Not in on_train_begin: a BackupAndRestore later in the list has not loaded by then.
        if self._installation is None:
            check_unscheduled_in_fit(self.model, self._optimizers)
            with DeferredInterrupt():  # or nothing would remove what is not guarded yet
                self._installation = self._install(self.model, epoch)
                self._installation.guard(self._installation.remove)

    def _install(self, model: Any, epoch: int) -> Installation:
        """Install the schedules at the start of an epoch of a run, with the length that is left."""
        if not self._optimizers:
            raise ValueError(
                "model must be built for a MultiOptimizer that chooses among optimizers by the "
                "variable, got one without weights (give it an Input, or call it on a batch)"
            )
        steps, epochs = self._length.batches_per_epoch(), self._length.epochs
        if steps is None and epoch > 0 and self._restart:
            raise ValueError(
                "steps_per_epoch must be given to start at a later epoch with data of unknown "
                f"length, got initial_epoch={epoch} (or pass restart=False)"
            )
        first_batch = epoch * (steps or 0) if self._restart else None
        self._counters = [
            StepCounter(optimizer, first_batch, self._count_batches)
            for optimizer in self._optimizers
        ]
        counter, end = self._counters[0], None
        if steps is not None and epochs is not None:
            end = counter.step_at(counter.batches() + (epochs - epoch) * steps)
        if self._recipe is not None:
            length = RunLength(end, steps and steps / counter.batches_per_step)
            self._schedules = self._length.schedules(self._recipe, length)
        if end is not None:
            self._warnings.warn_if_shorter(self._schedules, end)
        with naming_others(model, self._given_optimizer):
            installation = Installation(model, self._counters, self._schedules)
        self._count(installation)
        if self._first_step is None:
            self._first_step = self._step
        return installation

    def _count(self, installation: Installation) -> None:
        self._batches = installation.batches()
        self._step = self._counters[0].step_at(self._batches)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._check_at_work()
        super().on_train_batch_begin(batch, logs)

    def _check_at_work(self) -> Installation:
        """Return the installation; check that nothing else has begun to train the model."""
        installation = self._installation
        if installation is None or not installation.active:
            raise RuntimeError(
                f"{type(self).__name__} works within model.fit, which a fit or train_on_batch of "
                "the same model inside of it ends; in a loop over train_on_batch use "
                "`with callback.applied_to(model):`"
            )
        return installation

    def _count_batch(self, batch: int, logs: Any = None) -> None:
        self._batches_of_epoch = batch + 1
        self._call_own(batch, logs)

    def _call_own(self, batch: int, logs: Any) -> None:
        # The hook of a subclass, which the attribute of the instance hides from Keras.
        getattr(type(self), "on_train_batch_end")(self, batch, logs)  # noqa: B009

    def _log_batch(self, batch: int, logs: Any = None) -> None:
        steps, last = self._length.batches_per_epoch(), batch
        if steps is not None:  # which an execution of several steps may go past
            last = min(batch, steps - 1)
        self._batches_of_epoch = last + 1
        if logs is not None:
            logs.update(self._values(self._batches + last))
        self._call_own(batch, logs)

    @needed
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        installation = self._check_at_work()
        self.model  # noqa: B018 -- the property brings the state of JAX home
        self._take_back()
        before = self._batches
        self._count(installation)
        self._warn_if_overwritten()
        if self._batches == before:
            remedy = other_optimizers(self.model, self._given_optimizer)
            self._warnings.warn(f"{NO_UPDATE} ({remedy})")
            return
        installation.warn_of_traces_from_outside(self._warnings.warn)
        self._warnings.warn_if_shorter(self._schedules, self._step)
        if logs is not None:
            logs.update(self._values(self._batches - 1))

    def _take_back(self) -> None:
        """Correct the count where TensorFlow has counted a step past the end of the data."""
        known, trained = self._length.known, self._batches_of_epoch
        if keras.backend.backend() == "tensorflow" and (known is None or trained < known):
            for counter in self._counters:
                begun = counter.origin - self._counters[0].origin + self._batches
                counter.take_back(begun + trained)

    def _values(self, batches: int) -> dict[str, float]:
        """Return the values of the batch before which the optimizer had counted so many."""
        step = max(self._counters[0].step_at(batches), 0)
        return {
            HYPERPARAMETERS[name].log_name: schedule(step)
            for name, schedule in self._schedules.items()
        }

    @needed
    def on_train_end(self, logs: Any = None) -> None:
        self.remove()
        self._restore_lrs()
        is_stopped = getattr(self.model, "stop_training", False)  # not there in loops of others
        if self._restart and self._step and not is_stopped:
            state = bool(self._recipe), scales_loss(self.model, self._given_optimizer)
            self._warnings.warn_if_unfinished(self._schedules, self._step, *state)

    def remove(self) -> None:
        """Take the schedules out of the model, as after a `fit` that an exception has ended.

        Needed where the exception came from outside of a training step, and the model is used
        without another `fit` first.
        """
        if self._installation is not None:
            self._installation.remove()
            self._installation = None

    @contextmanager
    def applied_to(self, model: Any) -> Iterator[ScheduleCallback]:
        """Schedule a loop of your own, over `train_on_batch` or over `optimizer.apply`.

        The schedules are gone at the end, also after an exception. A step that the loop compiles
        itself must be traced inside the `with` block; one that was traced before is warned of.

        Args:
            model: Compiled, or any with `optimizer=` in the callback; or an optimizer itself.

        Example:
            >>> with OneCycle(max_lr=0.1, total_steps=len(batches)).applied_to(model):
            ...     for x, y in batches:
            ...         model.train_on_batch(x, y)
        """
        self.set_params(None)  # those are of an earlier fit
        owner = None if isinstance(model, keras.optimizers.Optimizer) else model
        clean_up_aborted_fit(owner)
        self._begin(model)
        check_unscheduled(self._optimizers)
        installation = self._install(owner, epoch=0)
        try:
            with installation.apart():
                yield self
        finally:
            self._count(installation)
            installation.remove()
        installation.warn_of_traces_from_outside(self._warnings.warn)

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The values of the updates of the last `fit`, up to the end of its last whole epoch.

        "step", "learning_rate" and "momentum", each of shape [updates]; those that are scheduled.
        """
        steps = np.arange(self._first_step or 0, self._step)
        values = {
            HYPERPARAMETERS[name].log_name: schedule(steps)
            for name, schedule in self._schedules.items()
        }
        return {"step": steps, **values}

    def plot(self, ax: Axes | None = None, *, num_steps: int | None = None) -> Axes:
        """Draw the lr on the left axis and the momentum on the right.

        Args:
            ax: Matplotlib Axes to draw on; None makes a figure. Nothing is shown.
            num_steps: How many steps; None stands for the length of the schedule, or for the
                updates made where it is endless.

        Raises:
            ValueError: the length is not known yet.
        """
        from lrsched.engine.plot import plot_lr_momentum

        if not self._schedules:
            raise ValueError("total_steps must be given to plot before fit, got None")
        (name, first), *others = self._schedules.items()
        if num_steps is None and first.total_steps is None:
            num_steps = self._step or None
        if name != "lr":
            return first.plot(ax, num_steps=num_steps, label=name)
        left = first.values(num_steps)
        right = [schedule.values(len(left)) for _, schedule in others]
        return plot_lr_momentum(left, right[0] if right else None, ax)

    def _restore_lrs(self) -> bool:
        """Restore the user's learning rates; returns whether something else had set them."""
        return "lr" in self._schedules and self._own_lrs.restore()

    def _warn_if_overwritten(self) -> None:
        if self._restore_lrs():
            self._warnings.warn(OwnRates.overwritten)
