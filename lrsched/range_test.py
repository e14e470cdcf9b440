"""Learning-rate range test as a state machine.

No model and no loop here: whoever trains asks for `lr`, makes one update, and records the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lrsched._names import RANGE_TEST, TEST, answers_to, no_attribute
from lrsched._validate import (
    check_choice,
    check_int,
    check_loss,
    check_non_negative,
    check_positive,
    check_type,
)
from lrsched.curve.divergence import STOP_FACTOR, Divergence
from lrsched.curve.loss_curve import FINISHED, LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.schedules import exponential_sweep, linear_sweep, two_speed_sweep
from lrsched.schedules.basic import knee_for

TWO_SPEED = "two_speed"
SWEEPS = {
    TWO_SPEED: two_speed_sweep,
    "exponential": exponential_sweep,
    "linear": linear_sweep,
}
DEFAULT_SWEEP = (1e-7, 10.0, 300)
# Fewer draw no curve. What a suggestion takes is more, and its own affair.
MIN_STEPS = 5

# Why a sweep ended, beside FINISHED. An adapter may give reasons of its own to `RangeTest.stop`.
DIVERGED = "diverged"
NON_FINITE = "non-finite loss"
RUNNING = "running"
# Readings of the data up to which a sweep is like any training.
FEW_READINGS = 10


def readings_note(times: int, batches: int | None) -> str | None:
    """A sentence for the reader of a curve whose data was read so often that it matters.

    Args:
        times: How often the data was begun.
        batches: Its number of batches, where it is known.
    """
    if times <= FEW_READINGS:
        return None
    size = "" if batches is None else f" (number of batches: {batches})"
    return (
        f"The data was read {times} times{size}, so the losses are those of samples that the model "
        "has met often (more data, or fewer steps, say more of new ones)."
    )


class RangeTest:
    """Sweep the learning rate upwards, one update at a time, and keep every raw loss.

    Ask for `lr`, make the update with it, give the loss of that update's batch to `record`, and
    go on while `running`. Both ends of the sweep are used exactly.

    Args:
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5; a suggestion takes at least 10.
        sweep: "two_speed" (fast up to 10**-3.5, or to where `place_knee` puts it, as
            `two_speed_sweep` has it), "exponential" (equal ratios), "linear" (equal differences),
            or a `Schedule` that rises; a Schedule brings its own ends and length.
        stop_factor: Stop when the median of the last five losses exceeds the start level by this
            many times the drop seen before or the spread of the early losses, whichever is larger,
            > 0; None runs to the end. A NaN or infinite loss always stops.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: `start_lr` <= 0 or >= `end_lr`, `num_steps` < 5, an unknown sweep, or a
            Schedule that is endless, does not rise, or comes together with other ends.

    Example:
        >>> test, weight = RangeTest(start_lr=1e-3, end_lr=100.0, num_steps=50), 1.0
        >>> while test.running:
        ...     loss, gradient = weight**2, 2 * weight
        ...     weight -= test.lr * gradient
        ...     _ = test.record(loss)
        >>> test.curve.stop_reason
        'diverged'

    Source: Smith 2015, arXiv:1506.01186 (the test); Gugger 2018 (exponential sweep).
    """

    @answers_to(RANGE_TEST)
    def __init__(
        self,
        start_lr: float = DEFAULT_SWEEP[0],
        end_lr: float = DEFAULT_SWEEP[1],
        num_steps: int = DEFAULT_SWEEP[2],
        *,
        sweep: str | Schedule = TWO_SPEED,
        stop_factor: float | None = STOP_FACTOR,
    ) -> None:
        two_speed = False
        if isinstance(sweep, Schedule):
            if (start_lr, end_lr, num_steps) != DEFAULT_SWEEP:
                raise ValueError(
                    "start_lr, end_lr and num_steps must be left out when sweep is a Schedule, "
                    f"got {start_lr!r}, {end_lr!r} and {num_steps!r}"
                )
            if sweep.total_steps is None or sweep.total_steps < MIN_STEPS:
                raise ValueError(
                    f"sweep must be a Schedule of at least {MIN_STEPS} steps, got {sweep!r}"
                )
        else:
            num_steps = check_int("num_steps", num_steps, MIN_STEPS)
            name = check_choice("sweep", sweep, SWEEPS, "or a Schedule")
            two_speed, sweep = name == TWO_SPEED, SWEEPS[name](start_lr, end_lr, num_steps)
        lrs = sweep.values()
        if lrs[0] <= 0 or not (np.diff(lrs) > 0).all():
            raise ValueError(f"sweep must rise at every step from a value > 0, got {sweep!r}")
        if stop_factor is not None:
            stop_factor = check_positive("stop_factor", stop_factor, "None runs to the end")
        self._lrs: list[float] = lrs.tolist()
        self._two_speed = two_speed
        self._losses: list[float] = []
        self._stop_reason: str | None = None
        self._notes: list[str] = []
        self._divergence = None if stop_factor is None else Divergence(stop_factor, len(self._lrs))

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute(self, name, TEST)

    def place_knee(self, own_lr: float) -> None:
        """Put the knee of a sweep by two speeds at a tenth of the lr that an optimizer came with.

        Never above 10**-3.5, and there for an lr of 0: whoever fine-tunes has set a low lr for a
        reason, and the loss moves lower too. Where the sweep does not begin below the knee, or has
        less than two decades above it, it has one speed. Other sweeps stay as they are.

        Args:
            own_lr: The lr, >= 0; the highest of several parameter groups.

        Raises:
            TypeError: `own_lr` is not a number.
            ValueError: `own_lr` is negative, infinite or NaN.
            RuntimeError: a loss has been recorded.

        Example:
            >>> test = RangeTest()
            >>> test.place_knee(2e-5)  # so that the 17th of 300 updates is at 2e-6
            >>> float(test.planned_lr[16].round(9))
            2e-06
        """
        own_lr = check_non_negative("own_lr", own_lr)
        if self._losses:
            raise RuntimeError(
                f"place_knee must be called before the first loss is recorded, got {self!r}"
            )
        if not self._two_speed:
            return
        start_lr, end_lr = self._lrs[0], self._lrs[-1]
        knee = knee_for(own_lr, start_lr, end_lr)
        if knee is None:
            sweep = exponential_sweep(start_lr, end_lr, len(self._lrs))
        else:
            sweep = two_speed_sweep(start_lr, end_lr, len(self._lrs), knee)
        self._lrs = sweep.values().tolist()

    @property
    def running(self) -> bool:
        """Whether the test wants another update."""
        return self._stop_reason is None

    @property
    def lr(self) -> float:
        """The learning rate that the next update must use.

        Raises:
            RuntimeError: the test has ended.
        """
        if self._stop_reason is not None:
            raise self._ended("lr")
        return self._lrs[len(self._losses)]

    @property
    def planned_lr(self) -> NDArray[np.float64]:
        """Every learning rate of the plan, float64 of shape [num_steps].

        For a loop that reads its losses late: update i uses `planned_lr[i]`, and the losses are
        recorded in order once they are known.
        """
        return np.array(self._lrs)

    def record(self, loss: Any) -> bool:
        """Keep the loss of the update made with `lr`; whether to go on.

        Args:
            loss: A number, or an array or tensor with one element. NaN or an infinity ends the
                test, and is kept as the last point of the curve.

        Raises:
            TypeError: `loss` is not one real number; nothing is recorded.
            ValueError: an int too large for a float; nothing is recorded.
            RuntimeError: the test has ended.
        """
        if self._stop_reason is not None:
            raise self._ended("record")
        return self.record_all((check_loss(loss),))

    def record_all(self, losses: Iterable[float]) -> bool:
        """Keep the losses of several updates, up to the one that ends the test; whether to go on.

        What comes after the end is dropped: a loop that reads its losses late has the same curve
        as one that gives each of them to `record` at once.

        Args:
            losses: As `record` takes them, in the order of the updates.

        Raises:
            TypeError: one of them is not one real number; nothing is recorded.
            ValueError: an int too large for a float; nothing is recorded.
        """
        given = list(losses)
        if set(map(type, given)) - {float}:
            given = list(map(check_loss, given))
        if self._stop_reason is None:
            kept, reason = self._judge(given[: len(self._lrs) - len(self._losses)])
            self._losses += kept
            finished = len(self._losses) == len(self._lrs)
            self._stop_reason = reason or (FINISHED if finished else None)
        return self._stop_reason is None

    def _judge(self, losses: list[float]) -> tuple[list[float], str | None]:
        """The losses up to the one that ends the test, and why it does."""
        reason = None
        if not all(map(math.isfinite, losses)):
            broken = next(i for i, loss in enumerate(losses) if not math.isfinite(loss))
            losses, reason = losses[: broken + 1], NON_FINITE
        finite = losses if reason is None else losses[:-1]
        if self._divergence is not None and finite:
            diverged = self._divergence.first(finite)
            if diverged is not None:
                losses, reason = losses[: diverged + 1], DIVERGED
        return losses, reason

    @property
    def recorded(self) -> int:
        """Number of losses kept so far."""
        return len(self._losses)

    def stop(self, reason: str) -> None:
        """End the test from outside, for example because the data ran out; `reason` is reported.

        Has no effect on a test that has ended.
        """
        check_type("reason", reason, str)
        if self._stop_reason is None:
            self._stop_reason = reason

    def note(self, sentence: str) -> None:
        """Add to the notes of the curve, once: what its reader should know of how it was taken."""
        check_type("sentence", sentence, str)
        if sentence not in self._notes:
            self._notes.append(sentence)

    @property
    def curve(self) -> LossCurve:
        """What has been recorded so far, as a `LossCurve`."""
        return LossCurve(
            np.array(self._lrs[: len(self._losses)]),
            np.array(self._losses),
            stop_reason=self._stop_reason or RUNNING,
            num_steps=len(self._lrs),
            start_lr=self._lrs[0],
            end_lr=self._lrs[-1],
            notes=tuple(self._notes),
        )

    def _ended(self, name: str) -> RuntimeError:
        return RuntimeError(
            f"{name} must not be used after the range test has ended "
            f"({self._stop_reason}) (check `running`, or make a new RangeTest)"
        )

    def __repr__(self) -> str:
        state = self._stop_reason or f"next lr {self.lr:.3g}"
        return (
            f"RangeTest(lr {self._lrs[0]:.3g} to {self._lrs[-1]:.3g}: "
            f"{len(self._losses)} of {len(self._lrs)} steps, {state})"
        )

    def _repr_html_(self) -> str:
        return self.curve._repr_html_()
