"""Plots of loss curves: what is drawn, on which axes, and that nothing is shown."""

import base64
import builtins
import math
from dataclasses import replace

import numpy as np
import pytest

from lrsched.curve.comparison import compare
from lrsched.curve.loss_curve import LossCurve
from lrsched.range_test import RangeTest

matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot


@pytest.fixture(autouse=True)
def no_show(monkeypatch):
    def shown(*_, **__):
        raise AssertionError("a plot was shown")

    monkeypatch.setattr(pyplot, "show", shown)
    yield
    pyplot.close("all")


def curve_at(drop_at=1e-3, num_steps=200):
    lr = np.geomspace(1e-7, 10, num_steps)
    noise = 0.05 * np.random.default_rng(0).standard_normal(num_steps)
    return LossCurve(lr, 0.3 + 2 / (1 + lr / drop_at) + np.minimum(lr**3, 50) * 1e3 + noise)


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_raw_and_smoothed_losses_and_the_suggestion_are_drawn():
    curve = curve_at()
    ax = curve.plot()
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["raw loss"].get_ydata(), curve.loss)
    np.testing.assert_array_equal(drawn["raw loss"].get_xdata(), curve.lr)
    smooth = drawn["smoothed"].get_ydata()
    assert np.abs(np.diff(smooth[:80])).max() < np.abs(np.diff(curve.loss[:80])).max() / 3
    best = curve.suggest()
    assert drawn[f"suggestion: lr {best.lr:.2g}"].get_xdata()[0] == best.lr
    (band,) = ax.patches
    assert band.get_label() in legend(ax)
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(best.band)
    assert ax.get_xscale() == "log"


def test_the_smooth_has_no_lag():
    lr = np.geomspace(1e-6, 1, 300)
    step = LossCurve(lr, np.where(lr < 1e-3, 2.0, 1.0))
    smooth = lines(step.plot())["smoothed"].get_ydata()
    assert lr[np.argmax(smooth < 1.5)] == pytest.approx(1e-3, rel=0.05)


def test_a_divergence_does_not_flatten_the_picture():
    curve = curve_at()
    low, high = curve.plot().get_ylim()
    assert high < 6
    assert low < curve.loss.min()
    assert curve.plot(full_range=True).get_ylim()[1] > curve.loss.max()


def test_ends_can_be_skipped():
    curve = curve_at()
    ax = curve.plot(skip_start=10, skip_end=60, suggestion=False)
    drawn = lines(ax)
    assert set(drawn) == {"raw loss", "smoothed"}
    for line in drawn.values():
        np.testing.assert_array_equal(line.get_xdata(), curve.lr[10:-60])
    bare = curve.plot(smooth=False, suggestion=False, xscale="linear")
    assert set(lines(bare)) == {"raw loss"}
    assert bare.get_xscale() == "linear"


def test_any_suggestion_can_be_marked():
    curve = curve_at()
    peer = curve.suggest(method="valley")
    ax = curve.plot(suggestion=peer)
    assert f"fastai_valley: lr {peer.lr:.2g}" in legend(ax)
    assert not ax.patches
    constant = curve.suggest(schedule="constant")
    assert f"suggestion: lr {constant.lr:.2g}" in legend(curve.plot(schedule="constant"))
    doubtful = replace(constant, confident=False)
    assert f"suggestion: lr {constant.lr:.2g}, in doubt" in legend(curve.plot(suggestion=doubtful))
    fallback = LossCurve(curve.lr, np.ones(len(curve))).suggest(fallback=1e-3)
    assert "fallback: lr 0.001" in legend(curve.plot(suggestion=fallback))


@pytest.mark.parametrize("odd", [100.0, -100.0])
@pytest.mark.parametrize("at", [0, 90])
def test_one_odd_batch_does_not_flatten_the_picture(odd, at):
    plain, loss = curve_at(), curve_at().loss.copy()
    loss[at] = odd
    for ends in (LossCurve(plain.lr, loss).plot().get_ylim(), plain.plot().get_ylim()):
        assert -0.5 < ends[0] < 0.3
        assert 3 < ends[1] < 6


@pytest.mark.parametrize("end", [math.nan, math.inf])
def test_the_end_of_a_sweep_in_nan_is_marked(end):
    lr = np.geomspace(1e-6, 1, 50)
    ax = LossCurve(lr, [*(2 / (1 + lr[:-1] / 1e-3)), end]).plot()
    assert lines(ax)[f"{end} at lr 1"].get_xdata()[0] == lr[-1]
    assert f"{end} at lr 1" in legend(ax)
    assert "nan" not in "".join(legend(curve_at().plot()))


