"""Drawing of loss curves. Matplotlib is imported inside the functions; nothing is ever shown."""

from __future__ import annotations

import base64
import html as escaping
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrsched._validate import check_at_most, check_bool, check_choice, check_int
from lrsched.divergence import MIN_POINTS
from lrsched.plot import new_axes
from lrsched.reading import smooth_losses
from lrsched.suggestion import SCHEDULE_FACTORS, Suggestion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrsched.loss_curve import Comparison, LossCurve

RAW_COLOR, SMOOTH_COLOR, SUGGESTION_COLOR = "0.75", "tab:blue", "tab:red"
SCALES = ("log", "linear")
LARGEST = 1e306  # beyond, matplotlib overflows: losses are left out as infinite ones are


def plot_curve(
    curve: LossCurve,
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

    Args:
        curve: The loss curve.
        ax: Matplotlib Axes to draw on; None makes a figure.
        xscale: "log" or "linear" axis of the lr.
        skip_start: Points left out at the start, >= 0.
        skip_end: Points left out at the end, >= 0.
        smooth: Whether to draw the centred smooth that suggestions are read from.
        suggestion: A `Suggestion` to mark, True for the default one, False for none.
        schedule: What the default suggestion is for: "one_cycle" or "constant".
        full_range: Show the losses of a divergence too, rather than as much above the start level
            as the curve goes below it.

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
    ax.plot(lr, loss, color=RAW_COLOR, linewidth=0.8, label="raw loss", zorder=1)
    smoothed = _smoothed(curve)
    if smooth and smoothed.size:
        part = slice(shown.start, min(shown.stop, smoothed.size))
        ax.plot(curve.lr[part], smoothed[part], color=SMOOTH_COLOR, label="smoothed", zorder=3)
    if isinstance(suggestion, Suggestion):
        _mark(ax, suggestion)
    ax.set_xscale(xscale)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    if lr.size > 1:
        ax.set_xlim(lr[0], lr[-1])
    if not full_range:
        _limit_loss(ax, loss)
    ax.legend(loc="best", fontsize="small")
    return ax


def plot_comparison(
    comparison: Comparison,
    ax: Axes | None = None,
    *,
    xscale: str = "log",
    schedule: str = "one_cycle",
    full_range: bool = False,
) -> Axes:
    """Overlay several curves, smoothed over their raw losses, each with its suggestion as a dot.

    Args:
        comparison: What `compare` returned.
        ax: Matplotlib Axes to draw on; None makes a figure.
        xscale: "log" or "linear" axis of the lr.
        schedule: What the suggestions are for: "one_cycle" or "constant".
        full_range: Show the losses of divergences too.

    Returns:
        The Axes.

    Raises:
        TypeError: an option of the wrong kind.
        ValueError: an unknown `xscale` or `schedule`, or an lr > 1e306.
    """
    _check_options(comparison.curves, xscale, schedule, full_range)
    ax = new_axes(ax)
    for index, (label, curve) in enumerate(zip(comparison.labels, comparison.curves, strict=True)):
        color = f"C{index}"
        loss = _drawable(curve.loss)
        ax.plot(curve.lr, loss, color=color, linewidth=0.6, alpha=0.3, label="_raw")
        smoothed = _smoothed(curve)
        lr = curve.lr[: smoothed.size]
        best = curve.suggest(schedule=schedule).lr
        name = f"{label}: no suggestion" if best is None else f"{label}: lr {best:.2g}"
        ax.plot(lr, smoothed, color=color, label=name)
        if best is not None:
            ax.plot(best, np.interp(best, lr, smoothed), "o", color=color, label="_dot")
    ax.set_xscale(xscale)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    if not full_range:
        _limit_loss(ax, *(_drawable(curve.loss) for curve in comparison.curves))
    ax.legend(loc="best", fontsize="small")
    return ax


def html(curve: LossCurve) -> str:
    """The curve for a notebook: summary, suggestion as a sentence, and, with matplotlib, a plot."""
    text = "<br>".join(escaping.escape(line) for line in str(curve).splitlines())
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"<p>{text}</p>"
    # A Figure of its own: pyplot would keep it, and show it a second time.
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    buffer = io.BytesIO()
    try:
        plot_curve(curve, figure.subplots())
        figure.savefig(buffer, format="png", dpi=100)
    except Exception:  # a picture that fails must not hide the sentence
        return f"<p>{text}</p>"
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<p>{text}</p><img alt="loss against learning rate" src="data:image/png;base64,{data}">'


def _check_options(
    curves: Iterable[LossCurve], xscale: str, schedule: str, full_range: bool
) -> None:
    check_choice("xscale", xscale, SCALES)
    check_choice("schedule", schedule, SCHEDULE_FACTORS)
    check_bool("full_range", full_range)
    for curve in curves:
        check_at_most("lr", float(curve.lr.max(initial=0)), "what can be drawn", LARGEST)


def _drawable(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(loss) <= LARGEST, loss, np.nan)


def _smoothed(curve: LossCurve) -> NDArray[np.float64]:
    return _drawable(smooth_losses(curve.lr, curve.loss, curve.num_steps or len(curve)))


def _shown(curve: LossCurve, skip_start: int, skip_end: int) -> slice:
    start = check_int("skip_start", skip_start, 0)
    stop = len(curve) - check_int("skip_end", skip_end, 0)
    if stop - start < 1 and len(curve):
        raise ValueError(
            f"skip_start + skip_end must be < {len(curve)} points, got {start} + {skip_end}"
        )
    return slice(start, stop)


def _mark(ax: Axes, suggestion: Suggestion) -> None:
    if suggestion.lr is None:
        ax.plot([], [], " ", label="no suggestion")
        return
    doubt = "" if suggestion.confident else " ?"
    label = f"{suggestion.method}: {suggestion.lr:.2g}{doubt}"
    ax.axvline(suggestion.lr, color=SUGGESTION_COLOR, label=label, zorder=2)
    if suggestion.band:
        ax.axvspan(*suggestion.band, color=SUGGESTION_COLOR, alpha=0.1, linewidth=0, zorder=0)


def _limit_loss(ax: Axes, *losses: NDArray[np.float64]) -> None:
    """Show as much above the start level as lies below it, so that a divergence hides nothing."""
    ends = []
    for loss in losses:
        finite = loss[np.isfinite(loss)]
        if finite.size < MIN_POINTS:
            continue
        start = float(np.median(finite[:MIN_POINTS]))
        early = float(np.abs(finite[:MIN_POINTS] - start).max())
        ends.append((float(finite.min()), start + max(start - float(finite.min()), 2 * early)))
    if ends:
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if high > low:
            ax.set_ylim(low - 0.05 * (high - low), high)
