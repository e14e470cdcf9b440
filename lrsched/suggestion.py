"""From the loss curve of a range test to a learning rate, with its doubts.

The default rule, "plateau", reads two points off a centred smooth of the raw losses: where most of
the loss drop has happened, and where the loss has come back up. The suggestion lies between them.
It uses differences of losses over each other and ratios of learning rates only, so adding a
constant to the loss, scaling it, or changing the unit of the learning rate changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrsched._validate import check_choice, check_int, check_positive
from lrsched.divergence import MIN_POINTS, STOP_FACTOR, Divergence
from lrsched.peer_rules import ALIASES, PEERS, RuleError

Array = NDArray[np.float64]

PLATEAU = "plateau"

# How the curve is read.
TIE = 1e-9  # grids may divide these stretches evenly: rounding must not say what is within reach
START_DECADES = 0.5 + TIE  # the losses over this stretch give the start level and the noise
START_POINTS = 5  # ... but at least so many of them
SMOOTH_DECADES = 0.15 + TIE  # reach of each of three box averages; narrower than any descent
# A loss so far below or above its neighbours is that of an odd batch; tails are longer upwards.
LOW_OVER_NOISE, HIGH_OVER_NOISE = 5.0, 12.0
STEP_OVER_NOISE = 0.954  # median of |a - b|, for two draws of a Gaussian, over its deviation
DROP_DONE = 0.9  # left point: this part of the drop is done. Steepest or lowest points are noisier
DROP_BEGUN = 0.2  # the loss has begun to fall
DROP_LOST = 0.5  # right point: this part of the drop is left again

# From the two points to a learning rate; measured as docs/suggestion.md says.
# A sweep of more steps trains longer near each lr and so finishes the drop at a lower one. If only
# lr x updates counted, the exponent would be 1; if only stability did, 0. The truth is in between.
UPDATES_EXPONENT = 0.5
UPDATES_REFERENCE = 16.0  # of an exponential sweep with 36 steps a decade
EDGE_WEIGHT = 0.35  # how far towards the right point, in log lr
EDGE_REACH = 1.5  # an edge further than this many decades from the left point says no more
SCHEDULE_FACTORS = {"constant": 0.45, "one_cycle": 1.1}  # a peak bears more than a constant lr
BAND_FACTOR = 2.0

# Doubt. A drop must exceed the noise of a batch and the error of the two means it compares.
DROP_OVER_NOISE = 1.2
CALM_OVER_NOISE = 2.0  # the loss of a model that is no worse than at the start
DROP_OVER_ERROR = 3.5  # pure noise passes in less than 1% of sweeps
CONFIDENT_OVER_NOISE = 3.0
FEW_UPDATES = 5.0  # 84 steps of an exponential sweep over 8 decades
SWEEP_AGAIN = (
    "sweep to a higher end_lr, or use more steps or larger batches; the curve of a model that is "
    "already trained looks like this too"
)


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, or an honest None, and what it rests on. `str()` makes a sentence of it.

    Attributes:
        lr: The learning rate; None where the curve does not support one.
        method: Name of the rule: "plateau", a peer's rule, or "fallback".
        reason: Why this lr, or what is in doubt and what to do about it.
        band: (low, high): learning rates expected to do about as well; None with a peer's rule.
        confident: Whether the curve leaves no known doubt. Peers' rules do not say: False.
        schedule: What the lr is for: "one_cycle" (its peak) or "constant".
        start: Start level of the loss, before the sweep did anything to it.
        drop: Start level less lowest smoothed loss, in units of the loss.
        noise: Standard deviation of the loss of one batch near the start.
        diverged_at: lr at which the loss had lost half of its drop again or, without a drop, rose
            above its noise for good, or was no longer finite; None if that never happened.
    """

    lr: float | None
    method: str
    reason: str
    band: tuple[float, float] | None = None
    confident: bool = False
    schedule: str = "one_cycle"
    start: float = math.nan
    drop: float = math.nan
    noise: float = math.nan
    diverged_at: float | None = None

    @property
    def drop_over_noise(self) -> float:
        """Drop in units of the noise; inf for a noiseless drop, NaN where nothing was measured."""
        if self.noise > 0:
            return self.drop / self.noise
        return math.inf if self.drop > 0 else self.drop * math.nan

    def __str__(self) -> str:
        if self.lr is None:
            return f"No learning rate suggested by {self.method}: {self.reason}."
        if self.method in PEERS:
            return f"{self.method} suggests lr {self.lr:.3g}: {self.reason}."
        use = "the peak of one-cycle training" if self.schedule == "one_cycle" else "constant lr"
        band = f" (usable from {self.band[0]:.2g} to {self.band[1]:.2g})" if self.band else ""
        sure = "" if self.confident else ", with doubt"
        return f"Suggested lr for {use}: {self.lr:.3g}{band}{sure}: {self.reason}."


