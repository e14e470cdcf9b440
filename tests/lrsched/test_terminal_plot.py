"""Lines drawn with characters."""

import math

import numpy as np
import pytest

pytest.importorskip("rich", reason="needs rich, of the cli extra")

from lrsched._terminal_plot import BLANK, Line, terminal_plot

X = np.arange(100.0)


def drawn(*lines, **options):
    """The columns of the axes, each as the rows that have a mark in it, and all the text."""
    text = terminal_plot(lines, title="y by x", **options).plain
    rows = [row.split("|", 1)[1] for row in text.splitlines() if "|" in row]
    blank = {" ", chr(BLANK)}
    marks = zip(*rows, strict=True)
    return [[i for i, mark in enumerate(column) if mark not in blank] for column in marks], text


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_rising_line_rises_from_corner_to_corner(ascii_only):
    columns, text = drawn(Line("ramp", X, X / 99), width=50, height=10, ascii_only=ascii_only)
    assert (columns[0], columns[-1]) == ([9], [0])
    tops = [min(rows) for rows in columns]
    assert tops == sorted(tops, reverse=True)
    assert text.splitlines()[0] == "y by x"
    assert text.splitlines()[1].split("|")[0].strip() == "1"
    assert text.splitlines()[-2].split() == ["0", "99"]
    assert text.endswith("ramp\n")
    assert text.isascii() == ascii_only
    assert max(map(len, text.splitlines())) <= 50


def test_a_step_is_filled_and_what_is_beyond_the_limits_or_nan_is_left_out():
    step = Line("step", X, np.where(X < 50, 0.0, 1.0))
    columns, _ = drawn(step, width=50, height=10)
    assert [*range(10)] in columns
    odd = Line("odd", X, np.where(X < 50, 0.5, np.where(X < 80, 9.0, math.nan)))
    columns, _ = drawn(odd, limits=(0.0, 1.0), width=50, height=10)
    assert all(columns[:15])
    assert not any(columns[22:])


def test_a_logarithmic_axis_and_its_ends():
    lr = np.geomspace(1e-6, 1, 60)
    columns, text = drawn(Line("a", lr, np.log10(lr)), log_x=True, width=60, height=12)
    assert text.splitlines()[-2].split() == ["1e-06", "1"]
    middle = columns[len(columns) // 2]
    assert 5 <= middle[0] <= 6


@pytest.mark.parametrize("line", [Line("one", X[:1], X[:1]), Line("flat", X, np.ones(100))])
def test_a_point_and_a_flat_line_can_be_seen(line):
    columns, _ = drawn(line, width=40)
    assert any(columns)


def test_several_lines_have_each_a_colour_of_its_own():
    lines = [Line(name, X, X + shift) for name, shift in (("a", 0), ("b", 40))]
    text = terminal_plot(lines, title="")
    assert {"blue", "yellow"} == {str(span.style) for span in text.spans}
