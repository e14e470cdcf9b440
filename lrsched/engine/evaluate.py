"""The only arithmetic on steps: turns segments, which are data, and a step into a value.

`compile_plan` writes a schedule out as pieces, halves of segments, once. Three drivers then choose
the piece for a step, all with the formulas of `shapes`: `at` for one int, `over` for a NumPy array,
and `within` for any other namespace, which may be traced. A step before 0 is step 0.
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
# Up to so many pieces, a trace computes each and selects; of more, it looks up the numbers of one.
MAX_SELECTED = 32
TOO_LARGE = "step must be one at which the value of a growing schedule is a float, got a later one"


class Piece(NamedTuple):
    """Half a segment, or a held value; in force from step `first` to the next piece.

    The anchor is `whole + fraction`, kept apart so that integer steps are subtracted before
    anything is rounded to float; `span` is negative for a half anchored at its end. No `whole` is
    negative, so that the difference fits the type of the steps.
    """

    first: int
    formula: Formula
    a: float
    k: float
    power: float
    whole: int
    fraction: float
    span: float


class Columns(NamedTuple):
    """The numbers of all pieces as arrays of shape [pieces]; `kind` is an index of `formulas`."""

    formulas: list[Formula]
    first: NDArray[np.int64]
    kind: NDArray[np.int64]
    whole: NDArray[np.int64]
    a: NDArray[np.float64]
    k: NDArray[np.float64]
    power: NDArray[np.float64]
    fraction: NDArray[np.float64]
    span: NDArray[np.float64]

    @property
    def numbers(self) -> tuple[NDArray[Any], ...]:
        """The columns `whole, a, k, power, fraction, span`."""
        return self[3:]


class Plan(NamedTuple):
    """A schedule written out for evaluation; `period` is 0 where no step is folded back."""

    firsts: list[int]
    pieces: list[Piece]
    columns: Columns
    loop_from: int | None
    period: int
    log_gamma: float
    every: int
    floor: float

    @property
    def reach(self) -> int:
        """Largest int of the arithmetic, beside the steps themselves."""
        loop = 0 if self.loop_from is None else self.loop_from + max(self.period, self.every)
        return max(loop, self.firsts[-1], int(self.columns.whole.max()))


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
        columns=_columns(pieces),
        loop_from=loop_from,
        period=period or 0,
        log_gamma=math.log(gamma),
        every=every,
        floor=floor,
    )


def _columns(pieces: list[Piece]) -> Columns:
    first, formula, a, k, power, whole, fraction, span = zip(*pieces, strict=True)
    formulas = list(dict.fromkeys(formula))
    kinds = [formulas.index(each) for each in formula]
    return Columns(
        formulas,
        first=np.array(first, np.int64),
        kind=np.array(kinds, np.int64),
        whole=np.array(whole, np.int64),
        a=np.array(a),
        k=np.array(k),
        power=np.array(power),
        fraction=np.array(fraction, np.float64),
        span=np.array(span),
    )


def _pieces(segment: Segment) -> Iterator[Piece]:
    start, end, power = segment.start, segment.end, segment.power
    a, b, length = segment.start_value, segment.end_value, segment.end - segment.start
    shape = SHAPES[segment.shape]
    if a == b:
        yield _held(a, segment.first)
        return
    after_start, before_end = max(math.ceil(start), 0), math.floor(end)
    # never at the start itself, also where rounding puts the middle of a short segment there
    middle = max(segment.first, math.ceil((start + end) / 2), math.floor(start) + 1)
    forth, back = shape.constant(a, b), shape.constant(b, a)
    yield Piece(
        segment.first, shape.from_start, a, forth, power, after_start, start - after_start, length
    )
    yield Piece(middle, shape.from_end, b, back, power, before_end, end - before_end, -length)
    yield _held(b, before_end + 1)


def _held(value: float, first: int) -> Piece:
    return Piece(first, SHAPES["linear"].from_start, value, 0.0, 1.0, max(first, 0), 0.0, 1.0)


def _progress(whole: Any, fraction: Any, span: Any, position: Any, xp: Any) -> Any:
    return (xp.floating(position - whole) - fraction) / span


def _fold(plan: Plan, step: Any, xp: Any) -> Any:
    """The step within the first cycle of a loop that has the same undamped value."""
    if plan.loop_from is None or plan.period == 0:
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
    """Value at one int step, >= 0."""
    position = step if plan.loop_from is None else _fold(plan, step, Scalar)
    piece = plan.pieces[bisect_right(plan.firsts, position) - 1]
    t = (position - piece.whole - piece.fraction) / piece.span
    value: float = piece.formula(piece.a, piece.k, t, piece.power, Scalar)
    if plan.log_gamma == 0.0:
        return value
    try:
        return float(_damp(plan, value, step, Scalar))
    except OverflowError:
        raise ValueError(TOO_LARGE) from None


def over(plan: Plan, steps: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Values at an integer array of any shape."""
    values = np.empty(steps.shape)
    flat, out = steps.reshape(-1), values.reshape(-1)
    for low in range(0, flat.size, BLOCK):
        block = flat[low : low + BLOCK].astype(np.int64)
        _fill(plan, np.maximum(block, 0), out[low : low + BLOCK])
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
        piece = plan.pieces[lowest]
        t = _progress(piece.whole, piece.fraction, piece.span, positions, Numpy)
        out[:] = piece.formula(piece.a, piece.k, t, piece.power, Numpy)
    else:
        _fill_from_columns(plan.columns, positions, out)
    if plan.log_gamma != 0.0:
        with np.errstate(over="ignore", invalid="ignore"):
            out[:] = _damp(plan, out, steps, Numpy)
        if plan.log_gamma > 0.0 and not np.isfinite(out).all():
            raise ValueError(TOO_LARGE)


