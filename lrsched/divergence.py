"""When a sweep has diverged: the rule that stops a range test, and that ends a curve's reading."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median

MIN_POINTS = 10
STOP_FACTOR = 2.0


class Divergence:
    """Says when the losses of a sweep have left the range in which anything can be learned.

    The median of the last five losses must exceed the start level by `factor` times the larger of
    the drop so far (start level - lowest median) and the spread of the early losses. Only
    differences of losses count, so sign, offset and scale of the loss do not matter; the median
    lets two bad batches in a row pass; and the first fifth of the sweep, whose spread is measured,
    never ends it.
    """

    def __init__(self, factor: float, num_steps: int) -> None:
        self._factor = factor
        self._early = max(MIN_POINTS, num_steps // 5)
        self._head: list[float] = []
        self._last: deque[float] = deque(maxlen=5)
        self._start = self._spread = 0.0
        self._best = self._limit = math.inf
        # Losses that cannot have ended the sweep, and are not looked at before it matters.
        self._waiting: list[float] = []

    def first(self, losses: Sequence[float]) -> int | None:
        """Take finite losses, in order; index of the one at which the sweep has diverged."""
        # The limit only rises: medians of losses that are all below it are, and will be, too.
        if len(self._head) == self._early and max(losses) <= self._limit:
            self._waiting += losses
            return None
        for loss in self._waiting:
            self._update(loss)
        self._waiting.clear()
        return next((i for i, loss in enumerate(losses) if self._update(loss)), None)

    def _update(self, loss: float) -> bool:
        self._last.append(loss)
        middle = sorted(self._last)[len(self._last) // 2]
        if middle < self._best:
            self._best = middle
            self._set_limit()
        if len(self._head) < self._early:
            self._head.append(loss)
            if len(self._head) == self._early:
                self._start = median(self._head[:MIN_POINTS])
                self._spread = max(self._head) - min(self._head)
                self._set_limit()
            return False
        return middle > self._limit

    def _set_limit(self) -> None:
        scale = max(self._start - self._best, self._spread)
        self._limit = self._start + self._factor * scale
