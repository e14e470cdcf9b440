"""Drawing of loss curves. Matplotlib is imported inside the functions; nothing is ever shown."""

from __future__ import annotations

import base64
import html as escaping
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lrsched._validate import check_at_most, check_bool, check_choice, check_int
from lrsched.curve.divergence import MIN_POINTS
from lrsched.curve.features import smooth_losses, without_outliers
from lrsched.curve.suggestion import FALLBACK, GUESS, PLATEAU, SCHEDULE_FACTORS, Suggestion
from lrsched.engine.plot import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# To be told from a white and from a black background.
RAW_COLOR, SMOOTH_COLOR, SUGGESTION_COLOR = "0.6", "tab:blue", "tab:red"
BAND_ALPHA, BAND_EDGE_ALPHA = 0.22, 0.7
COLORS = 10  # of the cycle; more curves are coloured by a scale
SCALE, SCALE_ENDS = "viridis", (0.15, 0.85)
DOTS_HEIGHT = 0.2  # of the Axes, below the curves where there are many suggestions
# Of an entry of a legend, in its font sizes: its line with the gaps, and a character.
LEGEND_LINE, LEGEND_CHARACTER = 4.0, 0.56
LEGEND_BELOW = 3.8  # font sizes between the Axes and the legend, for the labels of the lr
LINEAR_BEYOND = 1.25  # of the lr at which the loss has diverged, as far as a linear axis goes
SCALES = ("log", "linear")
# In a legend; peers' rules go by their names.
LABELS = {PLATEAU: "suggestion", FALLBACK: "fallback", GUESS: "guess"}
LARGEST = 1e306  # beyond, matplotlib overflows: losses are left out as infinite ones are


class Drawn(Protocol):
    """What draws itself, with the functions of this module."""

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes: ...


class Curve(Drawn, Protocol):
    """A LossCurve, of which this module knows what it draws."""

    @property
    def lr(self) -> NDArray[np.float64]: ...
    @property
    def loss(self) -> NDArray[np.float64]: ...
    @property
    def num_steps(self) -> int: ...
    def suggest(
        self, *, schedule: str = "one_cycle", pretrained: bool | None = None
    ) -> Suggestion: ...


def plot_curve(
    curve: Curve,
    ax: Axes | None = None,
    *,
    xscale: str = "log",
    skip_start: int = 0,
    skip_end: int = 0,
    smooth: bool = True,
    suggestion: Suggestion | bool = True,
    schedule: str = "one_cycle",
    full_range: bool = False,
) -> Axes:
    """Draw raw and smoothed losses against the lr, with the suggestion and its usable band.

    A dotted line marks the lr at which NaN or an infinity has ended the sweep.

    Args:
        curve: The loss curve.
        ax: Matplotlib Axes to draw on; None makes a figure.
        xscale: "log" or "linear" axis of the lr.
        skip_start: Points left out at the start, >= 0; a suggestion there is not marked.
        skip_end: Points left out at the end, >= 0; a suggestion there is not marked.
        smooth: Whether to draw the centred smooth that suggestions are read from.
        suggestion: A `Suggestion` to mark, True for the default one, False for none.
        schedule: What the default suggestion is for: "one_cycle" or "constant".
        full_range: Show the losses of a divergence and of odd batches too, rather than as much
            above the start level as the curve goes below it, and on a linear axis every lr.

    Returns:
        The Axes.

    Raises:
        TypeError: an option of the wrong kind.
        ValueError: an unknown `xscale` or `schedule`, nothing is left to show, or an lr > 1e306.
    """
    _check_options([curve], xscale, schedule, full_range)
    check_bool("smooth", smooth)
    shown = _shown(curve, skip_start, skip_end)
    default = not isinstance(suggestion, Suggestion)
    if default and check_bool("suggestion", suggestion, "or a Suggestion, as suggest() gives it"):
        suggestion = curve.suggest(schedule=schedule)
    lr, loss = curve.lr[shown], _drawable(curve.loss[shown])
    ax = new_axes(ax)
    marker = "." if lr.size == 1 else ""
    ax.plot(lr, loss, marker, color=RAW_COLOR, linewidth=0.8, label="raw loss", zorder=1)
    smoothed = _smoothed(curve)
    if smooth and smoothed.size:
        part = slice(shown.start, min(shown.stop, smoothed.size))
        ax.plot(curve.lr[part], smoothed[part], color=SMOOTH_COLOR, label="smoothed", zorder=3)
    _mark_end(ax, lr, curve.loss[shown])
    if isinstance(suggestion, Suggestion):
        _mark(ax, suggestion, lr)
    return _finished(ax, xscale, [loss], [curve.suggest(schedule=schedule)], full_range)


