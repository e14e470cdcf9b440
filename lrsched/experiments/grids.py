"""Range tests overlaid: weight decays, and batch sizes; then 1cycle with what each suggests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrsched.curve.comparison import average
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.plot import plot_comparison
from lrsched.curve.suggestion import Suggestion
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    Size,
    Table,
    Verdict,
    best_of,
    final,
    is_ahead,
    mean,
    one_cycle_pair,
    spread,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import CNN, Optimizer, Setting, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHT_DECAYS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
BATCH_SIZES = (16, 64, 256)


class Grid(Experiment):
    """A range test at each value, the mean of the seeds, and 1cycle at its suggestion."""

    sweeps = "each"

    @abstractmethod
    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]: ...

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        variants = []
        for name, setting in settings.items():
            lr = _suggestion(curves, name).lr
            if lr is not None:
                variants.append(Variant(name, setting, *one_cycle_pair(lr, setting)))
        return variants

    def table(self, results: Results) -> Table:
        columns = "", "suggested lr", "lowest loss", "diverged at", "val accuracy"
        rows = []
        for name in results.curves:
            found = _suggestion(results.curves, name)
            lr = "none" if found.lr is None else f"{found.lr:.2g}"
            edge = "never" if found.diverged_at is None else f"{found.diverged_at:.2g}"
            trained = results.trainings.get(name)
            accuracy = spread(final(trained)) if trained else ""
            rows.append((name, lr, f"{_lowest(results.curves, name):.3f}", edge, accuracy))
        return Table(columns, rows)

    def draw(self, results: Results, ax: Axes) -> None:
        means = [_mean(results.curves, name) for name in results.curves]
        plot_comparison(means, list(results.curves), ax)


class WeightDecayGrid(Grid):
    """Weight decays, in a CNN with BatchNorm."""

    name = "weight_decay_grid"
    claim = (
        "Range tests at several weight decays tell before any training which is too large: it "
        "diverges earlier and bears a lower learning rate."
    )
    source = "Smith 2018, arXiv:1803.09820"
    caveat = (
        "A range test is too short to overfit, so it tells a weight decay that is too large, and "
        "says nothing between those that are not."
    )
    size = Size(1000, 4, 200)
    quick = Size(320, 1, 100)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        base = Setting(data, CNN, epochs=size.epochs, sweep_steps=size.sweep_steps)
        return {
            f"decay {decay:g}": replace(base, optimizer=Optimizer(weight_decay=decay))
            for decay in WEIGHT_DECAYS
        }

    def verdict(self, results: Results) -> Verdict:
        names = list(results.curves)
        lowest = min(names, key=lambda name: _lowest(results.curves, name))
        best = best_of(results.trainings)
        means = {name: mean(found) for name, found in results.trainings.items()}
        worst = min(means, key=means.__getitem__)
        lrs = [_suggestion(results.curves, name).lr or 0.0 for name in (names[0], names[-1])]
        told = None  # where all train alike, there is nothing to tell
        if is_ahead(results.trainings[best], results.trainings[worst]):
            as_good = is_ahead(results.trainings[best], results.trainings[lowest]) is None
            told = as_good and lrs[1] < lrs[0]
        return Verdict(
            f"The range test falls lowest with {lowest}, where training ends at "
            f"{means[lowest]:.3f}; the best is {best} ({means[best]:.3f}), the worst {worst} "
            f"({means[worst]:.3f}). The lr suggested is {lrs[0]:.2g} without decay and "
            f"{lrs[1]:.2g} at the largest.",
            told,
        )


class BatchSizeGrid(Grid):
    """Batch sizes, for the same number of epochs."""

    name = "batch_size_grid"
    claim = "Larger batches bear larger learning rates, as range tests show."
    source = "Smith 2018, arXiv:1803.09820"
    caveat = (
        "A sweep of so many updates reads more images the larger its batches are; over the same "
        "epochs large batches leave too few updates."
    )
    size = Size(2000, 3, 200)
    quick = Size(600, 1, 120)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        base = Setting(data, CNN, epochs=size.epochs, sweep_steps=size.sweep_steps)
        return {f"batch {batch}": replace(base, batch_size=batch) for batch in BATCH_SIZES}

    def verdict(self, results: Results) -> Verdict:
        lrs = [_suggestion(results.curves, name).lr or 0.0 for name in results.curves]
        first, *_, last = results.curves
        return Verdict(
            f"The suggested lr goes from {lrs[0]:.2g} ({first}) to {lrs[-1]:.2g} ({last}), over "
            f"{', '.join(f'{lr:.2g}' for lr in lrs[1:-1])}; 1cycle over the same epochs ends at "
            f"{', '.join(f'{mean(found):.3f}' for found in results.trainings.values())}.",
            lrs[-1] > lrs[0] and bool(np.all(np.diff(lrs) >= -0.1 * np.array(lrs[:-1]))),
        )


def _mean(curves: Curves, name: str) -> LossCurve:
    return average(list(curves[name].values()))


def _suggestion(curves: Curves, name: str) -> Suggestion:
    return _mean(curves, name).suggest(schedule="one_cycle")


def _lowest(curves: Curves, name: str) -> float:
    """The lowest point of the smoothed mean curve."""
    found = _suggestion(curves, name)
    return float("nan") if found.start is None or found.drop is None else found.start - found.drop
