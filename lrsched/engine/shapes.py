"""How a segment runs from its start value to its end value, as formulas of the distance `t`.

A segment is evaluated from its nearer end. Its first half is anchored at the start, its second
half at the end, and `t`, in [0, 1/2], is the distance from that anchor as a fraction of the
segment. So both ends are exact, a tail that falls to a millionth of the peak keeps its relative
accuracy in float32, and one formula serves both halves of a symmetric shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

HALF_PI = math.pi / 2

Formula = Callable[[float, float, Any, float, Any], Any]


def _linear(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a + k * t


def _cos(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    # (1 - cos(pi t)) / 2 without its cancellation at small t
    wave = xp.sin(t * HALF_PI)
    return a + k * (wave * wave)


def _exp(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a * xp.exp(k * t)


def _rsqrt(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a / xp.sqrt(1.0 + k * t)


def _inverse(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a / (1.0 + k * t)


def _poly_from_start(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    # 1 - (1 - t)**power without its cancellation at small t
    return a - k * xp.expm1(power * xp.log1p(-t))


def _poly_from_end(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a + k * xp.power(t, power)


def _cos_poly_from_start(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    wave = xp.sin(t * HALF_PI)
    return _poly_from_start(a, k, wave * wave, power, xp)


def _cos_poly_from_end(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a + k * xp.power(xp.sin(t * HALF_PI), 2.0 * power)


def _sqrt_from_start(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    return a + k * xp.sqrt(t)


def _sqrt_from_end(a: float, k: float, t: Any, power: float, xp: Any) -> Any:
    # 1 - sqrt(1 - t) without its cancellation at small t
    return a + k * (t / (1.0 + xp.sqrt(1.0 - t)))


class Shape(NamedTuple):
    """How a segment runs from its start value to its end value.

    `constant(a, b)` is the number `k` of the formulas, for a half anchored at value `a` with `b`
    at the far end of the segment.
    """

    constant: Callable[[float, float], float]
    from_start: Formula
    from_end: Formula


def _difference(a: float, b: float) -> float:
    return b - a


def _log_ratio(a: float, b: float) -> float:
    # The logarithms of neighbours differ by less than they round.
    return math.log1p((b - a) / a) if 0.5 < b / a < 2.0 else math.log(b) - math.log(a)


SHAPES = {
    "linear": Shape(_difference, _linear, _linear),
    "cos": Shape(_difference, _cos, _cos),
    # start + (end - start) * sqrt(done)
    "sqrt": Shape(_difference, _sqrt_from_start, _sqrt_from_end),
    # end + (start - end) * left**power, with left the linear or the cosine fraction
    "poly": Shape(_difference, _poly_from_start, _poly_from_end),
    "cos_poly": Shape(_difference, _cos_poly_from_start, _cos_poly_from_end),
    # linear in the logarithm, in 1 / value**2 and in 1 / value: both ends must be > 0
    "exp": Shape(_log_ratio, _exp, _exp),
    "rsqrt": Shape(lambda a, b: (a / b) ** 2 - 1.0, _rsqrt, _rsqrt),
    "inverse": Shape(lambda a, b: a / b - 1.0, _inverse, _inverse),
}
POSITIVE_SHAPES = frozenset({"exp", "rsqrt", "inverse"})
POWER_SHAPES = frozenset({"poly", "cos_poly"})
