"""The main function of a framework's process: range tests, then trainings, each to the record."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lrsched
from lrsched._command_error import fail
from lrsched._progress import Progress
from lrsched.demo import write_reports
from lrsched.experiments.catalog import EXPERIMENTS
from lrsched.experiments.dataset import Dataset, shipped
from lrsched.experiments.experiment import Experiment, NothingFoundError, Size
from lrsched.experiments.readers import read
from lrsched.experiments.record import Record
from lrsched.experiments.training import Loop

INTERRUPTED = 130


def load(experiment: Experiment, path: str | None, size: Size) -> Dataset:
    """The images that an experiment of this size trains on; raises as the readers do.

    Images of the user's are all taken, but for the quick size.
    """
    data = shipped() if path is None else read(Path(path))
    if path is None or size is experiment.quick:
        data = data.part(size.images, size.val_images)
    return experiment.prepared(data)


def header(experiment: Experiment, framework: str, data: Dataset, size: Size) -> dict[str, Any]:
    """What a record is of."""
    return {
        "experiment": experiment.name,
        "framework": framework,
        "lrsched": lrsched.__version__,
        "data": data.name,
        **asdict(size),
        "checksum": data.fingerprint(),
    }


def measure(
    experiment: Experiment, loop: Loop, data: Dataset, size: Size, seeds: int, record: Record
) -> None:
    """Run what the record does not hold yet."""
    settings = experiment.settings(data, size)
    finds = range({"none": 0, "first": 1, "each": seeds}[experiment.sweeps])
    label = f"{experiment.name}, {loop.software}"
    jobs = [(name, seed) for name in settings for seed in finds]
    with Progress(len(jobs), f"{label}: range tests", True) as bar:
        for name, seed in bar.follow(jobs):
            record.find(name, seed, partial(loop.find, settings[name], seed))
    variants = experiment.variants(settings, record.results.curves, loop.ways)
    runs = [(variant, seed) for seed in range(seeds) for variant in variants]
    with Progress(len(runs), f"{label}: trainings", True) as bar:
        for variant, seed in bar.follow(runs):
            way = None if variant.way is None else loop.ways[variant.way]
            train = partial(way, variant.setting) if way else partial(loop.train, variant)
            record.train(variant.name, seed, partial(train, seed))


def run_process(framework: str, make_loop: Callable[[], Loop]) -> None:
    """Run the arguments of the command line in this process, and exit.

    Args:
        framework: Its name on the command line.
        make_loop: Makes its loop.
    """
    parser = argparse.ArgumentParser(description="Runs one framework's part of an experiment.")
    parser.add_argument("arguments", help="JSON, as `lrsched experiment` writes it")
    given = json.loads(parser.parse_args().arguments)
    try:
        loop = make_loop()
        if given["name"] == "demo":
            write_reports(Path(given["record"]), loop)
        else:
            _run(EXPERIMENTS[given["name"]], framework, loop, given)
    except NothingFoundError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(experiment: Experiment, framework: str, loop: Loop, given: Mapping[str, Any]) -> None:
    size = experiment.quick if given["quick"] else experiment.size
    try:
        data = load(experiment, given["data"], size)
        run = {**header(experiment, framework, data, size), "software": loop.software}
        record = Record(Path(given["record"]), run)
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    measure(experiment, loop, data, size, given["seeds"], record)
