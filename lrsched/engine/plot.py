"""Drawing of schedules. Matplotlib is imported inside the functions; nothing is ever shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrsched._validate import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LR_COLOR, MOMENTUM_COLOR = "tab:blue", "tab:orange"


def new_axes(ax: Axes | None, *, more_height: float = 0.0) -> Axes:
    """`ax`, or the Axes of a new figure, higher by so many inches than others.

    Raises:
        ImportError: matplotlib is not installed; the message says how to install it.
    """
    return _new_column(1, height=3.6 + more_height)[0] if ax is None else ax


def _new_column(rows: int, height: float) -> list[Axes]:
    """Axes of a new figure, one below the other, over the same steps."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "onecycle-lr[plot]"') from error
    _, axes = pyplot.subplots(
        rows, sharex=True, squeeze=False, figsize=(6.4, height), layout="constrained"
    )
    return list(axes[:, 0])


def plot_values(values: NDArray[np.float64], ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the values of a schedule, shape [num_steps], against the step; returns the Axes."""
    ax = new_axes(ax)
    ax.plot(np.arange(len(values)), values, **line)
    ax.set_xlabel("step")
    if not ax.get_ylabel():
        ax.set_ylabel("value")
    ax.margins(x=0.01)
    if "label" in line:
        ax.legend()
    return ax


def plot_columns(
    columns: Mapping[str, NDArray[np.float64]], axes: Sequence[Axes] | None = None, **line: Any
) -> list[Axes]:
    """Draw values by their names, each of shape [num_steps], on one Axes each; returns those.

    Raises:
        ValueError: `axes` are not as many as the columns.
    """
    if axes is None:
        axes = _new_column(len(columns), height=1.2 + 1.8 * len(columns))
    if len(axes) != len(columns):
        raise ValueError(f"axes must be {len(columns)}, one for each name, got {shown(axes)}")
    for ax, (name, values) in zip(axes, columns.items(), strict=True):
        plot_values(values, ax, **line)
        ax.set_ylabel(name)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return list(axes)


def plot_lr_momentum(
    lr: NDArray[np.float64],
    momentum: NDArray[np.float64] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the lr on the left axis and, where there is one, the momentum on the right.

    Args:
        lr: The values of the lr, shape [num_steps].
        momentum: Those of the momentum, as many, or None.
        ax: Matplotlib Axes to draw on; None makes a figure.

    Returns:
        The Axes of the lr.
    """
    ax = plot_values(lr, ax, color=LR_COLOR)
    ax.set_ylabel("learning rate", color=LR_COLOR)
    if momentum is not None:
        right = ax.twinx()
        right.plot(momentum, color=MOMENTUM_COLOR, linestyle="--")
        right.set_ylabel("momentum", color=MOMENTUM_COLOR)
    return ax
