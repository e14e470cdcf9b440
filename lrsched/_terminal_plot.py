"""Lines drawn with characters, for a terminal where there is no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.text import Text

Array = NDArray[np.float64]

COLORS = ("blue", "yellow", "green", "red", "magenta", "cyan")
# A character of Braille has two columns of four dots; these are their bits.
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BLANK = 0x2800
TICK_WIDTH = 9
# Of a plot that has no width yet; a smaller one shows nothing.
LEAST_WIDTH = 20


class Line(NamedTuple):
    """A line of a plot: its name, and finite or NaN values at rising positions."""

    label: str
    x: Array
    y: Array


def terminal_plot(
    lines: Sequence[Line],
    *,
    title: str,
    log_x: bool = False,
    limits: tuple[float, float] | None = None,
    width: int = 72,
    height: int = 14,
    ascii_only: bool = False,
) -> Text:
    """Draw lines over a common axis, each in a colour, with a legend.

    Args:
        lines: At least one Line.
        title: What is drawn against what.
        log_x: A logarithmic axis; positions are > 0 then.
        limits: Lowest and highest value shown; None shows all.
        width: Of the whole, in characters.
        height: Of the axes, in characters.
        ascii_only: Draw with stars, for a terminal that knows no other characters.
    """
    from rich.text import Text

    columns = max(width, LEAST_WIDTH) - TICK_WIDTH - 2
    positions = [np.log10(line.x) if log_x else line.x for line in lines]
    ends = min(float(x[0]) for x in positions), max(float(x[-1]) for x in positions)
    low, high = limits or _limits(lines)
    bits = np.zeros((height, columns), int)
    owners = np.zeros((height, columns), int)
    for number, (line, x) in enumerate(zip(lines, positions, strict=True)):
        dots = _dots(x, line.y, ends, (low, high), (4 * height, 2 * columns))
        own = (dots.reshape(height, 4, columns, 2) * DOTS[None, :, None, :]).sum((1, 3))
        bits |= own
        owners[own > 0] = number
    text = Text(f"{title}\n")
    for row in range(height):
        tick = {0: high, height - 1: low, (height - 1) // 2: (low + high) / 2}.get(row)
        text.append(f"{'' if tick is None else f'{tick:.3g}':>{TICK_WIDTH}} |")
        for bit, owner in zip(bits[row].tolist(), owners[row].tolist(), strict=True):
            mark = ("*" if bit else " ") if ascii_only else chr(BLANK + bit)
            text.append(mark, COLORS[owner % len(COLORS)])
        text.append("\n")
    left, right = (f"{10**end if log_x else end:.3g}" for end in ends)
    text.append(f"{'':>{TICK_WIDTH}} {left}{right:>{columns + 1 - len(left)}}\n")
    for number, line in enumerate(lines):
        text.append("** " if ascii_only else "⠤⠤ ", COLORS[number % len(COLORS)])
        text.append(f"{line.label}\n")
    return text


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _dots(
    x: Array,
    y: Array,
    ends: tuple[float, float],
    limits: tuple[float, float],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Dots of a line, of `shape` (rows, columns); a step between columns is filled."""
    rows, columns = shape
    (left, right), (low, high) = ends, limits
    dots = np.zeros(shape, bool)
    if x.size == 1 or left == right:
        at = np.full(x.size, columns // 2)
        levels = y
    else:
        grid = np.linspace(left, right, columns)
        at = np.flatnonzero((grid >= x[0]) & (grid <= x[-1]))
        levels = np.interp(grid[at], x, y)
    before = None
    for column, level in zip(at.tolist(), levels.tolist(), strict=True):
        if not low <= level <= high:  # nor is NaN
            before = None
            continue
        row = round((high - level) / (high - low) * (rows - 1))
        first, last = sorted((row, row if before is None else before))
        dots[first : last + 1, column] = True
        before = row
    return dots
