"""From the loss curve of a range test to a learning rate, with its doubts.

The default rule, "plateau", reads two points off a centred smooth of the raw losses: where most of
the loss drop has happened, and where the loss has come back up. The suggestion lies between them.
It uses differences of losses over each other and ratios of learning rates only, so adding a
constant to the loss, scaling it, or changing the unit of the learning rate changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from html import escape
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from lrsched._validate import check_bool, check_choice, check_int, check_positive
from lrsched.curve.divergence import MIN_POINTS
from lrsched.curve.features import (
    Array,
    CurveFeatures,
    read,
    readable,
)
from lrsched.curve.peer_rules import ALIASES, PEERS, RuleError, evenly_spaced
from lrsched.curve.reasons import BAND_FACTOR, EDGE_WEIGHT, doubts_of, silence, too_few, why

PLATEAU, FALLBACK, GUESS = "plateau", "fallback", "guess"

# From the two points to a learning rate; measured as docs/suggestion.md says.
EDGE_REACH = 1.5  # an edge further than this many decades from the left point says no more
SCHEDULE_FACTORS = {"constant": 0.45, "one_cycle": 1.1}  # a peak bears more than a constant lr
ERRORS = 2.0  # so many standard errors of the reading are inside the band

# Where no drop is seen: the lr at which the loss rises for good is known all the same, and so far
# above the best one for a fresh model, in the median of tasks. A trained one takes a tenth.
RISE_OVER_LR = {"constant": 32.0, "one_cycle": 12.6}
FRESH_OVER_PRETRAINED = 10.0
HABIT = "1e-3 with Adam, 0.1 with SGD"

# A drop must exceed the noise of a batch and the error of the two means it compares.
DROP_OVER_NOISE = 1.2
DROP_OVER_ERROR = 3.5  # pure noise passes in less than 1% of sweeps


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, or an honest None, and what it rests on. `str()` makes a sentence of it.

    Attributes:
        lr: The learning rate; None where the curve does not support one.
        method: Name of the rule: "plateau", a peer's rule, "guess" or "fallback".
        reason: Why this lr, or what is in doubt and what to do about it.
        band: (low, high): learning rates expected to do about as well; None with a peer's rule.
        confident: Whether the curve leaves no known doubt. Peers' rules do not say: False.
        schedule: What the lr is for: "one_cycle" (its peak) or "constant".
        start: Start level of the loss, before the sweep did anything to it. This and the next two
            are None where nothing was measured, as with a peer's rule.
        drop: Start level less lowest smoothed loss, in units of the loss.
        noise: Standard deviation of the loss of one batch near the start.
        diverged_at: lr at which the loss had lost half of its drop again or, without a drop, rose
            above its noise for good, or was no longer finite; None if that never happened.
        guess: Where there is no drop but a rise: the lr that a fresh model would probably bear;
            `pretrained=` makes it the suggestion. Else None.
    """

    lr: float | None
    method: str
    reason: str
    band: tuple[float, float] | None = None
    confident: bool = False
    schedule: str = "one_cycle"
    start: float | None = None
    drop: float | None = None
    noise: float | None = None
    diverged_at: float | None = None
    guess: float | None = None

    @property
    def drop_over_noise(self) -> float:
        """Drop in units of the noise; inf for a noiseless drop, NaN where nothing was measured."""
        if self.drop is None or self.noise is None:
            return math.nan
        if self.noise > 0:
            return self.drop / self.noise
        return math.inf if self.drop > 0 else math.nan

    @property
    def _use(self) -> str:
        return "the peak of one-cycle training" if self.schedule == "one_cycle" else "constant lr"

    def _refuse(self, *others: object) -> NoReturn:
        """Refuse to be taken for a number, as by the lr of an optimizer."""
        raise TypeError(f"lr must be a number, got a Suggestion ({self._instead_of_itself()})")

    def _instead_of_itself(self) -> str:
        """What to pass where a number is wanted, for messages."""
        if self.lr is not None:
            return f"pass its lr, {self.lr:.3g}"
        return f"its lr is None, since {self.reason}; suggest(fallback=...) gives one all the same"

    __lt__ = __le__ = __gt__ = __ge__ = __mul__ = __rmul__ = __truediv__ = __float__ = _refuse

    def _in_its_place(self) -> str:
        """Say which lr to train with where none is suggested."""
        if self.method in PEERS:
            return "Other rules may have one: suggestions() asks them all."
        if self.guess is not None:
            return "Say which, if you need one now."
        return f"If you need one now, take what is usual: {HABIT}."

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"

    def __str__(self) -> str:
        if self.lr is None:
            rule = "" if self.method == PLATEAU else f" by {self.method}"
            end = "? " if self.guess is not None else ". "
            return f"No learning rate suggested{rule}: {self.reason}{end}{self._in_its_place()}"
        if self.method == FALLBACK:
            return f"The fallback lr {self.lr:.3g}, since none can be read: {self.reason}."
        if self.method == GUESS:
            return f"A guess for {self._use}: {self.lr:.3g}, with doubt: {self.reason}."
        if self.method in PEERS:
            return f"{self.method} suggests lr {self.lr:.3g}, {self.reason}."
        band = f" (usable from {self.band[0]:.2g} to {self.band[1]:.2g})" if self.band else ""
        sure = "" if self.confident else ", with doubt"
        return f"Suggested lr for {self._use}: {self.lr:.3g}{band}{sure}: {self.reason}."