def test_no_smooth_is_drawn_where_it_would_not_follow_the_losses():
    """The first points of a linear sweep lie decades apart, and the start level is lost."""
    lr = np.linspace(1e-4, 0.5, 300)
    curve = LossCurve(lr, 0.3 + 2 / (1 + (lr / 1e-3) ** 1.5) + (lr / 0.3) ** 3)
    drawn = lines(curve.plot())["smoothed"]
    losses = np.interp(drawn.get_xdata(), lr, curve.loss)
    assert np.abs(drawn.get_ydata() - losses)[5:].max() < 0.5


@pytest.mark.parametrize(
    "loss",
    [[], [1.0], np.ones(50), np.full(50, math.nan), np.full(50, 1e300)],
    ids=["none", "one point", "flat", "nan", "huge"],
)
def test_a_curve_without_a_suggestion_is_drawn_and_says_so(loss):
    ax = LossCurve(np.geomspace(1e-6, 1, len(loss)), loss).plot()
    assert len(loss) < 2 or "no suggestion" in legend(ax)
    assert len(loss) != 1 or lines(ax)["raw loss"].get_marker() == "."
    ax.figure.canvas.draw()


def test_it_draws_on_the_axes_it_is_given():
    _, axes = pyplot.subplots(2)
    assert curve_at().plot(axes[1]) is axes[1]
    assert not axes[0].get_lines()
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"xscale": "symlog"}, ValueError),
        ({"skip_start": -1}, ValueError),
        ({"skip_end": 200}, ValueError),
        ({"skip_start": 1.5}, TypeError),
        ({"schedule": "cosine"}, ValueError),
        ({"schedule": "cosine", "suggestion": False}, ValueError),
        ({"suggestion": "valley"}, TypeError),
        ({"suggestion": 1}, TypeError),
        ({"smooth": "yes"}, TypeError),
        ({"full_range": None}, TypeError),
    ],
)
def test_bad_options_are_refused_before_a_figure_is_made(options, error):
    with pytest.raises(error, match="must be"):
        curve_at().plot(**options)
    if options.keys() <= {"xscale", "schedule", "full_range"}:
        with pytest.raises(error, match="must be"):
            compare([curve_at()]).plot(**options)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("end", "options"),
    [
        ([5e307, -5e307], {"full_range": True}),
        ([1.7e308, 1.7e308], {}),
        ([math.inf, 1.0], {"xscale": "linear"}),
    ],
)
def test_losses_that_no_axis_can_hold_are_left_out(end, options):
    lr = np.geomspace(1e-6, 1, 50)
    curve = LossCurve(lr, [*(2 / (1 + lr[:-2] / 1e-3)), *end])
    for ax in (curve.plot(**options), compare([curve]).plot(**options)):
        ax.figure.canvas.draw()
        assert np.isfinite(ax.get_lines()[0].get_ydata()[:-2]).all()
        assert max(map(abs, ax.get_ylim())) < 10


def test_a_comparison_overlays_its_curves_with_a_legend():
    curves = curve_at(1e-3), curve_at(1e-2), LossCurve(np.geomspace(1e-7, 10, 50), np.ones(50))
    both = compare(curves, labels=["Adam", "SGD", "flat"])
    ax = both.plot()
    first, second = (curve.suggest().lr for curve in curves[:2])
    assert legend(ax) == [f"Adam: lr {first:.2g}", f"SGD: lr {second:.2g}", "flat: no suggestion"]
    dots = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [first, second]
    with pytest.raises(ValueError, match="xscale must be"):
        both.plot(xscale="cubic")


def test_a_comparison_of_trained_models_shows_their_guesses():
    lr = np.geomspace(1e-6, 10, 200)
    noise = np.random.default_rng(0).normal(0, 1e-3, 200)
    rising = LossCurve(lr, 0.2 + np.minimum((lr / 0.1) ** 2, 5) + noise)
    both = compare([curve_at(), rising], labels=["fresh", "trained"])
    found = both.suggestions(pretrained=True)
    assert found == {"fresh": curve_at().suggest(), "trained": rising.suggest(pretrained=True)}
    assert found["trained"].method == "guess"
    assert legend(both.plot(pretrained=True))[1] == f"trained: lr {found['trained'].lr:.2g}"
    pyplot.close("all")
    with pytest.raises(TypeError, match="pretrained must be"):
        both.plot(pretrained="yes")
    assert not pyplot.get_fignums()


def ended_in_nan():
    curve = curve_at()
    return LossCurve(curve.lr[:170], [*curve.loss[:169], math.nan], num_steps=200)


