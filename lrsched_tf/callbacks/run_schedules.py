"""The schedules of a callback: which they are, their values, and changes of mind in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrsched import Policy, Schedule
from lrsched._validate import check_at_most
from lrsched.rewind.restore_on_exit import DeferredInterrupt
from lrsched_tf.callbacks.hooks import SubclassHooks
from lrsched_tf.callbacks.recipe import FitLength, Recipe, Schedules
from lrsched_tf.callbacks.run_warnings import RunWarnings
from lrsched_tf.callbacks.values import plot_schedules, values_of
from lrsched_tf.compiled.installation import Installation
from lrsched_tf.compiled.step_counter import StepCounter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


class RunSchedules(SubclassHooks):
    """Base of callbacks that run schedules: what users ask of these, before, in and after a run."""

    # Empty as long as their length is not known.
    _schedules: Schedules
    _recipe: Recipe | None
    _length: FitLength
    _restart: bool
    # Of the run, which has an installation from its first epoch to its end.
    _installation: Installation | None
    _counters: list[StepCounter]
    _warnings: RunWarnings
    _is_in_loop: bool
    _first_step: int | None
    _step: int
    # Step at which it ends, where `fit` tells.
    _end: int | None

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

    @property
    def policy(self) -> Policy:
        """All the schedules; after a `cooldown` or an `extend`, with that in them.

        Given to a new callback, it resumes: with `initial_epoch`, or with restart=False.

        Raises:
            AttributeError: their length is that of a `fit`, which has not begun.
            ValueError: they have different lengths.
        """
        self._schedule_of("lr")
        return Policy(**self._schedules)

    def cooldown(
        self, steps: int, shape: str = "sqrt", to: float = 0.0, *, names: Sequence[str] = ("lr",)
    ) -> None:
        """Go down to `to` from here, and end the schedules there; between two steps of a run.

        Called by another callback of the same `fit`, or in the block of `applied_to`. The next
        step is traced anew. It holds for later runs of this callback too.

        Args:
            steps: Number of updates of the cooldown; the first still has the value of before.
            shape, to, names: As for `Policy.cooldown`.

        Raises:
            RuntimeError: no run is under way.
            TypeError, ValueError: as `Policy.cooldown` does; more steps than are left of the
                schedules or of `fit`. Nothing has changed.

        Example:
            >>> callback = ScheduleCallback(lrsched.constant(1e-3))
            >>> late = keras.callbacks.LambdaCallback(
            ...     on_epoch_begin=lambda epoch, logs: epoch == 8 and callback.cooldown(200)
            ... )
            >>> model.fit(x, y, epochs=10, callbacks=[callback, late])
        """
        installation, policy, step = self._changeable("cooldown")
        changed = policy.cooldown(step, steps, shape, to, names=names)
        if self._end is not None and self._restart:
            check_at_most("steps", steps, "what fit has left", self._end - step, "fewer steps")
        self._change(installation, changed)

    def extend(self, total_steps: int) -> None:
        """Stretch what is left of the schedules, so that they end at `total_steps`.

        As `cooldown` in all else.

        Args:
            total_steps: Number of updates of the whole run, those that are behind it included.

        Raises:
            RuntimeError: no run is under way.
            TypeError, ValueError: as `Policy.extended` does. Nothing has changed.
        """
        installation, policy, step = self._changeable("extend")
        self._change(installation, policy.extended(total_steps, step))

    def _changeable(self, change: str) -> tuple[Installation, Policy, int]:
        """Return the installation of the run, its policy, and the step that comes next."""
        installation = self._installation
        if installation is None or not installation.active:
            raise RuntimeError(
                f"{change} must be called in a run, from its first step to its last, got none "
                "(on a policy, cooldown(at, ...) and extended(total_steps, at) do the same)"
            )
        if self._length.is_learning:
            raise RuntimeError(
                f"{change} must be called when the length of an epoch is known, got the epoch "
                "that learns it"
            )
        if not self._is_in_loop:
            self.model  # noqa: B018 -- the property brings the state of JAX home
        installation.check_counts(change)
        policy, step = self.policy, self._counters[0].step_at(installation.batches())
        if policy.total_steps is not None and step >= policy.total_steps:
            raise ValueError(
                f"{change} must be called before the schedules end, got step {step} of "
                f"{policy.total_steps} (a ScheduleCallback of policy.then(...) goes on)"
            )
        return installation, policy, step

    def _change(self, installation: Installation, policy: Policy) -> None:
        with DeferredInterrupt():
            installation.change(policy, self._warnings.warn)
            self._schedules, self._recipe = dict(policy), None

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The values of the updates of the last `fit`, up to the end of its last whole epoch.

        "step", and "learning_rate", "momentum" and others that are scheduled, each of shape
        [updates].
        """
        return values_of(self._schedules, self._first_step or 0, self._step)

    def plot(
        self, ax: Axes | Sequence[Axes] | None = None, *, num_steps: int | None = None
    ) -> Axes | list[Axes]:
        """Draw the lr on the left axis and the momentum on the right; more of them one each.

        Args:
            ax: Matplotlib Axes to draw on, or one for each; None makes a figure. Nothing is shown.
            num_steps: How many steps; None stands for the length of the schedules, or for the
                updates made where they are endless.

        Raises:
            ValueError: the length is not known yet.
        """
        return plot_schedules(self._schedules, ax, num_steps, self._step)
