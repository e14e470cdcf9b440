"""What has been measured, as JSON lines: the first says of what run, the others hold a result each.

A line is written as soon as its result is there, so a run that ends early goes on from its file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

from lrsched.curve.loss_curve import LossCurve
from lrsched.experiments.training import Training

FORMAT = 1


@dataclass(frozen=True)
class Results:
    """What a framework has measured, by the names of range tests and of variants, for each seed.

    Seconds are those of a core: on a busy machine others say little.
    """

    software: str = ""
    curves: dict[str, dict[int, LossCurve]] = field(default_factory=lambda: defaultdict(dict))
    trainings: dict[str, dict[int, Training]] = field(default_factory=lambda: defaultdict(dict))
    seconds: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def of(self, seeds: int) -> Results:
        """Those of the first seeds alone."""

        def first(results: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
            return {
                name: {seed: each for seed, each in sorted(found.items()) if seed < seeds}
                for name, found in results.items()
            }

        return Results(self.software, first(self.curves), first(self.trainings), self.seconds)


class Record:
    """The file of a run.

    Args:
        path: JSON lines; made where it does not exist.
        header: What the run is of. Those who do not know the `software` leave it out.

    Raises:
        ValueError: the file is of another run, or is none of ours.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        header = {"format": FORMAT, **header}
        lines = _whole_lines(path)
        if lines:
            found = _parsed(path, lines[0])
            _check_same_run(path, found, header)
            header = {**found, **header}
        self.results = Results(header.get("software", ""))
        for line in lines[1:]:
            self._add(_parsed(path, line))
        if "software" in header:
            # Without a line that a crash has cut off, which the next one would be appended to.
            path.write_text("".join(f"{line}\n" for line in lines or [json.dumps(header)]))

    def find(self, name: str, seed: int, measure: Callable[[], LossCurve]) -> LossCurve:
        """The curve of a range test, from the file or measured now."""
        if seed not in self.results.curves[name]:
            start = process_time()
            curve = measure()
            self._write("find", name, seed, process_time() - start, curve.to_dict())
        return self.results.curves[name][seed]

    def train(self, name: str, seed: int, measure: Callable[[], Training]) -> None:
        """Have a training in the file, from before or made now."""
        if seed not in self.results.trainings[name]:
            start = process_time()
            training = measure()
            self._write("train", name, seed, process_time() - start, asdict(training))

    def _write(self, kind: str, name: str, seed: int, seconds: float, result: Any) -> None:
        entry = {"kind": kind, "name": name, "seed": seed, "seconds": seconds, "result": result}
        with self.path.open("a") as file:
            file.write(f"{json.dumps(entry)}\n")
        self._add(entry)

    def _add(self, entry: Mapping[str, Any]) -> None:
        kind, name, seed = entry["kind"], entry["name"], entry["seed"]
        if kind == "find":
            self.results.curves[name][seed] = LossCurve.from_dict(entry["result"])
        else:
            self.results.trainings[name][seed] = Training(**entry["result"])
        self.results.seconds[kind, name, seed] = entry["seconds"]


def _whole_lines(path: Path) -> list[str]:
    """The lines that were written to their end."""
    if not path.exists():
        return []
    *lines, _cut_off = path.read_text(errors="replace").split("\n")
    return lines


def _parsed(path: Path, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if not {"format", "kind"} & set(entry):
            raise ValueError
    except (ValueError, TypeError):
        raise ValueError(
            f"{path} must hold results of an experiment, got {line[:40]!r} (move it away, or pass "
            "another --out)"
        ) from None
    return dict(entry)


def _check_same_run(path: Path, found: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    for name, value in header.items():
        if found.get(name) != value:
            raise ValueError(
                f"{path} must hold results of the same run, got those with {name} "
                f"{found.get(name)!r} where this has {value!r} (pass another --out, or move it "
                "away)"
            )