def suggest(
    lr: ArrayLike,
    loss: ArrayLike,
    *,
    schedule: str = "one_cycle",
    method: str | None = None,
    fallback: float | None = None,
    pretrained: bool | None = None,
    num_steps: int | None = None,
) -> Suggestion:
    """A learning rate for training, from the raw losses of a range test.

    Never raises for a well-formed curve, however ugly: where no lr can be defended, `lr` is None
    and `reason` says what to do. Ours reads the curve as far as a `RangeTest` with its default
    `stop_factor` would have gone, so stopping there or going on leads to the same answer.

    Args:
        lr: Learning rates of the sweep, shape [n], n >= 10, > 0 and strictly increasing.
        loss: Raw (unsmoothed) losses, shape [n].
        schedule: What the lr is for: "one_cycle", whose peak it becomes, or "constant".
        method: None or "plateau" for the rule of this package, or a peer's rule: "fastai_valley"
            ("valley"), "lightning", "ignite" ... as `lrsched.peer_rules.PEERS` lists them.
        fallback: lr to return, without confidence, where there would be none; > 0.
        pretrained: Whether the model is trained already, which no curve tells; where a curve shows
            a rise but no drop, this makes `guess` the suggestion, and a tenth of it for True.
        num_steps: Updates that were planned, >= n; None stands for n. Where a sweep has diverged,
            and peers' rules, depend on it.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: fewer than 10 points, lengths that differ, learning rates that are not positive
            and increasing, or an unknown `schedule` or `method`.

    Example:
        >>> lr = np.geomspace(1e-6, 10, 200)
        >>> loss = 1 + 1 / (1 + lr / 1e-3) + lr**2
        >>> round(suggest(lr, loss, schedule="one_cycle").lr, 3)
        0.026
    """
    lrs, losses = check_curve(lr, loss)
    if lrs.size < MIN_POINTS:
        raise ValueError(f"lr must have at least {MIN_POINTS} points, got {lrs.size}")
    planned = lrs.size if num_steps is None else check_int("num_steps", num_steps, lrs.size)
    return suggest_for(
        lrs,
        losses,
        planned,
        schedule=schedule,
        method=method,
        fallback=fallback,
        pretrained=pretrained,
    )


def check_curve(lr: ArrayLike, loss: ArrayLike) -> tuple[Array, Array]:
    """Both as read-only float64 arrays; raises on anything that is no curve."""
    arrays = []
    for name, values in (("lr", lr), ("loss", loss)):
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be a masked array (leave the masked points out)")
        array = np.asarray(values)
        if array.size and array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
        if array.ndim != 1:
            raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes inf
            array = array.astype(np.float64)
        array.flags.writeable = False
        arrays.append(array)
    lrs, losses = arrays
    if lrs.size != losses.size:
        raise ValueError(f"loss must be as long as lr ({lrs.size}), got {losses.size}")
    if not (np.isfinite(lrs).all() and (lrs > 0).all()):
        bad = int(np.argmin(np.isfinite(lrs) & (lrs > 0)))
        raise ValueError(f"lr must hold finite numbers > 0, got {lrs[bad]} at index {bad}")
    if not (np.diff(lrs) > 0).all():
        bad = int(np.argmin(np.diff(lrs) > 0)) + 1
        raise ValueError(
            f"lr must be strictly increasing, got {lrs[bad]:g} after {lrs[bad - 1]:g} "
            "(sort the points; average repeats)"
        )
    return lrs, losses


