"""The suggestion rules of other packages, as each computes them from raw losses.

A rule is `rule(lr, loss, num_steps) -> lr`: what its owner would suggest had its own sweep of
`num_steps` updates met these losses, with its own smoothing, stopping, trimming and oddities. No
owner stops at a NaN, so after a last loss that is not finite the rest of the plan counts as NaN.
The owners' sweeps differ in their ends and lengths; a rule takes the curve that it is given.

Versions: fastai 2.8, Lightning 2.6, ignite 0.5, torch-lr-finder 0.2, ktrain 0.41, keras_lr_finder,
and Dehaene's rule.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rule = Callable[[Array, Array, int], float]
Points = tuple[Array, Array]

EVEN = 2.0  # steps by which points may be off an even sweep: some owners skip one, loggers round
LONGEST = 10**7  # steps of a plan that is continued, point by point


class RuleError(Exception):
    """A rule has no answer for a curve, where its owner raises, fails or returns nothing."""


PEERS: dict[str, Rule] = {}
ALIASES = {
    "valley": "fastai_valley",
    "slide": "fastai_slide",
    "minimum": "fastai_minimum",
    "steep": "fastai_steep",
}


def _peer(rule: Rule) -> Rule:
    """Enter a rule under its function's name."""

    def checked(lr: Array, loss: Array, num_steps: int) -> float:
        if not lr.size:
            raise RuleError("there are no points")
        # Losses that overflow where an owner squares or adds them give it inf or NaN, not an error.
        with np.errstate(all="ignore"):
            return rule(*_to_the_end(lr, loss, num_steps), num_steps)

    checked.__doc__ = rule.__doc__
    PEERS[rule.__name__] = checked
    return rule


def _to_the_end(lr: Array, loss: Array, num_steps: int) -> Points:
    """A curve that ends in NaN or inf, continued with NaN for the rest of the plan."""
    bad = np.flatnonzero(~np.isfinite(loss))
    if lr.size < 2 or not bad.size:
        return lr, loss
    if num_steps > LONGEST:
        raise RuleError(f"a plan of {num_steps} steps that ended early is too long to continue")
    count = int(bad[0])
    missing = max(num_steps, lr.size) - lr.size
    more = lr[-1] * (lr[-1] / lr[-2]) ** np.arange(1, missing + 1)
    longer = np.concatenate((loss[: count + 1], np.full(lr.size + missing - count - 1, np.nan)))
    return np.concatenate((lr, more)), longer


def evenly_spaced(lr: Array, loss: Array) -> Points:
    """As many points at equal ratios, which the rules assume; as it is if its steps are equal.

    Equal in log lr or, for a linear sweep, in lr.
    """
    if lr.size < 3:
        return lr, loss
    for x in (np.log10(lr), lr):
        even, step = np.linspace(x[0], x[-1], x.size, retstep=True)
        if np.abs(x - even).max() <= EVEN * step:
            return lr, loss
    even = np.geomspace(lr[0], lr[-1], lr.size)
    return even, np.interp(np.log10(even), np.log10(lr), loss)


# Smoothing and stopping.


def debiased_mean(loss: Array, extra: int = 0, beta: float = 0.98) -> Array:
    """Exponential moving average over its total weight; Lightning takes a power one too high."""
    out, mean = [], 0.0
    for i, value in enumerate(loss.tolist()):
        mean = beta * mean + (1 - beta) * value
        # A power, as the owners take, and not a product: on a plateau its rounding decides ties.
        out.append(mean / (1 - beta ** (i + 1 + extra)))
    return np.array(out)


def seeded_mean(loss: Array, new: float = 0.05) -> Array:
    """Exponential moving average that starts from the first loss."""
    out = loss.tolist()
    for i in range(1, len(out)):
        out[i] = new * out[i] + (1 - new) * out[i - 1]
    return np.array(out)


