"""Cases that are measured in several processes each, whose rounds are then pooled.

The same loop begun twice may differ by some percent for as long as it runs, by where its memory
lies and which thread is where. The rounds of one process cannot tell that from what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from typing import Any, NoReturn


def arguments(doc: str | None, cases: Collection[str], rounds: int) -> argparse.ArgumentParser:
    """The options of a benchmark; `only` is the list of the cases that were asked for."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=[*cases], action="append", help="this case; repeatable")
    parser.add_argument("--processes", type=int, default=5, help="for each case")
    parser.add_argument("--rounds", type=int, default=rounds, help="in each process")
    parser.add_argument("--in-process", choices=[*cases], help=argparse.SUPPRESS)
    return parser


def answers(
    script: str, case: str, asked: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> list[Any]:
    """What the processes of a case have answered, one after the other."""
    command = [sys.executable, script, "--in-process", case, "--rounds", str(asked.rounds)]
    found = []
    for _ in range(asked.processes):
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def answer(value: Any) -> NoReturn:
    """End the process with its answer, although threads of it may wait for one more epoch."""
    print()
    print(json.dumps(value), flush=True)
    os._exit(0)
