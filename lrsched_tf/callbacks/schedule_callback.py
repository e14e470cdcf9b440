"""The callback that drives `fit` by schedules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from lrsched import Schedule
from lrsched._validate import check_bool, check_choice, check_int, check_momentum, check_type
from lrsched._warn import warn_user
from lrsched.rewind.interrupt import DeferredInterrupt
from lrsched_tf.compiled.installation import Installation, check_unscheduled_in_fit
from lrsched_tf.compiled.optimizers import OwnRates, leaf_optimizers
from lrsched_tf.compiled.step_counter import StepCounter
from lrsched_tf.fit_guard import clean_up_aborted_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COUNTS = ("updates", "batches")


class ScheduleCallback(keras.callbacks.Callback):  # type: ignore[misc]
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
    ) -> None:
        super().__init__()
        if lr is None and momentum is None:
            raise ValueError("lr or momentum must be given, got neither")
        if lr is not None:
            check_type("lr", lr, Schedule, "for example lrsched.one_cycle(...)")
        if momentum is not None:
            _check_momentum_schedule(momentum)
        self.lr, self.momentum = lr, momentum
        self._restart = check_bool("restart", restart)
        self._count_batches = check_choice("count", count, COUNTS) == "batches"
        if steps_per_epoch is not None:
            steps_per_epoch = check_int("steps_per_epoch", steps_per_epoch, 1)
        self._steps_per_epoch = steps_per_epoch
        self._log_batches = check_bool("log_batches", log_batches)
        # On the instance, since a callback that has this hook keeps Keras from running ahead of the
        # device, where it could; with TensorFlow it never does.
        if self._log_batches:
            self.on_train_batch_end = self._log_batch
        elif keras.backend.backend() == "tensorflow":
            self.on_train_batch_end = self._count_batch
        self._begin()

    def _begin(self) -> None:
        self._installation: Installation | None = None
        self._epoch: int | None = None
        self._first_step: int | None = None
        self._step = self._batches = self._batches_of_epoch = 0
        self._warned: set[str] = set()

    def _schedules(
        self, total_steps: int | None, steps_per_epoch: float | None
    ) -> tuple[Schedule | None, Schedule | None]:
        """Lr and momentum for a run of so many updates, None where that is not known."""
        return self.lr, self.momentum

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin()
        self._own_lrs = OwnRates(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self._epoch:
            self.remove()
            raise ValueError(
                f"callbacks must hold each callback once, got one {type(self).__name__} twice"
            )
        self._epoch = epoch
        # Not in on_train_begin: a BackupAndRestore later in the list has not loaded by then.
        if self._installation is None:
            self._install(epoch)
        self._batches_of_epoch = 0

    def _install(self, epoch: int) -> None:
        steps, epochs = self._batches_per_epoch(), (self.params or {}).get("epochs")
        if steps is None and epoch > 0 and self._restart:
            raise ValueError(
                "steps_per_epoch must be given to start at a later epoch with data of unknown "
                f"length, got initial_epoch={epoch} (or pass restart=False)"
            )
        left = None if steps is None or epochs is None else (epochs - epoch) * steps
        check_unscheduled_in_fit(self.model)
        with DeferredInterrupt():  # or nothing would take out what is not guarded yet
            self._installation = self._put_into(self.model, epoch * (steps or 0), left, steps)
            self._installation.guard(self._installation.remove)

    def _known_steps(self) -> int | None:
        """Batches per epoch, where `fit` knows how many."""
        steps: int | None = (self.params or {}).get("steps")
        return steps

    def _batches_per_epoch(self) -> int | None:
        known, given = self._known_steps(), self._steps_per_epoch
        if known is not None and given is not None and known != given:
            raise ValueError(
                f"steps_per_epoch must be that of fit, got {given} where fit makes {known} steps"
            )
        return given or known

    def _put_into(
        self, model: Any, first_batch: int, left: int | None, steps_per_epoch: int | None
    ) -> Installation:
        """Install at batch `first_batch` of a run that has `left` batches to go."""
        leaves = leaf_optimizers(model)
        if not leaves:
            raise ValueError(
                "model must be built for a MultiOptimizer that chooses among optimizers by the "
                "variable, got one without weights (give it an Input, or call it on a batch)"
            )
        first = first_batch if self._restart else None
        self._counters = [StepCounter(leaf, first, self._count_batches) for leaf in leaves]
        counter = self._counters[0]
        end = None if left is None else counter.step_at(counter.batches() + left)
        per_epoch = steps_per_epoch and steps_per_epoch / counter.batches_per_step
        self.lr, self.momentum = self._schedules(end, per_epoch)
        if end is not None:
            self._warn_if_shorter(end)
        installation = Installation(model, self._counters, self.lr, self.momentum)
        self._count(installation)
        if self._first_step is None:
            self._first_step = self._step
        return installation

    def _count(self, installation: Installation) -> None:
        self._batches = installation.batches()
        self._step = self._counters[0].step_at(self._batches)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._check_at_work()

    def _check_at_work(self) -> Installation:
        """Return the installation; see that nothing else has begun to train the model."""
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

    def _log_batch(self, batch: int, logs: Any = None) -> None:
        steps = self._batches_per_epoch()
        if steps is not None:  # which an execution of several steps may go past
            batch = min(batch, steps - 1)
        self._count_batch(batch)
        if logs is not None:
            logs.update(self._values(self._batches + batch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        installation = self._check_at_work()
        self.model  # noqa: B018 -- the property brings the state of JAX home
        self._take_back()
        before = self._batches
        self._count(installation)
        self._warn_if_overwritten()
        if self._batches == before:
            self._warn("the optimizer of the model made no update, so its schedule had no effect")
            return
        self._warn_if_shorter(self._step)
        if logs is not None:
            logs.update(self._values(self._batches - 1))

    def _take_back(self) -> None:
        """Have the optimizer forget a step that TensorFlow counted past the end of the data."""
        if keras.backend.backend() == "tensorflow" and self._known_steps() is None:
            for counter in self._counters:
                counter.take_back(self._batches + self._batches_of_epoch)

    def _values(self, batches: int) -> dict[str, float]:
        """Lr and momentum of the batch before which the optimizer had counted so many."""
        step = max(self._counters[0].step_at(batches), 0)
        named = {"learning_rate": self.lr, "momentum": self.momentum}
        return {name: schedule(step) for name, schedule in named.items() if schedule is not None}

    def on_train_end(self, logs: Any = None) -> None:
        self.remove()
        self._put_lrs_back()

    def remove(self) -> None:
        """Take the schedules out of the model, as after a `fit` that an exception has ended.

        Needed where the exception came neither from a training step nor from this callback, and
        the model is used without another `fit` first.
        """
        if self._installation is not None:
            self._installation.remove()
            self._installation = None

    @contextmanager
    def applied_to(self, model: Any) -> Iterator[ScheduleCallback]:
        """Schedule a loop of your own, over `train_on_batch` or over `optimizer.apply`.

        The schedules are gone at the end, also after an exception. A step that the loop compiles
        itself must be traced inside the `with` block.

        Example:
            >>> with OneCycle(max_lr=0.1, total_steps=len(batches)).applied_to(model):
            ...     for x, y in batches:
            ...         model.train_on_batch(x, y)
        """
        self._begin()
        self.set_params(None)  # those are of an earlier fit
        clean_up_aborted_fit(model)
        installation = self._put_into(model, 0, None, self._steps_per_epoch)
        try:
            yield self
        finally:
            self._count(installation)
            installation.remove()

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The values of the updates of the last `fit`, up to the end of its last whole epoch.

        "step", "learning_rate" and "momentum", each of shape [updates]; those that are scheduled.
        """
        steps = np.arange(self._first_step or 0, self._step)
        named = {"learning_rate": self.lr, "momentum": self.momentum}
        values = {name: schedule(steps) for name, schedule in named.items() if schedule is not None}
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

        first = self.lr if self.lr is not None else self.momentum
        if first is None:
            raise ValueError("total_steps must be given to plot before fit, got None")
        if num_steps is None and first.total_steps is None:
            num_steps = self._step or None
        if self.lr is None:
            return first.plot(ax, num_steps=num_steps, label="momentum")
        lr = self.lr.values(num_steps)
        momentum = None if self.momentum is None else self.momentum.values(len(lr))
        return plot_lr_momentum(lr, momentum, ax)

    def _warn(self, message: str) -> None:
        """Once a run."""
        if message not in self._warned:
            self._warned.add(message)
            warn_user(f"{type(self).__name__}: {message}")

    def _warn_if_shorter(self, end: int) -> None:
        named = {"lr": self.lr, "momentum": self.momentum}
        totals = {name: schedule.total_steps for name, schedule in named.items() if schedule}
        ends = {name: total for name, total in totals.items() if total and total < end}
        if ends:
            self._warn(
                f"the schedule of {' and '.join(ends)} ends at step {min(ends.values())}, and its "
                "last value holds from there"
            )

    def _put_lrs_back(self) -> bool:
        return self.lr is not None and self._own_lrs.put_back(self.model)

    def _warn_if_overwritten(self) -> None:
        if self._put_lrs_back():
            self._warn(OwnRates.overwritten)


def _check_momentum_schedule(momentum: Any) -> None:
    check_type("momentum", momentum, Schedule, "for example lrsched.one_cycle_momentum(...)")
    for segment in momentum.segments:
        check_momentum("momentum", segment.start_value)
        check_momentum("momentum", segment.end_value)