def plot_comparison(
    curves: Sequence[Curve],
    labels: Sequence[str],
    ax: Axes | None = None,
    *,
    xscale: str = "log",
    skip_start: int = 0,
    skip_end: int = 0,
    schedule: str = "one_cycle",
    pretrained: bool | None = None,
    full_range: bool = False,
) -> Axes:
    """Overlay several curves, smoothed over their raw losses, each with its suggestion as a dot.

    More than ten are coloured by a scale, in their order, and have their dots below the curves.

    Args:
        curves: Loss curves.
        labels: A name for each.
        ax: Matplotlib Axes to draw on; None makes a figure.
        xscale: As for `plot_curve`.
        skip_start: As for `plot_curve`, of each curve.
        skip_end: As for `plot_curve`, of each curve.
        schedule: What the suggestions are for: "one_cycle" or "constant".
        pretrained: As for `suggest`, of each curve.
        full_range: As for `plot_curve`.

    Returns:
        The Axes.

    Raises:
        TypeError: an option of the wrong kind.
        ValueError: an unknown `xscale` or `schedule`, nothing is left to show of a curve, or an
            lr > 1e306.
    """
    _check_options(curves, xscale, schedule, full_range)
    parts = [_shown(curve, skip_start, skip_end) for curve in curves]
    found = [curve.suggest(schedule=schedule, pretrained=pretrained) for curve in curves]
    many = len(curves) > COLORS
    ax = new_axes(ax, more_height=0.06 * len(curves) if many else 0.0)
    for index, (label, curve, part, best) in enumerate(
        zip(labels, curves, parts, found, strict=True)
    ):
        color = _color(index, len(curves))
        height = DOTS_HEIGHT * (1 - (index + 1) / (len(curves) + 1)) if many else None
        _overlay(ax, curve, part, f"{label}: {{}}", best.lr, color, height)
    losses = [_drawable(curve.loss[part]) for curve, part in zip(curves, parts, strict=True)]
    _finished(ax, xscale, losses, found, full_range)
    if many:
        low, high = ax.get_ylim()
        ax.set_ylim(low - DOTS_HEIGHT * (high - low), high)
    return ax


def _overlay(
    ax: Axes,
    curve: Curve,
    part: slice,
    label: str,
    best: float | None,
    color: Any,
    height: float | None,
) -> None:
    """Draw one of several curves, with a dot for its suggestion: on the curve, or at a height."""
    raw, smoothed = _drawable(curve.loss[part]), _smoothed(curve)
    ax.plot(curve.lr[part], raw, color=color, linewidth=0.7, alpha=0.4, label="_raw")
    part = slice(part.start, min(part.stop, smoothed.size))
    name = label.format("no suggestion" if best is None else f"lr {best:.2g}")
    lr = curve.lr[part]
    ax.plot(lr, smoothed[part], color=color, label=name)
    if best is None or not lr.size or not lr[0] <= best <= lr[-1]:
        return
    dot = {"marker": "o", "color": color, "markeredgecolor": ax.get_facecolor(), "label": "_dot"}
    if height is None:
        ax.plot(best, np.interp(best, lr, smoothed[part]), zorder=4, **dot)
    else:
        ax.plot(best, height, transform=ax.get_xaxis_transform(), zorder=4, **dot)


def _color(index: int, count: int) -> Any:
    if count <= COLORS:
        return f"C{index}"
    from matplotlib import colormaps

    low, high = SCALE_ENDS
    return colormaps[SCALE](low + (high - low) * index / (count - 1))


def _finished(
    ax: Axes,
    xscale: str,
    losses: list[NDArray[np.float64]],
    found: Sequence[Suggestion],
    full_range: bool,
) -> Axes:
    """Axes with their names, a legend, and room for what these losses show."""
    ax.set_xscale(xscale)
    ax.margins(x=0.02)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    if not full_range:
        _limit_loss(ax, losses)
        _limit_lr(ax, xscale, found)
    _legend(ax)
    return ax


def _limit_lr(ax: Axes, xscale: str, found: Sequence[Suggestion]) -> None:
    """End a linear axis beyond the divergence, after which all that matters is at its very left."""
    ends = [suggestion.diverged_at for suggestion in found]
    if xscale == "linear" and None not in ends:
        last = LINEAR_BEYOND * max(end for end in ends if end is not None)
        if last < ax.get_xlim()[1]:
            ax.set_xlim(-0.02 * last, last)


