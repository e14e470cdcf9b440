"""When a sweep has diverged: the rule that stops a range test, and that ends a curve's reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median, quantiles

MIN_POINTS = 10
LAST_POINTS = 5  # whose median is compared
STOP_FACTOR = 2.0
MIN_BITS = 8  # of bfloat16
ROUNDINGS = 8.0  # in so many steps of its resolution, a loss has not moved
# The range of the early losses over that of their middle half; beyond, it is that of odd batches.
RANGE_OVER_QUARTILES = 10.0
STEP_OVER_NOISE = 0.954  # median of |a - b|, for two draws of a Gaussian, over its deviation
SCATTER_POINTS = 20  # the losses that give the current scatter; fewer vary too much
SPREAD_OVER_SCATTER = 4.0  # range of so many losses, about
DROP_OVER_SCATTER = 3.0  # a drop that stands out of the scatter around it


def resolution(losses: Sequence[float]) -> float:
    """Distance from a typical loss to the next number of the type that the losses come from.

    That is the coarsest of the usual ones, from bfloat16 on, that holds all of them: a loss that
    was computed in float32 says no more for being kept as a float64.
    """
    typical = median(map(abs, losses))
    if not typical:
        return 0.0
    return math.ldexp(1.0, math.frexp(typical)[1] - max(MIN_BITS, *map(_bits, losses)))


def _bits(value: float) -> int:
    """Significant bits of a number."""
    mantissa = int(math.ldexp(math.frexp(value)[0], 53))
    return 54 - (mantissa & -mantissa).bit_length() if mantissa else 0


class Divergence:
    """Says when the losses of a sweep have left the range in which anything can be learned.

    The median of the last five losses must exceed the start level by `factor` times the larger of
    the drop so far (start level - lowest median) and the spread of the early losses. Only
    differences of losses count, so sign, offset and scale of the loss do not matter; the median
    lets two bad batches in a row pass; and the first fifth of the sweep, whose spread is measured,
    never ends it. The spread is that of losses other than odd ones, and no less than what rounding
    makes of a loss that stays the same.

    On a plateau, where no drop stands out of the scatter, that scatter grows with the lr and soon
    exceeds what it was at the start; there the spread of the losses before the last five counts
    too.
    """

    def __init__(self, factor: float, num_steps: int) -> None:
        self._factor = factor
        self._early = max(MIN_POINTS, num_steps // 5)
        self._losses: list[float] = []
        self._start = self._spread = 0.0
        self._best = self._limit = math.inf
        self._best_end = 0  # number of losses when the lowest median was met
        # Losses that cannot have ended the sweep, and are not looked at before it matters.
        self._waiting: list[float] = []

    def first(self, losses: Sequence[float]) -> int | None:
        """Take finite losses, in order; index of the one at which the sweep has diverged."""
        # The limit only rises: medians of losses that are all below it are, and will be, too.
        if len(self._losses) >= self._early and max(losses) <= self._limit:
            self._waiting += losses
            return None
        for loss in self._waiting:
            self._update(loss)
        self._waiting.clear()
        return next((i for i, loss in enumerate(losses) if self._update(loss)), None)

    def _update(self, loss: float) -> bool:
        seen = self._losses
        seen.append(loss)
        if len(seen) <= self._early:
            if len(seen) == self._early:
                self._begin()
            return False
        middle = sorted(seen[-LAST_POINTS:])[LAST_POINTS // 2]
        if middle < self._best:
            self._best, self._best_end = middle, len(seen)
            self._set_limit()
        return middle > self._limit and self._stands_out(middle)

    def _begin(self) -> None:
        """Measure the early losses, which never end a sweep."""
        seen = self._losses
        self._start, self._spread = median(seen[:MIN_POINTS]), _spread(seen)
        windows = zip(*(seen[i:] for i in range(LAST_POINTS)), strict=False)
        middles = [sorted(window)[LAST_POINTS // 2] for window in windows]
        self._best = min(middles)
        self._best_end = middles.index(self._best) + LAST_POINTS
        self._set_limit()

    def _stands_out(self, middle: float) -> bool:
        """Whether a rise above the limit is more than the scatter of a plateau."""
        if self._start - self._best > DROP_OVER_SCATTER * self._scatter(self._best_end):
            return True
        spread = SPREAD_OVER_SCATTER * self._scatter(len(self._losses) - LAST_POINTS)
        return middle > self._start + self._factor * spread

    def _scatter(self, end: int) -> float:
        """Standard deviation of a loss before `end`, whatever the trend and a few odd ones."""
        before = self._losses[max(end - SCATTER_POINTS, 0) : end]
        steps = [abs(b - a) for a, b in pairwise(before)]
        return median(steps) / STEP_OVER_NOISE if steps else 0.0

    def _set_limit(self) -> None:
        scale = max(self._start - self._best, self._spread)
        self._limit = self._start + self._factor * scale


def _spread(losses: Sequence[float]) -> float:
    low, _, high = quantiles(losses, n=4)
    spread = max(losses) - min(losses)
    if high > low:
        spread = min(spread, RANGE_OVER_QUARTILES * (high - low))
    return max(spread, ROUNDINGS * resolution(losses))
