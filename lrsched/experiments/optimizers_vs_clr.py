"""Six optimizers against SGD with cyclical learning rates, from scratch and in fine-tuning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    NothingFoundError,
    Size,
    Table,
    Verdict,
    draw_epochs,
    final,
    max_lr,
    mean,
    spread,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import CNN_DROPOUT, Optimizer, Setting, Training, Variant
from lrsched.schedules import constant, cyclical, cyclical_momentum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCRATCH, FINE = "from scratch", "fine-tuning"
# Name, and the lr that Keras or the optimizer's paper has for it.
OPTIMIZERS = {
    "SGD": ("sgd", 0.01),
    "Adagrad": ("adagrad", 0.01),
    "Adadelta": ("adadelta", 1.0),
    "RMSprop": ("rmsprop", 0.001),
    "Adam": ("adam", 0.001),
    "Adamax": ("adamax", 0.002),
}
MODES = ("triangular", "triangular2", "exp_range", "decaying top")
CLR = "SGD, triangular"
COMPARED = (CLR, "Adam", "Adadelta")
RATIO = 6.0  # of the upper bound of the cycles to the lower one
CLOSE = 0.01  # of accuracy
EARLY = 2  # epochs, one cycle


class OptimizersVsClr(Experiment):
    """A CNN with dropout, BatchNorm and augmentation; then half of the classes by a model that
    has learned the others."""

    name = "optimizers_vs_clr"
    claim = (
        "SGD with cyclical learning rates ends about equal with Adam and Adadelta, and its "
        "training loss falls faster; in fine-tuning the differences shrink."
    )
    source = "a well-known comparison in Keras; the cycles are Smith's, arXiv:1506.01186"
    caveat = (
        "Learning rates of the optimizers are defaults, and fine-tuning is 90 updates of a model "
        "that has learned to rule the new classes out: too few for some to settle."
    )
    size = Size(2000, 6)
    quick = Size(500, 2, 100)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        half = data.num_classes // 2
        if half < 2:
            raise ValueError(
                f"{self.name} must have 4 classes or more, got {data.num_classes} (it learns half "
                "of them, then the others)"
            )
        sgd, batch = Optimizer("sgd", 0.9), 64 if size is not self.quick else 32
        scratch = Setting(data, CNN_DROPOUT, sgd, batch, size.epochs, size.sweep_steps, True)
        known = replace(
            scratch, data=data.classes(range(half)), optimizer=Optimizer("adam", momentum=0.0)
        )
        fine = replace(
            scratch,
            data=data.classes(range(half, data.num_classes)),
            pretraining=Variant("pretraining", known, constant(OPTIMIZERS["Adam"][1])),
        )
        return {SCRATCH: scratch, FINE: fine}

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        variants = []
        for kind, setting in settings.items():
            for label, (name, lr) in OPTIMIZERS.items():
                plain = replace(setting, optimizer=Optimizer(name, momentum=0.0))
                variants.append(Variant(_name(label, kind), plain, constant(lr)))
            base_lr, top = _bounds(curves[kind][0], kind)
            epoch = setting.total_steps // setting.epochs
            momentum = cyclical_momentum(epoch)
            for mode in MODES:
                cycles = _cycles(mode, base_lr, top, epoch, setting.total_steps)
                variants.append(Variant(_name(f"SGD, {mode}", kind), setting, cycles, momentum))
        return variants

    def table(self, results: Results) -> Table:
        rows = []
        for label in _labels():
            scratch = results.trainings[_name(label, SCRATCH)]
            fine = results.trainings[_name(label, FINE)]
            rows.append(
                (
                    label,
                    max_lr(scratch),
                    *(f"{_mean_loss(scratch, epoch):.2f}" for epoch in (EARLY - 1, -1)),
                    spread(final(scratch)),
                    spread(final(fine)),
                )
            )
        early = f"loss @{EARLY}"
        return Table(("", "highest lr", early, "at end", "val accuracy", "fine-tuned"), rows)

    def verdict(self, results: Results) -> Verdict:
        scratch, fine = (_means(results, kind) for kind in (SCRATCH, FINE))
        early = {
            label: _mean_loss(results.trainings[_name(label, SCRATCH)], EARLY - 1)
            for label in COMPARED
        }
        equal = scratch[CLR] >= min(scratch["Adam"], scratch["Adadelta"]) - CLOSE
        faster = early[CLR] < min(early["Adam"], early["Adadelta"])
        apart = [max(means.values()) - min(means.values()) for means in (scratch, fine)]
        parts = {"about equal": equal, "faster": faster, "closer": apart[1] < apart[0]}
        answers = ", ".join(f"{part}: {'yes' if holds else 'no'}" for part, holds in parts.items())
        return Verdict(
            f"{CLR} {scratch[CLR]:.3f}, Adam {scratch['Adam']:.3f}, Adadelta "
            f"{scratch['Adadelta']:.3f}; training loss after {EARLY} epochs {early[CLR]:.2f}, "
            f"{early['Adam']:.2f}, {early['Adadelta']:.2f}; the three are {apart[0]:.3f} apart "
            f"from scratch, {apart[1]:.3f} in fine-tuning ({answers}).",
            all(parts.values()),
        )

    def draw(self, results: Results, ax: Axes) -> None:
        shown = {label: results.trainings[_name(label, SCRATCH)] for label in _labels()}
        draw_epochs(ax, shown, "losses")


def _name(label: str, kind: str) -> str:
    return f"{label}, {kind}"


def _labels() -> list[str]:
    return [*OPTIMIZERS, *(f"SGD, {mode}" for mode in MODES)]


def _bounds(curve: LossCurve, kind: str) -> tuple[float, float]:
    """The lr at the bottom and at the top of a cycle."""
    found = curve.cyclical_range(method="ratio", ratio=RATIO)
    if found.base_lr is None or found.max_lr is None:
        raise NothingFoundError(
            f"the range test {kind!r} found no bounds: {found.reason} (pass other --data)"
        )
    return found.base_lr, found.max_lr


def _cycles(mode: str, base_lr: float, top: float, epoch: int, total_steps: int) -> Schedule:
    """Cycles of two epochs; "decaying top" lowers their top in equal steps, to the base."""
    if mode != MODES[-1]:
        # From the first step to the last, the height of exp_range falls to a tenth.
        gamma = 0.1 ** (1 / total_steps) if mode == "exp_range" else 1.0
        return cyclical(base_lr, top, epoch, mode=mode, gamma=gamma)
    count = max(1, total_steps // (2 * epoch))
    knots = [(0.0, base_lr)]
    for cycle in range(count):
        height = base_lr + (top - base_lr) * (count - cycle) / count
        knots += [((2 * cycle + 1) * epoch, height), (2 * (cycle + 1) * epoch, base_lr)]
    return Schedule.through(knots, ["linear"] * (len(knots) - 1), total_steps=total_steps)


def _means(results: Results, kind: str) -> dict[str, float]:
    return {label: mean(results.trainings[_name(label, kind)]) for label in COMPARED}


def _mean_loss(trainings: Mapping[int, Training], epoch: int) -> float:
    return float(np.mean([training.losses[epoch] for training in trainings.values()]))
