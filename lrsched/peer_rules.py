"""The suggestion rules of other packages, as each computes them from raw losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rule = Callable[[Array, Array, int], float]


class RuleError(Exception):
    """A rule that has no answer for a curve."""


PEERS: dict[str, Rule] = {}
ALIASES: dict[str, str] = {}
