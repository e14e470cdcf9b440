"""What a loss curve shows, before anything is suggested: levels, noise, where the drop lies.

Losses are compared with the start level and divided by the largest, learning rates are in decades,
so that neither a constant added to the loss nor a unit of either moves anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrsched.curve.divergence import (
    MIN_POINTS,
    STEP_OVER_NOISE,
    STOP_FACTOR,
    Divergence,
    resolution,
)

Array = NDArray[np.float64]

TIE = 1e-9  # grids may divide these stretches evenly: rounding must not say what is within reach
START_DECADES = 0.5 + TIE  # the losses over this stretch give the start level and the noise
START_POINTS = 5  # ... but at least so many of them
SMOOTH_DECADES = 0.15 + TIE  # reach of each of three box averages; narrower than any descent
# A loss so far below or above its neighbours is that of an odd batch; tails are longer upwards.
LOW_OVER_NOISE, HIGH_OVER_NOISE = 5.0, 12.0
CALM_OVER_NOISE = 2.0  # the loss of a model that is no worse than at the start
DROP_DONE = 0.9  # left point: this part of the drop is done. Steepest or lowest points are noisier
DROP_BEGUN = 0.2  # the loss has begun to fall
DROP_LOST = 0.5  # right point: this part of the drop is left again
FAST_OVER_SLOW = 1.5  # steps of log lr, before and after the knee of a sweep by two speeds
ROUNDINGS = 2.0  # the least noise, in steps of the resolution of the losses

# A sweep of more steps trains longer near each lr and so finishes the drop at a lower one. If only
# lr x updates counted, the exponent would be 1; if only stability did, 0. The truth is in between.
UPDATES_EXPONENT = 0.5
UPDATES_REFERENCE = 16.0  # of an exponential sweep with 36 steps a decade


@dataclass(frozen=True)
class CurveFeatures:
    """A curve of finite losses as the rule sees it; losses are relative to the start level.

    Attributes:
        x: log10 of the learning rates.
        level: Raw losses, over `scale`.
        smooth: Centred smooth of the losses, over `scale`.
        noise: Standard deviation of a single loss, over `scale`.
        error: Standard error of the drop, over `scale`.
        scale: Largest absolute loss.
        start: Start level, over `scale`.
        calm: log10 of the last lr at which the loss was not above its noise at the start.
    """

    x: Array
    level: Array
    smooth: Array
    noise: float
    error: float
    scale: float
    start: float
    calm: float

    @property
    def coarse(self) -> bool:
        """Whether the start level is the mean of losses at learning rates that are no start."""
        return float(self.x[START_POINTS - 1] - self.x[0]) > 2 * START_DECADES

    @property
    def fast_until(self) -> float | None:
        """log10 of the lr where a sweep that begins in long steps goes on in shorter ones."""
        steps = np.diff(self.x)
        slow = np.flatnonzero(steps < steps[0] / FAST_OVER_SLOW)
        return float(self.x[slow[0]]) if slow.size else None

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
        return self._reached(DROP_DONE)

    @property
    def done_error(self) -> tuple[float, float]:
        """Decades by which `done` may be lower and higher: a standard error of the smooth there.

        The noise is that of the losses around `done`, which may be far above that at the start.
        """
        near = np.abs(self.x - self.done) <= START_DECADES
        step = float(np.median(np.abs(np.diff(self.level[near])))) if near.sum() > 1 else 0.0
        inside = int(np.count_nonzero(np.abs(self.x - self.done) <= SMOOTH_DECADES))
        error = step / STEP_OVER_NOISE / math.sqrt(max(inside, 3)) / self.drop
        low, high = self._reached(DROP_DONE - error), self._reached(DROP_DONE + error)
        return self.done - low, high - self.done

    @property
    def edge(self) -> float | None:
        """log10 of the lr at which the loss has come back up; None if it does not."""
        lost = np.flatnonzero(self.smooth[self.lowest :] > -DROP_LOST * self.drop)
        return self._crossing(DROP_LOST, self.lowest + int(lost[0])) if lost.size else None

    def _reached(self, part: float) -> float:
        """log10 of the lr at which this part of the drop is done, at the latest the lowest."""
        if part >= 1:
            return float(self.x[self.lowest])
        part = max(part, DROP_BEGUN)
        return self._crossing(part, int(np.argmax(self.smooth <= -part * self.drop)))

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
        end = min(int(np.searchsorted(self.x, self.done)) + 1, self.x.size)
        x = self.x[:end]
        lr = 10 ** (x - x[-1])
        return float(np.interp(self.done, x[-2:], np.cumsum(lr)[-2:] / lr[-2:]))

    @property
    def shift(self) -> float:
        """Decades by which a sweep with the reference number of updates does the drop later."""
        return UPDATES_EXPONENT * math.log10(self.updates / UPDATES_REFERENCE)


def read(lr: Array, loss: Array) -> CurveFeatures:
    """Read a curve of at least 10 finite losses."""
    x = np.log10(lr)
    level, start, scale = _levels(x, loss)
    smooth = _smooth(x, level)
    lowest = int(smooth.argmin())
    head = level[_head(x)]
    rounding = ROUNDINGS * resolution(loss[_head(x)].tolist()) / scale
    noise = max(_noise(level, head, lowest), rounding)
    around = int(np.count_nonzero(np.abs(x - x[lowest]) <= SMOOTH_DECADES))
    error = noise * math.sqrt(1 / head.size + 1 / max(around, 3))
    quiet = np.flatnonzero(_running_median(level) <= CALM_OVER_NOISE * noise)
    calm = float(x[quiet[-1]] if quiet.size else x[0])
    return CurveFeatures(x, level, smooth, noise, error, scale, start, calm)


def _noise(level: Array, head: Array, lowest: int) -> float:
    """Standard deviation of a single loss before the lowest."""
    # The median of differences forgives trends, the deviation at the start sees heavy tails.
    step = float(np.median(np.abs(np.diff(level[: max(lowest, MIN_POINTS)]))))
    noise = max(step / STEP_OVER_NOISE, float(without_outliers(head).std()))
    if step:
        return noise
    # Most losses are equal to the ones before, as where they were rounded: all that noise does
    # then is what a median leaves out.
    steps = np.diff(level[: max(lowest, START_POINTS) + 1])
    return max(noise, math.sqrt(float(np.mean(steps**2)) / 2))


def smooth_losses(lr: Array, loss: Array, num_steps: int) -> Array:
    """The centred smooth that suggestions are read from, as far as they follow the losses up."""
    count, _ = readable(loss, num_steps)
    if count < MIN_POINTS:
        return loss[:0]
    x = np.log10(lr[:count])
    level, start, scale = _levels(x, loss[:count])
    below = np.flatnonzero(_running_median(level) <= _ceiling(level))
    smooth = _smooth(x, level)[: below.max(initial=-1) + 1]
    return np.clip(smooth + start, -1, 1) * scale


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
    # An explosion must not leak into its neighbours.
    smooth = without_outliers(np.minimum(level, _ceiling(level)))
    low, high = _boxes(x)
    for _ in range(3):
        total = np.concatenate(([0.0], np.cumsum(smooth)))
        smooth = (total[high] - total[low]) / (high - low)
    return np.asarray(smooth)


def _ceiling(level: Array) -> float:
    """As high above the start level as the drop is deep."""
    return max(-float(_running_median(level).min()), 0.0)


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


def without_outliers(level: Array) -> Array:
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