def _legend(ax: Axes) -> None:
    """A legend below the Axes, off the curves, where the layout of the figure makes room for it."""
    from matplotlib import rcParams
    from matplotlib.transforms import ScaledTranslation

    figure = ax.figure
    if figure.get_layout_engine() is None:
        ax.legend(loc="best", fontsize="small")
        return
    font = rcParams["font.size"] / 72
    longest = max((len(label) for label in ax.get_legend_handles_labels()[1]), default=0)
    entry = 0.833 * font * (LEGEND_LINE + LEGEND_CHARACTER * longest)
    width = ax.get_window_extent().width / figure.dpi / 0.775  # with the room beside the Axes
    down = ScaledTranslation(0, -LEGEND_BELOW * font, figure.dpi_scale_trans)
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=ax.transAxes + down,
        ncols=max(1, int(width / entry)),
        fontsize="small",
        frameon=False,
        borderaxespad=0.0,
        columnspacing=1.0,
    )


def html(curve: Drawn) -> str:
    """One curve, or several, for a notebook: sentences and, with matplotlib, a plot."""
    text = "<br>".join(escaping.escape(line) for line in str(curve).splitlines())
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"<p>{text}</p>"
    # A Figure of its own: pyplot would keep it, and show it a second time.
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    buffer = io.BytesIO()
    try:
        curve.plot(figure.subplots())
        figure.savefig(buffer, format="png", dpi=100)
    except Exception:  # a picture that fails must not hide the sentence
        return f"<p>{text}</p>"
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<p>{text}</p><img alt="loss against learning rate" src="data:image/png;base64,{data}">'


def _check_options(curves: Iterable[Curve], xscale: str, schedule: str, full_range: bool) -> None:
    check_choice("xscale", xscale, SCALES)
    check_choice("schedule", schedule, SCHEDULE_FACTORS)
    check_bool("full_range", full_range)
    for curve in curves:
        check_at_most("lr", float(curve.lr.max(initial=0)), "what can be drawn", LARGEST)


def _drawable(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(loss) <= LARGEST, loss, np.nan)


def _smoothed(curve: Curve) -> NDArray[np.float64]:
    return _drawable(smooth_losses(curve.lr, curve.loss, curve.num_steps))


def _shown(curve: Curve, skip_start: int, skip_end: int) -> slice:
    start = check_int("skip_start", skip_start, 0)
    stop = curve.lr.size - check_int("skip_end", skip_end, 0)
    if stop - start < 1 and curve.lr.size:
        raise ValueError(
            f"skip_start + skip_end must be < {curve.lr.size} points, got {start} + {skip_end}"
        )
    return slice(start, stop)


def _mark(ax: Axes, suggestion: Suggestion, shown: NDArray[np.float64]) -> None:
    from matplotlib.colors import to_rgba

    if suggestion.lr is None:
        ax.plot([], [], " ", label="no suggestion")
        return
    if shown.size and not shown[0] <= suggestion.lr <= shown[-1]:
        return
    label = f"{LABELS.get(suggestion.method, suggestion.method)}: lr {suggestion.lr:.2g}"
    if suggestion.method == PLATEAU and not suggestion.confident:
        label += ", in doubt"
    ax.axvline(suggestion.lr, color=SUGGESTION_COLOR, label=label, zorder=2)
    if suggestion.band:
        # Not into what is skipped.
        low, high = (min(max(end, shown[0]), shown[-1]) for end in suggestion.band)
        label = f"usable: {suggestion.band[0]:.2g} to {suggestion.band[1]:.2g}"
        face, edge = ((SUGGESTION_COLOR, alpha) for alpha in (BAND_ALPHA, BAND_EDGE_ALPHA))
        ax.axvspan(low, high, fc=to_rgba(*face), ec=to_rgba(*edge), lw=0.8, zorder=0, label=label)


def _mark_end(ax: Axes, lr: NDArray[np.float64], loss: NDArray[np.float64]) -> None:
    """Say so where a sweep has ended in a loss that cannot be drawn."""
    finite = np.flatnonzero(np.isfinite(loss))
    if finite.size and finite[-1] < loss.size - 1:
        at, ink = finite[-1] + 1, ax.xaxis.label.get_color()
        ax.axvline(lr[at], color=ink, linestyle=":", label=f"{loss[at]} at lr {lr[at]:.2g}")


def _limit_loss(ax: Axes, losses: list[NDArray[np.float64]]) -> None:
    limits = loss_limits(losses)
    if limits is not None:
        ax.set_ylim(*limits)


def loss_limits(losses: Iterable[NDArray[np.float64]]) -> tuple[float, float] | None:
    """As much above the start level as lies below it, so that nothing odd hides the rest."""
    ends = []
    for loss in losses:
        finite = loss[np.isfinite(loss)]
        if finite.size < MIN_POINTS:
            continue
        finite = without_outliers(finite)
        start = float(np.median(finite[:MIN_POINTS]))
        early = float(np.abs(finite[:MIN_POINTS] - start).max())
        ends.append((float(finite.min()), start + max(start - float(finite.min()), 2 * early)))
    if not ends:
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return (low - 0.05 * (high - low), high) if high > low else None