def _fill_from_columns(
    columns: Columns, positions: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    chosen = np.searchsorted(columns.first, positions, side="right") - 1
    kinds = columns.kind[chosen]
    for kind, formula in enumerate(columns.formulas):
        mask = kinds == kind
        if mask.any():
            which = chosen[mask]
            whole, a, k, power, fraction, span = (column[which] for column in columns.numbers)
            t = _progress(whole, fraction, span, positions[mask], Numpy)
            out[mask] = formula(a, k, t, power, Numpy)


def within(plan: Plan, step: Any, xp: Any) -> Any:
    """Value at an integer tensor of the namespace `xp`, eager or traced.

    Each formula is evaluated with its progress clipped, so one that is not in force gives a finite
    value, never one that trips a NaN check.
    """
    largest = xp.largest(step)
    if plan.reach > largest:
        plan = _within_reach(plan, largest)
    step = xp.where(step > 0, step, step * 0)
    position = _fold(plan, step, xp)
    several = len(plan.pieces) > MAX_SELECTED
    value = (_looked_up if several else _selected)(plan, position, xp)
    return _damp(plan, value, step, xp)


def _selected(plan: Plan, position: Any, xp: Any) -> Any:
    value = None
    for piece in plan.pieces:
        t = _progress(piece.whole, piece.fraction, piece.span, position, xp)
        inside = piece.formula(piece.a, piece.k, xp.clip(t, 0.0, 1.0), piece.power, xp)
        value = inside if value is None else xp.where(position >= piece.first, inside, value)
    return value


def _looked_up(plan: Plan, position: Any, xp: Any) -> Any:
    columns = plan.columns
    chosen = xp.count_up_to(columns.first, position) - 1
    whole, a, k, power, fraction, span = (xp.take(column, chosen) for column in columns.numbers)
    kind = xp.take(columns.kind, chosen)
    t = xp.clip(_progress(whole, fraction, span, position, xp), 0.0, 1.0)
    value = None
    for index, formula in enumerate(columns.formulas):
        inside = formula(a, xp.where(kind == index, k, t * 0.0), t, power, xp)
        value = inside if value is None else xp.where(kind == index, inside, value)
    return value


def _within_reach(plan: Plan, largest: int) -> Plan:
    """Return the plan for steps of a type that holds no int above `largest`."""
    pieces = [
        piece._replace(
            whole=min(piece.whole, largest),
            fraction=piece.fraction + max(piece.whole - largest, 0),
        )
        for piece in plan.pieces
        if piece.first <= largest
    ]
    loop_from = plan.loop_from
    if loop_from is not None and loop_from > largest:
        loop_from = None
    return plan._replace(
        firsts=[piece.first for piece in pieces],
        pieces=pieces,
        columns=_columns(pieces),
        loop_from=loop_from,
        period=plan.period if (loop_from or 0) + plan.period <= largest else 0,
        log_gamma=plan.log_gamma if plan.every <= largest else 0.0,
    )
