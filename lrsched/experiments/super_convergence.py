"""Super-convergence: how many updates 1cycle with a high peak saves."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrsched.engine.schedule import Schedule
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    Size,
    Table,
    Verdict,
    final,
    max_lr,
    one_cycle_pair,
    suggested,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import RESNET, Optimizer, Setting, Variant
from lrsched.schedules import constant, multi_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWEEP = "range test"
DECAY_AT, DECAY = (0.5, 0.75), 0.1
BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1)  # of the epochs
CLAIMED, ENOUGH = 5.0, 4.0


class SuperConvergence(Experiment):
    """A ResNet trained for budgets that double, by each schedule; what each budget reaches."""

    name = "super_convergence"
    claim = (
        "In a ResNet with BatchNorm, 1cycle with a high peak reaches the accuracy of step decay in "
        "about a fifth of the updates, most of all with few images."
    )
    source = "Smith & Topin 2017, arXiv:1708.07120"
    caveat = (
        "The paper's step decay takes 80,000 updates of 56 layers, which leave much to save; here "
        "it takes a few hundred of seven layers, and no schedule can be much shorter. With 300 to "
        "1,000 images, weight decay of 1e-4 or 1e-3, with and without augmentation the factor was "
        "at most 2."
    )
    size = Size(500, 16)
    quick = Size(320, 8, 120)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        optimizer = Optimizer(weight_decay=1e-3)
        return {SWEEP: Setting(data, RESNET, optimizer, 32, size.epochs, size.sweep_steps)}

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        setting = settings[SWEEP]
        steady, peak = (suggested(curves, SWEEP, kind) for kind in ("constant", "one_cycle"))
        variants = [Variant("constant", setting, constant(steady))]
        for share in BUDGETS:
            part = replace(setting, epochs=max(1, round(share * setting.epochs)))
            decayed = _step_decay(steady, part.total_steps)
            variants.append(Variant(_name("step decay", part), part, decayed))
            cycle = one_cycle_pair(peak, part)
            variants.append(Variant(_name("1cycle", part), part, *cycle))
        return variants

    def table(self, results: Results) -> Table:
        budgets = _budgets(results)
        target = _target(results)
        rows = []
        for schedule in ("constant", "step decay", "1cycle"):
            reached = _reached(results, schedule)
            lr = next(max_lr(f) for n, f in results.trainings.items() if n.startswith(schedule))
            epochs = _epochs_to(target, reached)
            needed = "more" if math.isinf(epochs) else f"{epochs:.1f}"
            rows.append((schedule, lr, *(f"{np.mean(reached[b]):.3f}" for b in budgets), needed))
        columns = (f"{budget} epochs" for budget in budgets)
        return Table(("", "highest lr", *columns, f"epochs to {target:.3f}"), rows)

    def verdict(self, results: Results) -> Verdict:
        target, longest = _target(results), max(_budgets(results))
        needed = _epochs_to(target, _reached(results, "1cycle"))
        if math.isinf(needed):
            return Verdict(
                f"1cycle does not reach the {target:.3f} of {longest} epochs of step decay in as "
                "many epochs.",
                False,
            )
        saved = longest / needed
        return Verdict(
            f"1cycle reaches the {target:.3f} of {longest} epochs of step decay in {needed:.1f}: "
            f"{saved:.1f} times as fast, where the claim is {CLAIMED:g}.",
            saved >= ENOUGH,
        )

    def draw(self, results: Results, ax: Axes) -> None:
        for schedule in ("constant", "step decay", "1cycle"):
            reached = _reached(results, schedule)
            values = np.array(list(reached.values()))
            style = "--" if schedule == "constant" else "o-"
            (line,) = ax.plot(list(reached), values.mean(1), style, label=schedule)
            ax.fill_between(
                list(reached), values.min(1), values.max(1), color=line.get_color(), alpha=0.15
            )
        ax.axhline(_target(results), color="grey", linewidth=0.8, linestyle=":")
        ax.set_xscale("log", base=2)
        ax.set_xticks(_budgets(results), [str(budget) for budget in _budgets(results)])
        ax.set_xlabel("epochs of the training")
        ax.set_ylabel("validation accuracy at its end")
        ax.legend(fontsize="x-small")


def _name(schedule: str, setting: Setting) -> str:
    return f"{schedule}, {setting.epochs} epochs"


def _step_decay(lr: float, total_steps: int) -> Schedule:
    at = [max(1, math.ceil(share * total_steps)) for share in DECAY_AT]
    return multi_step(lr, at, gamma=DECAY)


def _reached(results: Results, schedule: str) -> dict[int, list[float]]:
    """Accuracies after so many epochs: of trainings of that length, but for a constant lr."""
    if schedule == "constant":
        found = results.trainings["constant"].values()
        epochs = range(1, 1 + min(len(training.accuracies) for training in found))
        return {epoch: [t.accuracies[epoch - 1] for t in found] for epoch in epochs}
    return {
        len(next(iter(found.values())).accuracies): final(found)
        for name, found in results.trainings.items()
        if name.startswith(schedule)
    }


def _budgets(results: Results) -> list[int]:
    return sorted(_reached(results, "step decay"))


def _target(results: Results) -> float:
    """What step decay reaches in the end."""
    reached = _reached(results, "step decay")
    return float(np.mean(reached[max(reached)]))


def _epochs_to(target: float, reached: Mapping[int, Sequence[float]]) -> float:
    """Epochs that it takes to an accuracy, between two lengths on a log axis; inf: never."""
    lengths = sorted(reached)
    means = [float(np.mean(reached[length])) for length in lengths]
    for index, mean in enumerate(means):
        if mean >= target:
            if not index:
                return float(lengths[0])
            before = means[index - 1]
            share = (target - before) / (mean - before)
            return float(lengths[index - 1] * (lengths[index] / lengths[index - 1]) ** share)
    return math.inf