def suggest(
    lr: ArrayLike,
    loss: ArrayLike,
    *,
    schedule: str = "one_cycle",
    method: str | None = None,
    fallback: float | None = None,
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
    return suggest_for(lrs, losses, planned, schedule=schedule, method=method, fallback=fallback)


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
) -> Suggestion:
    """`suggest` for arrays that `check_curve` has passed, of any length."""
    schedule = check_choice("schedule", schedule, SCHEDULE_FACTORS)
    names = [PLATEAU, *PEERS, *ALIASES]
    name = PLATEAU if method is None else check_choice("method", method, names)
    if fallback is not None:
        fallback = check_positive("fallback", fallback)
    if name == PLATEAU:
        found = _plateau(lr, loss, num_steps, schedule)
    else:
        found = replace(_peer(ALIASES.get(name, name), lr, loss, num_steps), schedule=schedule)
    if found.lr is None and fallback is not None:
        return replace(found, lr=fallback, method="fallback")
    return found


def _peer(name: str, lr: Array, loss: Array, num_steps: int) -> Suggestion:
    rule = PEERS[name]
    try:
        found = rule(lr, loss, num_steps)
    except RuleError as failure:
        return Suggestion(None, name, f"this rule fails on the curve ({failure})")
    reason = "as its own package would compute it from these losses"
    if not lr[0] <= found <= lr[-1]:
        reason += f"; it lies outside the sweep, which went from {lr[0]:.2g} to {lr[-1]:.2g}"
    return Suggestion(found, name, reason)


@dataclass(frozen=True)
class Reading:
    """A curve of finite losses as the rule sees it; losses are relative to the start level.

    Attributes:
        x: log10 of the learning rates.
        smooth: Centred smooth of the losses, over `scale`.
        noise: Standard deviation of a single loss, over `scale`.
        error: Standard error of the drop, over `scale`.
        scale: Largest absolute loss.
        start: Start level, over `scale`.
        calm: log10 of the last lr at which the loss was not above its noise at the start.
    """

    x: Array
    smooth: Array
    noise: float
    error: float
    scale: float
    start: float
    calm: float

    @property
    def lowest(self) -> int:
        """Index of the lowest smoothed loss."""
        return int(self.smooth.argmin())

    @property
    def drop(self) -> float:
        """Start level less lowest smoothed loss, over `scale`; the positions below need it > 0."""
        return -float(self.smooth[self.lowest])

    @property
    def begun(self) -> float:
        """log10 of the lr after which the loss is below its start level for good."""
        above = np.flatnonzero(self.smooth[: self.lowest + 1] > -DROP_BEGUN * self.drop)
        return self._crossing(DROP_BEGUN, int(above[-1]) + 1) if above.size else float(self.x[0])

    @property
    def done(self) -> float:
        """log10 of the lr at which most of the drop is done."""
        return self._crossing(DROP_DONE, int(np.argmax(self.smooth <= -DROP_DONE * self.drop)))

    @property
    def edge(self) -> float | None:
        """log10 of the lr at which the loss has come back up; None if it does not."""
        lost = np.flatnonzero(self.smooth[self.lowest :] > -DROP_LOST * self.drop)
        return self._crossing(DROP_LOST, self.lowest + int(lost[0])) if lost.size else None

    def _crossing(self, part: float, after: int) -> float:
        """Where the line from point `after - 1` to `after` meets this part of the drop."""
        if after == 0:
            return float(self.x[0])
        (x0, x1), (y0, y1) = self.x[after - 1 : after + 1], self.smooth[after - 1 : after + 1]
        return float(x0 + (x1 - x0) * (-part * self.drop - y0) / (y1 - y0))

    @property
    def updates(self) -> float:
        """Sum of the learning rates up to the end of the drop, over the lr there.

        So many updates at that lr would have gone as far as the sweep had by then.
        """
        lr = 10 ** (self.x - self.x[-1])
        return float(np.interp(self.done, self.x, np.cumsum(lr) / lr))

    @property
    def shift(self) -> float:
        """Decades by which a sweep with the reference number of updates does the drop later."""
        return UPDATES_EXPONENT * math.log10(self.updates / UPDATES_REFERENCE)


