"""What an experiment has shown: tables for the terminal and for pages, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrsched.experiments.experiment import Experiment, Verdict
from lrsched.experiments.record import Results

if TYPE_CHECKING:
    from rich.table import Table

COLORS = 64


def rich_table(experiment: Experiment, results: Results) -> Table:
    """The table of one framework, for the terminal."""
    from rich.box import SIMPLE
    from rich.table import Table

    columns, rows = experiment.table(results)
    built = Table(title=title(results), title_justify="left", box=SIMPLE, pad_edge=False)
    for index, column in enumerate(columns):
        built.add_column(column, justify="right" if index else "left")
    for row in rows:
        built.add_row(*row)
    return built


def title(results: Results) -> str:
    """The framework, and how many seeds are behind its numbers."""
    seeds = max(len(found) for found in results.trainings.values())
    spread = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return f"{results.software}, {spread}"


def outcome(experiment: Experiment, verdict: Verdict) -> str:
    """What was measured, and whether the claim holds, as sentences."""
    ending = {
        True: "It reproduces.",
        False: f"It does not reproduce at this size. {experiment.caveat}",
        None: f"That cannot be told from the noise of the seeds. {experiment.caveat}",
    }
    return f"{verdict.measured} {ending[verdict.holds]}"


def markdown(experiment: Experiment, every: Sequence[Results], command: str) -> str:
    """The experiment as a part of a page: claim, tables, what was measured, command."""
    parts = [
        f"## {experiment.name}",
        f"**Claim.** {experiment.claim} ({experiment.source})",
        f"![{experiment.name}]({experiment.name}.png)",
    ]
    for results in every:
        columns, rows = experiment.table(results)
        lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        measured = outcome(experiment, experiment.verdict(results))
        parts += [f"{title(results)}:", table, f"**Measured.** {measured}"]
    parts += [experiment.together(every)] if len(every) > 1 else []
    parts.append(f"```sh\n{command}\n```")
    return "\n\n".join(filter(None, parts)) + "\n"


def save_plot(experiment: Experiment, every: Sequence[Results], folder: Path) -> Path:
    """A PNG file with a panel for each framework; few colours keep it small."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(5 * len(every), 3.6), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(every), squeeze=False)[0]
    for ax, results in zip(panels, every, strict=True):
        experiment.draw(results, ax)
        ax.set_title(f"{experiment.name}, {results.software}", fontsize=9)
    canvas.draw()
    path = folder / f"{experiment.name}.png"
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(COLORS).save(path, optimize=True)
    return path
