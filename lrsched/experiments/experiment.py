"""What an experiment is: range tests, the variants that follow from them, and what they show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.record import Results
from lrsched.experiments.training import Loop, Setting, Training, Variant
from lrsched.schedules import constant, one_cycle, one_cycle_momentum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Mapping[int, LossCurve]]


@dataclass(frozen=True)
class Size:
    """How much is trained on: images, epochs and steps of a range test."""

    images: int
    epochs: int
    sweep_steps: int = 300

    @property
    def val_images(self) -> int:
        """Images to validate on, enough to tell accuracies two percent apart."""
        return max(self.images // 3, 600)


class Table(NamedTuple):
    """Rows of text under the names of their columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Verdict(NamedTuple):
    """What was measured, as a sentence; whether the claim holds here, or None for unknown."""

    measured: str
    holds: bool | None


class NothingFoundError(RuntimeError):
    """A range test suggests no learning rate to go on with."""


class Experiment(ABC):
    """An experiment that people know, at a size that two cores run in minutes.

    Attributes:
        name: As on the command line.
        claim: What is known of it, a sentence.
        source: Where from.
        caveat: Why it may not show at this size.
        size, quick: The default size, and one for a minute.
        sweeps: For whom a range test is run: for the "first" seed, "each" seed, or for "none".
    """

    name: ClassVar[str]
    claim: ClassVar[str]
    source: ClassVar[str]
    caveat: ClassVar[str]
    size: ClassVar[Size] = Size(4000, 3)
    quick: ClassVar[Size] = Size(900, 2, 200)
    sweeps: ClassVar[str] = "first"

    def prepared(self, data: Dataset) -> Dataset:
        """The data as this experiment takes them."""
        return data

    @abstractmethod
    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        """What range tests are run on, by name."""

    @abstractmethod
    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        """What is trained, given the range tests and the framework's one-call trainings."""

    @abstractmethod
    def table(self, results: Results) -> Table:
        """What was measured, in numbers."""

    @abstractmethod
    def verdict(self, results: Results) -> Verdict:
        """What they say of the claim."""

    def together(self, every: Sequence[Results]) -> str:
        """What the frameworks show together, as a sentence; empty where that is nothing."""
        return ""

    def draw(self, results: Results, ax: Axes) -> None:
        """Draw the mean validation accuracy after each epoch, of every variant."""
        draw_epochs(ax, results.trainings)


def lr_of(curve: LossCurve, schedule: str) -> float:
    """The lr that a range test suggests.

    Raises:
        NothingFoundError: it suggests none.
    """
    found = curve.suggest(schedule=schedule)
    if found.lr is None:
        raise NothingFoundError(
            f"the range test found no learning rate: {found.reason} (pass other --data)"
        )
    return found.lr


def suggested(curves: Curves, name: str, schedule: str) -> float:
    """The lr that the range test of the first seed suggests; raises as `lr_of`."""
    return lr_of(curves[name][0], schedule)


def one_cycle_pair(max_lr: float, setting: Setting) -> tuple[Schedule, Schedule | None]:
    """The 1cycle of a training, and its momentum where the optimizer has any."""
    momentum = one_cycle_momentum(setting.total_steps) if setting.optimizer.momentum else None
    return one_cycle(max_lr, setting.total_steps), momentum


def find_and_train(loop: Loop, setting: Setting, seed: int) -> Training:
    """1cycle at the peak that a range test of the same seed suggests."""
    cycle = one_cycle_pair(lr_of(loop.find(setting, seed), "one_cycle"), setting)
    return loop.train(Variant("1cycle", setting, *cycle), seed)


def constant_or_one_cycle(setting: Setting, curves: Curves, name: str) -> list[Variant]:
    """A constant lr at the suggestion and at a tenth of it, and 1cycle with its suggested peak."""
    steady, peak = (suggested(curves, name, kind) for kind in ("constant", "one_cycle"))
    return [
        Variant("constant", setting, constant(steady)),
        Variant("constant / 10", setting, constant(steady / 10)),
        Variant("1cycle", setting, *one_cycle_pair(peak, setting)),
    ]


def final(trainings: Mapping[int, Training]) -> list[float]:
    """Validation accuracy at the end, for each seed."""
    return [training.accuracies[-1] for training in trainings.values()]


def mean(trainings: Mapping[int, Training]) -> float:
    """Mean validation accuracy at the end."""
    return float(np.mean(final(trainings)))


def is_ahead(some: Mapping[int, Training], others: Mapping[int, Training]) -> bool | None:
    """Whether some trainings end at a higher accuracy than others; None: within the noise.

    The difference of two trainings of the same seed must be twice its standard error.
    """
    differences = np.subtract(final(some), final(others))
    if len(differences) < 2:
        return None
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    if abs(differences.mean()) <= 2 * error:
        return None
    return bool(differences.mean() > 0)


def best_of(trainings: Mapping[str, Mapping[int, Training]]) -> str:
    """The name of the variant that ends at the highest mean accuracy."""
    return max(trainings, key=lambda name: mean(trainings[name]))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation of numbers, as text."""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def max_lr(trainings: Mapping[int, Training]) -> str:
    """The highest lr of a variant as text; a range where it differs between seeds."""
    lrs = sorted(training.max_lr for training in trainings.values())
    low, high = f"{lrs[0]:.2g}", f"{lrs[-1]:.2g}"
    return low if low == high else f"{low} to {high}"


def mean_seconds(results: Results, kind: str, name: str) -> float:
    """Seconds of a training or range test, the mean of those measured."""
    times = [s for (k, n, _), s in results.seconds.items() if (k, n) == (kind, name)]
    return float(np.mean(times))


def training_table(results: Results) -> Table:
    """Highest lr, seconds of a core, train loss and validation accuracy of every variant."""
    columns = "trained with", "highest lr", "core s", "train loss", "val accuracy"
    rows = [
        (
            name,
            max_lr(found),
            f"{mean_seconds(results, 'train', name):.1f}",
            spread([training.losses[-1] for training in found.values()]),
            spread(final(found)),
        )
        for name, found in results.trainings.items()
    ]
    return Table(columns, rows)


def draw_epochs(
    ax: Axes, trainings: Mapping[str, Mapping[int, Training]], what: str = "accuracies"
) -> None:
    """Draw a line for each variant, the mean over seeds, with the range of them."""
    for index, (name, found) in enumerate(trainings.items()):
        values = np.array([getattr(training, what) for training in found.values()])
        epochs = np.arange(1, values.shape[1] + 1)
        style = "-" if index < 10 else "--"
        marker = "o" if len(epochs) < 4 else ""
        (line,) = ax.plot(epochs, values.mean(0), style, marker=marker, markersize=3, label=name)
        ax.fill_between(
            epochs, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0
        )
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation accuracy" if what == "accuracies" else "training loss")
    if len(trainings) > 5:  # too many to lie over the curves
        ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        ax.legend(fontsize="x-small")