def read(lr: Array, loss: Array) -> Reading:
    """Read a curve of at least 10 finite losses."""
    x = np.log10(lr)
    level, start, scale = _levels(x, loss)
    smooth = _smooth(x, level)
    lowest = int(smooth.argmin())
    head = level[_head(x)]
    # The median of differences forgives trends, the deviation at the start sees heavy tails.
    steps = np.abs(np.diff(level[: max(lowest, MIN_POINTS)]))
    spread = float(_without_outliers(head).std())
    noise = max(float(np.median(steps)) / STEP_OVER_NOISE, spread)
    around = int(np.count_nonzero(np.abs(x - x[lowest]) <= SMOOTH_DECADES))
    error = noise * math.sqrt(1 / head.size + 1 / max(around, 3))
    quiet = np.flatnonzero(_running_median(level) <= CALM_OVER_NOISE * noise)
    calm = float(x[quiet[-1]] if quiet.size else x[0])
    return Reading(x, smooth, noise, error, scale, start, calm)


def smooth_losses(lr: Array, loss: Array, num_steps: int) -> Array:
    """The centred smooth that suggestions are read from, as far as they read a curve."""
    count, _ = readable(loss, num_steps)
    if count < MIN_POINTS:
        return loss[:0]
    x = np.log10(lr[:count])
    level, start, scale = _levels(x, loss[:count])
    return np.clip(_smooth(x, level) + start, -1, 1) * scale


def _levels(x: Array, loss: Array) -> tuple[Array, float, float]:
    """Losses as (level + start) * scale, where level 0 is the start level."""
    scale = float(np.abs(loss).max()) or 1.0
    scaled = loss / scale  # so that no difference of two finite losses overflows
    start = float(np.median(scaled[_head(x)]))
    return scaled - start, start, scale


def _head(x: Array) -> slice:
    return slice(0, max(START_POINTS, int(np.searchsorted(x, x[0] + START_DECADES))))


def _smooth(x: Array, level: Array) -> Array:
    """Three centred box averages of losses above (+) and below (-) the start level."""
    depth = -float(_running_median(level).min())
    # An explosion must not leak into its neighbours: kept at most as high as the drop is deep.
    smooth = _without_outliers(np.minimum(level, max(depth, 0.0)))
    low, high = _boxes(x)
    for _ in range(3):
        total = np.concatenate(([0.0], np.cumsum(smooth)))
        smooth = (total[high] - total[low]) / (high - low)
    return np.asarray(smooth)


def cyclical_range(lr: Array, loss: Array, num_steps: int) -> tuple[float, float] | None:
    """(base_lr, max_lr) for a cyclical schedule, or None where there is no usable drop.

    The lr at which the loss begins to fall, and the one suggested for a one-cycle peak, which lies
    after the drop and before the loss turns ragged; at least a factor of 3 apart, and None where
    the sweep has no room for that.
    """
    found = _plateau(lr, loss, num_steps, "one_cycle")
    if found.lr is None or found.lr / 3 < lr[0]:
        return None
    count, _ = readable(loss, num_steps)
    reading = read(lr[:count], loss[:count])
    return min(_inside(reading.begun + reading.shift, lr), found.lr / 3), found.lr


def _plateau(lr: Array, loss: Array, num_steps: int, schedule: str) -> Suggestion:
    count, end = readable(loss, num_steps)
    blown_up = None if end is None else float(lr[end])
    found = Suggestion(None, PLATEAU, "", schedule=schedule, diverged_at=blown_up)
    if count < MIN_POINTS:
        where = "" if blown_up is None else f" before NaN or inf at lr {blown_up:.2g}"
        return replace(
            found, reason=f"only {count} finite losses{where}; sweep from a lower start_lr"
        )
    lr = lr[:count]
    reading = read(lr, loss[:count])
    drop, noise = reading.drop, reading.noise
    start, scale = reading.start, reading.scale
    found = replace(found, start=start * scale, drop=drop * scale, noise=noise * scale)
    silent = replace(found, diverged_at=_rise(reading, lr, blown_up))
    if drop <= 0:
        return replace(silent, reason=f"the loss never fell below its start level; {SWEEP_AGAIN}")
    if drop <= max(DROP_OVER_NOISE * noise, DROP_OVER_ERROR * reading.error):
        what = f"the loss fell by {found.drop:.2g}, which its noise ({found.noise:.2g}) can explain"
        return replace(silent, reason=f"{what}; {SWEEP_AGAIN}")
    if reading.edge is not None:
        found = replace(found, diverged_at=_inside(reading.edge, lr))

    low, high = float(reading.x[0]), float(reading.x[-1])
    edge = high if reading.edge is None else reading.edge
    best = _between(reading.done + reading.shift, edge) + math.log10(SCHEDULE_FACTORS[schedule])
    inside = min(max(best, low), edge)
    doubts = _doubts(reading, diverged=found.diverged_at is not None, outside=best != inside)
    reach = math.log10(BAND_FACTOR)
    return replace(
        found,
        lr=_inside(inside, lr),
        reason="; ".join(doubts) or _why(reading),
        band=(_inside(inside - reach, lr), _inside(min(inside + reach, edge), lr)),
        confident=not doubts,
    )


