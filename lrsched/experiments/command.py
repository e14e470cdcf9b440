"""`lrsched experiment`: a process for each framework, then tables and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lrsched._command_error import BAD_INPUT, fail
from lrsched._validate import check_at_most, check_choice, check_int
from lrsched.experiments import report
from lrsched.experiments.catalog import EXPERIMENTS
from lrsched.experiments.experiment import Experiment
from lrsched.experiments.frameworks import FRAMEWORKS, run_part
from lrsched.experiments.record import Record, Results
from lrsched.experiments.runner import INTERRUPTED, header, load

MOST_SEEDS = 1000
DEFAULT_SEEDS = {False: 3, True: 1}  # with --quick: one


def experiment(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.")],
    framework: Annotated[
        str | None,
        typer.Option(help="torch or keras; by default all that are installed.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images of yours: a folder of IDX files, an NPZ file, or a folder of images with "
            "a folder for each class. By default those that ship with a package.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How often each training is made: 3, or 1 with --quick.", show_default=False
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute, to see that it runs.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for results, table and plot.")] = Path(
        "experiment-output"
    ),
) -> None:
    """Run an experiment that people know, in every framework installed.

    Prints what is claimed, what was measured and whether it reproduces. What is finished is kept in
    `--out`: the same command goes on from there.

    Example: `lrsched experiment one_cycle_vs_constant --framework torch`
    """
    try:
        count = _checked(DEFAULT_SEEDS[quick] if seeds is None else seeds)
        _run(_chosen(name), _frameworks(framework), data, count, quick, out)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        fail(error)
    except KeyboardInterrupt:
        typer.echo(
            f"\nstopped; what is finished is in {out}, and the same command goes on", err=True
        )
        raise typer.Exit(INTERRUPTED) from None


def _run(
    chosen: Experiment,
    frameworks: Sequence[str],
    data: Path | None,
    seeds: int,
    quick: bool,
    out: Path,
) -> None:
    size = chosen.quick if quick else chosen.size
    path = None if data is None else str(data.resolve())
    images = load(chosen, path, size)
    chosen.settings(images, size)  # which says where the images are too few
    records = {name: out / f"{chosen.name}_{name}.jsonl" for name in frameworks}
    headers = {name: header(chosen, name, images, size) for name in frameworks}
    _check_writable(out)
    for name in frameworks:
        Record(records[name], headers[name])
    console, every = Console(), []
    console.print(f"Claim: {chosen.claim} ({chosen.source})\n", highlight=False)
    for name in frameworks:
        given = {"name": chosen.name, "quick": quick, "data": path, "seeds": seeds}
        _measure(name, {**given, "record": str(records[name].resolve())})
        every.append(Record(records[name], headers[name]).results.of(seeds))
        _show(console, chosen, every[-1])
    if len(every) > 1 and (sentence := chosen.together(every)):
        console.print(sentence, highlight=False)
    plot = report.save_plot(chosen, every, out)
    page = out / f"{chosen.name}.md"
    command = _command(chosen, frameworks, data, seeds, quick)
    page.write_text(report.markdown(chosen, every, command), encoding="utf-8")
    console.print(f"plot: {plot}\npage: {page}", soft_wrap=True, highlight=False)


def _show(console: Console, chosen: Experiment, results: Results) -> None:
    console.print(report.rich_table(chosen, results))
    measured = report.outcome(chosen, chosen.verdict(results))
    console.print(f"Measured: {measured}\n", highlight=False)


def _measure(framework: str, given: dict[str, object]) -> None:
    """Run a framework's part, which writes its results to its record."""
    code = run_part(framework, given)
    if code == BAD_INPUT:  # it has said why
        raise SystemExit(BAD_INPUT)
    if code in (INTERRUPTED, -2):
        raise KeyboardInterrupt
    if code:
        raise RuntimeError(
            f"the part of {framework} failed, as above; what was finished is in {given['record']}"
        )


def _chosen(name: str) -> Experiment:
    return EXPERIMENTS[check_choice("NAME", name, EXPERIMENTS)]


def _frameworks(given: str | None) -> list[str]:
    for module in ("tqdm", "matplotlib"):
        if find_spec(module) is None:
            raise ImportError(f'an experiment needs {module}: pip install "onecycle-lr[all]"')
    if given is None:
        installed = [name for name in FRAMEWORKS if find_spec(name)]
        if not installed:
            raise ImportError(
                'an experiment needs PyTorch or Keras: pip install "onecycle-lr[torch]" or [tf]'
            )
        return installed
    given = check_choice("--framework", given, FRAMEWORKS)
    if find_spec(given) is None:
        extra = FRAMEWORKS[given].extra
        raise ImportError(
            f'--framework {given} must be installed: pip install "onecycle-lr[{extra}]"'
        )
    return [given]


def _checked(seeds: int) -> int:
    seeds = check_int("--seeds", seeds, 1)
    check_at_most("--seeds", seeds, "the most", MOST_SEEDS)
    return seeds


def _check_writable(folder: Path) -> None:
    """Make the folder, and a file in it for a moment."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".lrsched"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"--out must be a folder to write to, got {folder} ({reason})") from None


def _command(
    chosen: Experiment, frameworks: Sequence[str], data: Path | None, seeds: int, quick: bool
) -> str:
    """The command line that runs this again."""
    words = ["lrsched experiment", chosen.name]
    words += [f"--framework {frameworks[0]}"] * (len(frameworks) == 1)
    words += [] if data is None else [f"--data {data}"]
    words += [f"--seeds {seeds}"] * (seeds != DEFAULT_SEEDS[quick])
    return " ".join([*words, *["--quick"] * quick])