def contrast(color, background):
    """How far a colour drawn on a background is from it, in [0, 1]."""
    *color, alpha = matplotlib.colors.to_rgba(color)
    return alpha * np.abs(np.subtract(color, matplotlib.colors.to_rgb(background))).max()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_all_lines_and_the_band_can_be_told_from_the_background(style):
    with pyplot.style.context(style):
        ax = ended_in_nan().plot()
    background = ax.get_facecolor()
    (band,) = ax.patches
    assert contrast(band.get_facecolor(), background) > 0.15
    colors = [band.get_edgecolor(), *(line.get_color() for line in ax.get_lines())]
    assert len(colors) == 5
    assert min(contrast(color, background) for color in colors) > 0.35


@pytest.mark.parametrize("width", [4.0, 6.4, 11.0])
def test_the_legend_is_off_the_axes_and_within_the_figure(width):
    figure, ax = pyplot.subplots(figsize=(width, 3), layout="constrained")
    ended_in_nan().plot(ax).set_title("a title")
    figure.canvas.draw()
    legend_box, axes_box = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend_box.y1 <= ax.xaxis.label.get_window_extent().y0
    assert axes_box.height > 100
    assert legend_box.x0 >= 0
    assert legend_box.x1 <= figure.bbox.x1
    assert legend_box.y0 >= 0


def test_the_legend_stays_inside_where_nothing_makes_room_for_it():
    figure, ax = pyplot.subplots()
    curve_at().plot(ax)
    figure.canvas.draw()
    assert ax.get_legend().get_window_extent().y0 > ax.get_window_extent().y0


def test_more_than_ten_curves_have_a_scale_of_colours_and_their_dots_apart():
    curves = [curve_at(10 ** (-4 + i / 8)) for i in range(14)]
    ax = compare(curves).plot()
    dots = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [curve.suggest().lr for curve in curves]
    assert len({matplotlib.colors.to_rgba(dot.get_color()) for dot in dots}) == 14
    ax.figure.canvas.draw()
    places = np.array([dot.get_window_extent().get_points().mean(0) for dot in dots])
    heights = places[:, 1]
    assert np.diff(heights).max() < -1
    lowest = min(curve.loss.min() for curve in curves)
    assert heights.max() < ax.transData.transform((1e-3, lowest))[1]


def test_a_comparison_skips_ends_too():
    curve = curve_at()
    ax = compare([curve], labels=["a"]).plot(skip_start=10, skip_end=60)
    raw, smooth, dot = ax.get_lines()
    for line in (raw, smooth):
        np.testing.assert_array_equal(line.get_xdata(), curve.lr[10:-60])
    assert dot.get_xdata()[0] == curve.suggest().lr
    assert len(compare([curve]).plot(skip_start=150).get_lines()) == 2  # the dot is skipped
    with pytest.raises(ValueError, match=r"skip_start \+ skip_end must be < 200 points"):
        compare([curve]).plot(skip_start=100, skip_end=100)


@pytest.mark.parametrize("draw", [LossCurve.plot, lambda c, **o: compare([c, c]).plot(**o)])
def test_a_linear_axis_ends_beyond_the_divergence(draw):
    curve = curve_at()
    diverged = curve.suggest().diverged_at
    assert diverged < 0.5
    low, high = draw(curve, xscale="linear").get_xlim()
    assert diverged < high < 2 * diverged
    assert -0.1 * high < low <= 0
    assert draw(curve, xscale="linear", full_range=True).get_xlim()[1] > 10
    still_falling = LossCurve(curve.lr[:100], curve.loss[:100])
    assert draw(still_falling, xscale="linear").get_xlim()[1] >= curve.lr[99]


def test_a_notebook_sees_sentence_and_picture():
    text = curve_at()._repr_html_()
    assert "Suggested lr for the peak of one-cycle training" in text
    data = text.split("base64,")[1].split('"')[0]
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


def test_a_notebook_sees_a_comparison_a_suggestion_and_a_running_test():
    shown = compare([curve_at()], labels=["<b>"])._repr_html_()
    assert "&lt;b&gt;: Suggested lr" in shown
    assert "base64," in shown
    assert curve_at().suggest()._repr_html_().startswith("<p>Suggested lr for the peak")
    test = RangeTest()
    test.record_all([1.0] * 20)
    assert "20 of 300 steps" in test._repr_html_()
    assert "base64," in test._repr_html_()


def test_a_notebook_without_matplotlib_sees_the_sentence(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    text = LossCurve([0.1], [1.0], stop_reason="a < b")._repr_html_()
    assert "a &lt; b" in text
    assert "<img" not in text
    with pytest.raises(ImportError, match="pip install"):
        LossCurve([0.1], [1.0]).plot()
