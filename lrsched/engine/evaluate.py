"""The only arithmetic on steps: turns segments, which are data, and a step into a value.

`compile_plan` writes a schedule out as pieces, halves of segments, once. Three drivers then choose
the piece for a step, all with the formulas of `shapes`: `at` for one int, `over` for a NumPy array,
and `within` for any other namespace, which may be traced and so evaluates every piece and selects.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrsched.engine.namespaces import Numpy, Scalar
from lrsched.engine.segment import Segment
from lrsched.engine.shapes import SHAPES, Formula

# Steps beyond this do not fit the int64 of NumPy.
MAX_STEP = 2**63 - 1
# Steps a NumPy block holds: its temporaries stay in the cache, whatever the length of the array.
BLOCK = 8192


class Piece(NamedTuple):
    """Half a segment, or a held value; in force from step `first` to the next piece.

    The anchor is `whole + fraction`, kept apart so that integer steps are subtracted before
    anything is rounded to float; `span` is negative for a half anchored at its end.
    """

    first: int
    formula: Formula
    a: float
    k: float
    power: float
    whole: int
    fraction: float
    span: float


class Plan(NamedTuple):
    """A schedule written out for evaluation."""

    firsts: list[int]
    pieces: list[Piece]
    loop_from: int | None
    period: int
    log_gamma: float
    every: int
    floor: float


def compile_plan(
    segments: Sequence[Segment],
    loop_from: int | None,
    period: int | None,
    gamma: float,
    every: int,
    floor: float,
) -> Plan:
    """Write a schedule out as pieces in the order of their first steps."""
    pieces = [_held(segments[0].start_value, 0)] if segments[0].first > 0 else []
    for segment, following in zip(segments, (*segments[1:], None), strict=True):
        limit = math.inf if following is None else following.first
        pieces += [piece for piece in _pieces(segment) if piece.first < limit]
    return Plan(
        firsts=[piece.first for piece in pieces],
        pieces=pieces,
        loop_from=loop_from,
        period=period or 1,
        log_gamma=math.log(gamma),
        every=every,
        floor=floor,
    )


def _pieces(segment: Segment) -> Iterator[Piece]:
    start, end, power = segment.start, segment.end, segment.power
    a, b, length = segment.start_value, segment.end_value, segment.end - segment.start
    shape = SHAPES[segment.shape]
    if a == b:
        yield _held(a, segment.first)
        return
    after_start, before_end = math.ceil(start), math.floor(end)
    # never at the start itself, also where rounding puts the middle of a short segment there
    middle = max(segment.first, math.ceil((start + end) / 2), math.floor(start) + 1)
    forth, back = shape.constant(a, b), shape.constant(b, a)
    yield Piece(
        segment.first, shape.from_start, a, forth, power, after_start, start - after_start, length
    )
    yield Piece(middle, shape.from_end, b, back, power, before_end, end - before_end, -length)
    yield _held(b, before_end + 1)


def _held(value: float, first: int) -> Piece:
    return Piece(first, SHAPES["linear"].from_start, value, 0.0, 1.0, first, 0.0, 1.0)


def _progress(piece: Piece, position: Any, xp: Any) -> Any:
    return (xp.floating(position - piece.whole) - piece.fraction) / piece.span


def _fold(plan: Plan, step: Any, xp: Any) -> Any:
    """The step within the first cycle of a loop that has the same undamped value."""
    if plan.loop_from is None:
        return step
    folded = plan.loop_from + (step - plan.loop_from) % plan.period
    return xp.where(step >= plan.loop_from, folded, step)


def _damp(plan: Plan, value: Any, step: Any, xp: Any) -> Any:
    """Decay towards the floor: `floor + (value - floor) * gamma**n`, free of cancellation.

    The power is exp(n log gamma), since gamma itself rounds in float32.
    """
    if plan.log_gamma == 0.0 or plan.loop_from is None:
        return value
    since = xp.where(step >= plan.loop_from, step - plan.loop_from, step * 0)
    exponent = xp.floating(since // plan.every) * plan.log_gamma
    return value * xp.exp(exponent) - plan.floor * xp.expm1(exponent)


def at(plan: Plan, step: int) -> float:
    """Value at one int step."""
    position = step if plan.loop_from is None else _fold(plan, step, Scalar)
    piece = plan.pieces[bisect_right(plan.firsts, position) - 1]
    t = (position - piece.whole - piece.fraction) / piece.span
    value: float = piece.formula(piece.a, piece.k, t, piece.power, Scalar)
    return value if plan.log_gamma == 0.0 else _damp(plan, value, step, Scalar)


def over(plan: Plan, steps: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Values at an integer array of any shape."""
    values = np.empty(steps.shape)
    flat, out = steps.reshape(-1), values.reshape(-1)
    for low in range(0, flat.size, BLOCK):
        _fill(plan, flat[low : low + BLOCK].astype(np.int64), out[low : low + BLOCK])
    return values


def first(plan: Plan, num_steps: int) -> NDArray[np.float64]:
    """Values at the steps 0 .. num_steps - 1, with no array of steps in memory."""
    values = np.empty(num_steps)
    for low in range(0, num_steps, BLOCK):
        out = values[low : low + BLOCK]
        _fill(plan, np.arange(low, low + out.size, dtype=np.int64), out)
    return values


def _fill(plan: Plan, steps: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    positions = _fold(plan, steps, Numpy)
    lowest = bisect_right(plan.firsts, positions.min()) - 1
    highest = bisect_right(plan.firsts, positions.max()) - 1
    if lowest == highest:
        out[:] = _inside(plan.pieces[lowest], positions)
    else:
        chosen = np.searchsorted(plan.firsts, positions, side="right") - 1
        for index in range(lowest, highest + 1):
            mask = chosen == index
            out[mask] = _inside(plan.pieces[index], positions[mask])
    if plan.log_gamma != 0.0:
        out[:] = _damp(plan, out, steps, Numpy)


def _inside(piece: Piece, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    t = _progress(piece, positions, Numpy)
    values: NDArray[np.float64] = piece.formula(piece.a, piece.k, t, piece.power, Numpy)
    return values


def within(plan: Plan, step: Any, xp: Any) -> Any:
    """Value at an integer tensor of the namespace `xp`, eager or traced.

    Every piece is evaluated with its progress clipped, so a piece that is not in force gives a
    finite value, never one that trips a NaN check.
    """
    position = _fold(plan, step, xp)
    value = None
    for piece in plan.pieces:
        t = xp.clip(_progress(piece, position, xp), 0.0, 1.0)
        inside = piece.formula(piece.a, piece.k, t, piece.power, xp)
        value = inside if value is None else xp.where(position >= piece.first, inside, value)
    return _damp(plan, value, step, xp)