def _stop_above(lr: Array, smooth: Array, factor: float) -> Points:
    """Up to and with the first point above `factor` times the lowest so far."""
    lowest = np.fmin.accumulate(smooth)
    return _up_to_first(smooth > factor * lowest, lr, smooth)


def _stop_above_first(lr: Array, smooth: Array, factor: float, best: float) -> Points:
    """The same, but each point is compared with the lowest before it.

    The first point always becomes the lowest and never stops.
    """
    lowest = best
    for i, value in enumerate(smooth.tolist()):
        if i > 0 and value > factor * lowest:
            return lr[: i + 1], smooth[: i + 1]
        if value < lowest or i == 0:
            lowest = value
    return lr, smooth


def _up_to_first(stop: NDArray[np.bool_], lr: Array, smooth: Array) -> Points:
    count = int(stop.argmax()) + 1 if stop.any() else lr.size
    return lr[:count], smooth[:count]


# fastai.


def _fastai_points(lr: Array, loss: Array, num_steps: int) -> Points:
    lr, smooth = _stop_above(lr, debiased_mean(loss), 4)
    window = slice(num_steps // 10, -5)
    lr, smooth = lr[window], smooth[window]
    bad = np.flatnonzero(np.isnan(smooth))
    count = int(bad[0]) if bad.size else lr.size
    if not count:
        raise RuleError("no points are left after trimming")
    return lr[:count], smooth[:count]


def valley_index(loss: Array) -> int:
    """Where fastai's valley lies: about the middle of the longest decreasing subsequence.

    Patience sorting, O(n log n): `tails[k]` is the highest loss on which a strictly decreasing
    subsequence of k + 1 losses can end, here negated so that it rises. The valley is counted back
    from the end by the length of the subsequence, although that is not where it starts.
    """
    tails: list[float] = []
    longest, end, start = 1, 0, 0
    for i, value in enumerate(loss.tolist()):
        if math.isnan(value):
            continue
        length = bisect_left(tails, -value) + 1
        if length > len(tails):
            tails.append(-value)
        else:
            tails[length - 1] = -value
        if length > longest:
            longest, end = length, i
            start = end - longest
    third = (end - start) / 3
    return start + int(third) + int(third / 2)


@_peer
def fastai_valley(lr: Array, loss: Array, num_steps: int) -> float:
    """Middle of the longest decreasing subsequence of the smoothed losses."""
    lr, smooth = _fastai_points(lr, loss, num_steps)
    return float(lr[valley_index(smooth)])


@_peer
def fastai_slide(lr: Array, loss: Array, num_steps: int) -> float:
    """15 points before the last place, seen from the end, where the slope changed by over 0.005."""
    lr, smooth = _fastai_points(lr, loss, num_steps)
    apart = 15
    if lr.size <= apart:
        raise RuleError(f"it needs more than {apart} points, got {lr.size}")
    slope = np.gradient(smooth)
    changes = np.abs(slope[apart:] - slope[:-apart])[::-1] > 0.005
    steady = int(changes.argmin()) if not changes.all() else changes.size
    return float(lr[-1 - apart - max(steady - 1, 0)])


@_peer
def fastai_minimum(lr: Array, loss: Array, num_steps: int) -> float:
    """A tenth of the lr of the lowest smoothed loss."""
    lr, smooth = _fastai_points(lr, loss, num_steps)
    return float(lr[smooth.argmin()] / 10)


@_peer
def fastai_steep(lr: Array, loss: Array, num_steps: int) -> float:
    """Start of the steepest step of the smoothed losses against log lr."""
    lr, smooth = _fastai_points(lr, loss, num_steps)
    if lr.size < 2:
        raise RuleError("no two points are left after trimming")
    return float(lr[(np.diff(smooth) / np.diff(np.log(lr))).argmin()])


# Lightning, ignite, torch-lr-finder.


@_peer
def lightning(lr: Array, loss: Array, num_steps: int) -> float:
    """Steepest slope of the smoothed losses against lr itself, which favours the smallest lrs."""
    lr, smooth = _stop_above_first(lr, debiased_mean(loss, extra=1), 4, best=0.0)
    lr, smooth = lr[10:-1], smooth[10:-1]
    finite = np.isfinite(smooth)
    lr, smooth = lr[finite], smooth[finite]
    if lr.size < 2:
        raise RuleError("fewer than two finite points are left after trimming")
    return float(lr[np.gradient(smooth, lr).argmin()])


@_peer
def ignite(lr: Array, loss: Array, num_steps: int) -> float:
    """Steepest slope by index, left of the lowest smoothed loss."""
    lr, smooth = _stop_above(lr, seeded_mean(loss), 5)
    falling = smooth[: smooth.argmin() + 1]
    if falling.size < 3:
        raise RuleError("the lowest loss is among the first two points")
    return float(lr[(falling[2:] - falling[:-2]).argmin() + 1])


@_peer
def torch_lr_finder(lr: Array, loss: Array, num_steps: int) -> float:
    """Steepest slope by index, without the first 10 and the last 5 points."""
    lr, smooth = _stop_above(lr, seeded_mean(loss), 5)
    if lr.size < 17:
        raise RuleError(f"it needs 17 points, got {lr.size}")
    lr, smooth = lr[10:-5], smooth[10:-5]
    return float(lr[np.gradient(smooth).argmin()])


# ktrain, Dehaene's, keras_lr_finder.


def _ktrain_points(lr: Array, loss: Array) -> Points:
    return _stop_above_first(lr, debiased_mean(loss), 4, best=1e9)


@_peer
def ktrain_valley(lr: Array, loss: Array, num_steps: int) -> float:
    """fastai's valley on losses that nothing is trimmed from."""
    lr, smooth = _ktrain_points(lr, loss)
    return float(lr[valley_index(smooth)])


@_peer
def ktrain_mingrad(lr: Array, loss: Array, num_steps: int) -> float:
    """Steepest slope between point 32 and the lowest, whose index is then counted from 0."""
    lr, smooth = _ktrain_points(lr, loss)
    falling = smooth[32 : smooth.argmin()]
    if falling.size < 2:
        raise RuleError("fewer than two points lie between point 32 and the lowest loss")
    return float(lr[np.gradient(falling).argmin()])


@_peer
def ktrain_min10(lr: Array, loss: Array, num_steps: int) -> float:
    """A tenth of the lr of the lowest smoothed loss."""
    lr, smooth = _ktrain_points(lr, loss)
    return float(lr[smooth.argmin()] / 10)


@_peer
def dehaene_min10(lr: Array, loss: Array, num_steps: int) -> float:
    """A tenth of the lr of the lowest smoothed loss, whatever NaN comes before it."""
    lr, smooth = _stop_above(lr, debiased_mean(loss), 4)
    if np.isnan(smooth).all():
        raise RuleError("every smoothed loss is NaN")
    return float(lr[np.nanargmin(smooth)] / 10)


@_peer
def keras_lr_finder(lr: Array, loss: Array, num_steps: int) -> float:
    """Largest fall of the raw loss over 20 points, without the first 10 and the last 5."""
    back = 20
    # Lowest loss before each point; 1e9 before the first. A NaN is never the lowest.
    lowest = np.minimum(np.fmin.accumulate(np.append(1e9, loss))[:-1], 1e9)
    stop = np.isnan(loss) | (loss > 4 * lowest)
    stop[:6] = False
    lr, loss = _up_to_first(stop, lr, loss)
    if lr.size < 16:
        raise RuleError(f"it needs 16 points, got {lr.size}")
    fall = np.zeros(lr.size)
    fall[back:] = (loss[back:] - loss[:-back]) / back
    return float(lr[10:-5][fall[10:-5].argmin()])
