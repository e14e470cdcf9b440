"""Drawing of schedules. Matplotlib is imported inside the functions; nothing is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LR_COLOR, MOMENTUM_COLOR = "tab:blue", "tab:orange"


def new_axes(ax: Axes | None, *, more_height: float = 0.0) -> Axes:
    """`ax`, or the Axes of a new figure, higher by so many inches than others.

    Raises:
        ImportError: matplotlib is not installed; the message says how to install it.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "onecycle-lr[plot]"') from error
    _, ax = pyplot.subplots(figsize=(6.4, 3.6 + more_height), layout="constrained")
    return ax


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
