"""Several loss curves: their mean, and side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsched._validate import check_sequence, check_type
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import Suggestion

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Comparison:
    """Loss curves side by side; made by `compare`."""

    curves: tuple[LossCurve, ...]
    labels: tuple[str, ...]

    def suggestions(
        self, *, schedule: str = "one_cycle", pretrained: bool | None = None
    ) -> dict[str, Suggestion]:
        """Our suggestion for every curve, by label; the arguments are those of `suggest`."""
        pairs = zip(self.labels, self.curves, strict=True)
        return {
            label: curve.suggest(schedule=schedule, pretrained=pretrained) for label, curve in pairs
        }

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Overlay the curves; the arguments are those of `lrsched.curve.plot.plot_comparison`."""
        from lrsched.curve.plot import plot_comparison

        return plot_comparison(self.curves, self.labels, ax, **options)

    def __repr__(self) -> str:
        pairs = zip(self.labels, self.curves, strict=True)
        return f"Comparison({', '.join(f'{label}: {curve!r}' for label, curve in pairs)})"

    def __str__(self) -> str:
        return "\n".join(f"{label}: {found}" for label, found in self.suggestions().items())

    def _repr_html_(self) -> str:
        from lrsched.curve.plot import html

        return html(self)


def compare(curves: Iterable[LossCurve], labels: Sequence[str] | None = None) -> Comparison:
    """Several range tests to look at together: optimizers, batch sizes, models ...

    Args:
        curves: At least one LossCurve.
        labels: A name for each, all different; None numbers them.

    Raises:
        TypeError: something that is not a LossCurve or a str, or labels that are no list.
        ValueError: no curves, or labels that do not fit them.
    """
    kept = _checked_curves(curves)
    if labels is None:
        labels = [f"curve {i + 1}" for i in range(len(kept))]
    names = tuple(check_sequence("labels", labels, "a list or tuple of str"))
    for name in names:
        check_type("labels", name, str)
    if len(names) != len(kept) or len(set(names)) != len(names):
        raise ValueError(f"labels must be {len(kept)} different names, got {list(names)}")
    return Comparison(kept, names)


def average(curves: Iterable[LossCurve]) -> LossCurve:
    """The mean of several sweeps of the same plan, as far as the shortest of them went.

    Args:
        curves: At least one LossCurve; one alone is given back as it is.

    Raises:
        TypeError: something that is not a LossCurve.
        ValueError: no curves, or sweeps of different plans.
    """
    kept = _checked_curves(curves)
    if len(kept) == 1:
        return kept[0]
    # Of two as short, one that ended in NaN: so does the mean.
    shortest = min(kept, key=lambda curve: (len(curve), np.isfinite(curve.loss).all()))
    length = len(shortest)
    for curve in kept:
        if not np.array_equal(curve.lr[:length], shortest.lr):
            raise ValueError(f"curves must be sweeps of one plan, got {shortest!r} and {curve!r}")
    notes = dict.fromkeys(note for curve in kept for note in curve.notes)
    with np.errstate(invalid="ignore"):  # inf and -inf have the mean NaN
        mean = np.sum([curve.loss[:length] / len(kept) for curve in kept], axis=0)
    return dataclasses.replace(
        shortest,
        loss=mean,
        notes=(*notes, f"The mean of {len(kept)} sweeps."),
    )


def _checked_curves(curves: Iterable[LossCurve]) -> tuple[LossCurve, ...]:
    kept = tuple(curves)
    if not kept:
        raise ValueError("curves must hold at least one LossCurve, got none")
    for curve in kept:
        check_type("curves", curve, LossCurve)
    return kept
