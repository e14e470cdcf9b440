"""Learning-rate finders: rules that make a suggestion of a sweep's raw losses."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
from yardstick import Task

from lrsched.curve.peer_rules import PEERS, RuleError
from lrsched.curve.suggestion import suggest

# (lr, loss, updates planned, schedule, task) -> lr, None for no answer, NaN for a breakdown
Rule = Callable[[np.ndarray, np.ndarray, int, str, Task], float | None]
RETURNS_NOTHING = ("lightning",)  # where the other peers raise or return NaN
OWN_SWEEPS = {"ktrain": "kt_1852", "lightning": "e8_100"}  # of peers; of all others e7_100
HABITS = {
    "no finder: 3e-4 / 1e-2": {"adam": 3e-4, "sgd": 1e-2},
    "no finder: 1e-3 / 1e-1": {"adam": 1e-3, "sgd": 1e-1},
}


def ours(
    lr: np.ndarray, loss: np.ndarray, num_steps: int, schedule: str, task: Task
) -> float | None:
    return suggest(lr, loss, schedule=schedule, num_steps=num_steps).lr


def told(
    lr: np.ndarray, loss: np.ndarray, num_steps: int, schedule: str, task: Task
) -> float | None:
    """Ours, by a user who says whether the model is trained already."""
    known = {"schedule": schedule, "pretrained": task.trained, "num_steps": num_steps}
    return suggest(lr, loss, **known).lr


def peer(name: str) -> Rule:
    def rule(lr: np.ndarray, loss: np.ndarray, num_steps: int, *_: Any) -> float | None:
        try:
            return PEERS[name](lr, loss, num_steps)
        except RuleError:
            return None if name in RETURNS_NOTHING else math.nan

    return rule


def habit(lrs: dict[str, float]) -> Rule:
    return lambda lr, loss, num_steps, schedule, task: lrs[task.family]


def finders(plugin: str | None = None) -> dict[str, tuple[str, Rule]]:
    """{name: (sweep, rule)}; a plugin is a file that defines FINDERS, such a dict."""
    found: dict[str, tuple[str, Rule]] = {
        **{f"ours@{n}": (f"two_{n}", ours) for n in (100, 300, 600)},
        "ours@300, told fresh or trained": ("two_300", told),
        "ours@300, exponential": ("e7_300", ours),
    }
    for name in PEERS:
        found[name] = (OWN_SWEEPS.get(name.split("_")[0], "e7_100"), peer(name))
        if name.startswith("fastai"):
            found[f"{name}_300"] = ("e7_300", peer(name))
    found |= {name: ("e7_300", habit(lrs)) for name, lrs in HABITS.items()}
    return found | (runpy.run_path(plugin)["FINDERS"] if plugin else {})