def suggest_for(
    lr: Array,
    loss: Array,
    num_steps: int,
    *,
    schedule: str = "one_cycle",
    method: str | None = None,
    fallback: float | None = None,
    pretrained: bool | None = None,
) -> Suggestion:
    """`suggest` for arrays that `check_curve` has passed, of any length."""
    schedule = check_choice("schedule", schedule, SCHEDULE_FACTORS)
    names = [PLATEAU, *PEERS, *ALIASES]
    name = PLATEAU if method is None else check_choice("method", method, names)
    if fallback is not None:
        fallback = check_positive("fallback", fallback)
    if pretrained is not None:
        check_bool("pretrained", pretrained)
    if name == PLATEAU:
        found = _guessed(_plateau(lr, loss, num_steps, schedule), pretrained)
    else:
        found = replace(_peer(ALIASES.get(name, name), lr, loss, num_steps), schedule=schedule)
    if found.lr is None and fallback is not None:
        return replace(found, lr=fallback, method=FALLBACK)
    return found


def _peer(name: str, lr: Array, loss: Array, num_steps: int) -> Suggestion:
    rule = PEERS[name]
    even = evenly_spaced(lr, loss)
    try:
        found = rule(*even, num_steps)
    except RuleError as failure:
        return Suggestion(None, name, f"this rule fails on the curve ({failure})")
    reason = "as its own package would compute it from these losses"
    if even[0] is not lr:
        reason += ", resampled to even steps of log lr"
    if not lr[0] <= found <= lr[-1]:
        reason += f"; it lies outside the sweep, which went from {lr[0]:.2g} to {lr[-1]:.2g}"
    return Suggestion(found, name, reason)


def _guessed(found: Suggestion, pretrained: bool | None) -> Suggestion:
    """The suggestion with its guess, where the user has said what no curve tells."""
    if found.guess is None:
        return found
    if pretrained is None:
        asked = (
            f"is the model fresh (suggest(pretrained=False) takes {found.guess:.2g}) or trained "
            f"already (pretrained=True, {found.guess / FRESH_OVER_PRETRAINED:.2g})"
        )
        return replace(found, reason=f"{found.reason}; {asked}")
    part = f"1/{RISE_OVER_LR[found.schedule]:g} of the lr at which the loss rises"
    lr = found.guess / FRESH_OVER_PRETRAINED if pretrained else found.guess
    why = f"a tenth of {part}, for a trained model" if pretrained else f"{part}, for a fresh model"
    return replace(found, lr=lr, method=GUESS, reason=f"{why}, since {found.reason}")


def _plateau(lr: Array, loss: Array, num_steps: int, schedule: str) -> Suggestion:
    count, end = readable(loss, num_steps)
    blown_up = None if end is None else float(lr[end])
    found = Suggestion(None, PLATEAU, "", schedule=schedule, diverged_at=blown_up)
    if count < MIN_POINTS:
        return replace(found, reason=too_few(count, blown_up))
    lr = lr[:count]
    reading = read(lr, loss[:count])
    drop, noise = reading.drop, reading.noise
    start, scale = reading.start, reading.scale
    found = replace(found, start=start * scale, drop=drop * scale, noise=noise * scale)
    if drop <= max(DROP_OVER_NOISE * noise, DROP_OVER_ERROR * reading.error):
        rise = _rise(reading, lr, blown_up)
        guess = None if rise is None else rise / RISE_OVER_LR[schedule]
        if guess is not None and guess < lr[0]:  # the sweep began too high to say
            guess = None
        reason = silence(reading, rise, guess)
        return replace(found, diverged_at=rise, reason=reason, guess=guess)
    if reading.edge is not None:
        found = replace(found, diverged_at=_inside(reading.edge, lr))

    low, high = float(reading.x[0]), float(reading.x[-1])
    edge = high if reading.edge is None else reading.edge
    best = _between(reading.done + reading.shift, edge) + math.log10(SCHEDULE_FACTORS[schedule])
    inside = min(max(best, low), edge)
    doubts = doubts_of(reading, diverged=found.diverged_at is not None, outside=best != inside)
    left, right = (
        max(math.log10(BAND_FACTOR), ERRORS * (1 - EDGE_WEIGHT) * error)
        for error in reading.done_error
    )
    return replace(
        found,
        lr=_inside(inside, lr),
        reason="; ".join(doubts) or why(reading),
        band=(_inside(inside - left, lr), _inside(min(inside + right, edge), lr)),
        confident=not doubts,
    )


def _rise(reading: CurveFeatures, lr: Array, blown_up: float | None) -> float | None:
    return _inside(reading.calm, lr) if reading.calm < reading.x[-1] else blown_up


def _inside(x: float, lr: Array) -> float:
    """10**x, which must not miss an end of the sweep by its rounding."""
    return min(max(10**x, float(lr[0])), float(lr[-1]))


def _between(left: float, edge: float) -> float:
    return left + EDGE_WEIGHT * min(edge - left, EDGE_REACH)
