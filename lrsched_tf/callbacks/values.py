"""The values that a training used, as numbers and as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrsched_tf.callbacks.recipe import Schedules
from lrsched_tf.compiled.hyperparameters import hyperparameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def values_at(schedules: Schedules, step: int) -> dict[str, float]:
    """Return the values of a step by their names in `logs`."""
    return {hyperparameter(name).log_name: each(step) for name, each in schedules.items()}


def values_of(schedules: Schedules, first: int, end: int) -> dict[str, NDArray[Any]]:
    """Return the steps from `first` to before `end`, and the values by their names in `logs`."""
    steps = np.arange(first, end)
    values = {hyperparameter(name).log_name: each(steps) for name, each in schedules.items()}
    return {"step": steps, **values}


def plot_schedules(
    schedules: Schedules, axes: Any, num_steps: int | None, steps_made: int
) -> Axes | list[Axes]:
    """Implement `ScheduleCallback.plot`.

    Args:
        schedules: Empty where they are not known yet.
        axes, num_steps: As given by the user.
        steps_made: So many stand for a length that neither the user nor a schedule gives.
    """
    from lrsched.engine.plot import plot_columns, plot_lr_momentum

    if not schedules:
        raise ValueError("total_steps must be given to plot before fit, got None")
    if num_steps is None:
        lengths = (each.total_steps for each in schedules.values())
        num_steps = next((length for length in lengths if length is not None), steps_made or None)
    (name, first), *others = schedules.items()
    if not others and name != "lr":
        return first.plot(axes, num_steps=num_steps, label=name)
    columns = {name: each.values(num_steps) for name, each in schedules.items()}
    if columns.keys() - {"lr", "momentum"}:
        return plot_columns(columns, axes)
    return plot_lr_momentum(columns["lr"], columns.get("momentum"), axes)
