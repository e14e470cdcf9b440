"""The lr found by one flag: the same answer from each framework's ways to train."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    Size,
    Table,
    Verdict,
    mean,
    training_table,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import CNN, Setting, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WITHIN = 1.5


class OneFlag(Experiment):
    """One call that finds the lr and trains 1cycle, and the two steps one by one."""

    name = "one_flag"
    claim = (
        "A trainer needs one flag to find the lr by itself; here `fit_one_cycle`, the Lightning "
        "callback and a plain loop get the same answer, within a factor of 1.5."
    )
    source = "trainers with a finder built in, such as Lightning's auto_lr_find"
    caveat = "The frameworks draw other initial weights, by other rules."
    sweeps = "none"
    size = Size(3000, 3)
    quick = Size(1000, 1, 150)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        return {"all": Setting(data, CNN, epochs=size.epochs, sweep_steps=size.sweep_steps)}

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        return [Variant(way, settings["all"], None, way=way) for way in ways]

    def table(self, results: Results) -> Table:
        return training_table(results)

    def verdict(self, results: Results) -> Verdict:
        typical = {name: _typical_lr(results, name) for name in results.trainings}
        ratio = max(typical.values()) / min(typical.values())
        found = ", ".join(
            f"{name} {lr:.2g} (accuracy {mean(results.trainings[name]):.3f})"
            for name, lr in typical.items()
        )
        return Verdict(f"Peak lr found: {found}; a factor of {ratio:.2f}.", ratio <= WITHIN)

    def together(self, every: Sequence[Results]) -> str:
        lrs = [_typical_lr(results, name) for results in every for name in results.trainings]
        return f"All ways of all frameworks together: a factor of {max(lrs) / min(lrs):.2f}."

    def draw(self, results: Results, ax: Axes) -> None:
        for index, (name, found) in enumerate(results.trainings.items()):
            lrs = [training.max_lr for training in found.values()]
            ax.plot([index] * len(lrs), lrs, "o", label=name)
        middle = float(
            np.exp(np.mean(np.log([_typical_lr(results, n) for n in results.trainings])))
        )
        low, high = middle / WITHIN**0.5, middle * WITHIN**0.5
        ax.axhspan(low, high, color="grey", alpha=0.15, linewidth=0)
        ax.set_ylim(0, 2 * middle)
        ax.set_xticks(range(len(results.trainings)), list(results.trainings), fontsize="x-small")
        ax.set_xlim(-0.5, len(results.trainings) - 0.5)
        ax.set_ylabel("peak lr found, for each seed")


def _typical_lr(results: Results, name: str) -> float:
    """The geometric mean over the seeds."""
    lrs = [training.max_lr for training in results.trainings[name].values()]
    return float(np.exp(np.mean(np.log(lrs))))