def _rise(reading: Reading, lr: Array, blown_up: float | None) -> float | None:
    return _inside(reading.calm, lr) if reading.calm < reading.x[-1] else blown_up


def _inside(x: float, lr: Array) -> float:
    """10**x, which must not miss an end of the sweep by its rounding."""
    return min(max(10**x, float(lr[0])), float(lr[-1]))


def _between(left: float, edge: float) -> float:
    return left + EDGE_WEIGHT * min(edge - left, EDGE_REACH)


def _why(reading: Reading) -> str:
    ratio = reading.drop / reading.noise if reading.noise > 0 else math.inf
    size = "has no noise" if ratio == math.inf else f"is {ratio:.3g} times the noise of a batch"
    return f"{DROP_DONE:.0%} of the loss drop is done at lr {10**reading.done:.2g}; the drop {size}"


def _doubts(reading: Reading, *, diverged: bool, outside: bool) -> list[str]:
    doubts = []
    if reading.drop < CONFIDENT_OVER_NOISE * reading.noise:
        doubts.append(
            f"the loss drop is only {reading.drop / reading.noise:.1f} times the noise of a batch "
            "(use more steps or larger batches)"
        )
    if reading.updates < FEW_UPDATES:
        doubts.append(
            f"the sweep had the effect of only {reading.updates:.1f} updates at the lr where the "
            "drop was done (use more steps)"
        )
    if reading.begun - reading.x[0] < START_DECADES:
        doubts.append("the loss fell from the first lr on (lower start_lr)")
    if not diverged and reading.x[-1] - reading.x[reading.lowest] <= SMOOTH_DECADES:
        doubts.append("the loss was still falling at the last lr (raise end_lr)")
    if outside:
        doubts.append("the best lr seems to lie outside the sweep, so this is its edge")
    return doubts


def readable(loss: Array, num_steps: int) -> tuple[int, int | None]:
    """(number of losses to read, index of the one that ended the sweep or None).

    A sweep ends where it has diverged, and before a NaN or infinite loss. Had it been stopped
    there, the answer would be the same.
    """
    finite = np.isfinite(loss)
    count = loss.size if finite.all() else int(finite.argmin())
    diverged = Divergence(STOP_FACTOR, num_steps).first(loss[:count].tolist()) if count else None
    if diverged is not None:
        return diverged + 1, diverged
    return count, count if count < loss.size else None


def _without_outliers(level: Array) -> Array:
    """The losses, with the running median for those that the noise around them cannot explain."""
    middle = _running_median(level)
    steps = np.abs(np.diff(level))
    around = _middle_of_windows(np.pad(steps, 5, mode="reflect"), 10)
    noise = np.maximum(around, np.median(steps)) / STEP_OVER_NOISE
    away = level - middle
    odd = (away < -LOW_OVER_NOISE * noise) | (away > HIGH_OVER_NOISE * noise)
    return np.where(odd, middle, level)


def _running_median(values: Array) -> Array:
    # Reflected: a last loss that is repeated would outvote its neighbours.
    return _middle_of_windows(np.pad(values, 2, mode="reflect"), 5)


def _middle_of_windows(values: Array, width: int) -> Array:
    """Medians, the upper one of an even number; np.median takes five times as long."""
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    return np.asarray(np.partition(windows, width // 2, axis=-1)[:, width // 2])


def _boxes(x: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each point, the first and the end of those within reach, at least its neighbours."""
    index = np.arange(x.size)
    low = np.searchsorted(x, x - SMOOTH_DECADES, "left")
    high = np.searchsorted(x, x + SMOOTH_DECADES, "right")
    before, after = np.maximum(index - 1, 0), np.minimum(index + 2, x.size)
    return np.minimum(low, before), np.maximum(high, after)
