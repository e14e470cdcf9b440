"""Write the answers of the peers' rules on stored range tests.

    python tests/golden/make_peer_rules.py BENCH tests/golden/peer_rules.json

BENCH is a folder with the peers' rules, rules.py, and range tests that store.py reads. Its
rules_check.py compares the rules with the installed peers (fastai 2.8.12, Lightning 2.6.6, ignite
0.5.5, torch-lr-finder 0.2.2). Every rule is given the same sweeps here.
"""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

TASKS = (
    "digits_mlp_sgdm_b64",
    "code_gru_adam_b8",
    "diabetes_mlp_adam_b32_raw",
    "mnist_finetune_sgdm_b32",
    "mnist_mlp_resume_adam_b32",
    "digits_ae_sgdm_b32_bce",
)
NAMES = (
    "fastai_valley",
    "fastai_slide",
    "fastai_minimum",
    "fastai_steep",
    "lightning",
    "ignite",
    "torch_lr_finder",
    "ktrain_valley",
    "ktrain_mingrad",
    "ktrain_min10",
    "dehaene_min10",
    "keras_lr_finder",
)
PLATEAU = 2.3  # of equal losses: the rounding of their mean alone decides most rules
OF_LOGARITHMS = "fastai_steep"  # there the last bit of np.log decides, which machines disagree on
SWEEP = "e7_100"
DIGITS = 10  # of an answer on the repository's tasks, whose lr are a percent or more apart


def answer(rule, sweeps):
    try:
        lr = rule(sweeps, SimpleNamespace())
    except (ValueError, IndexError, RuntimeError):
        return None
    return None if lr is None or not math.isfinite(lr) else float(lr)


def answers(bench, curve, planned):
    """The lr of every rule; each reads the sweep of its owner's default plan: all are this one."""
    rules, store = bench
    store.PROTOCOLS.update(dict.fromkeys(store.PROTOCOLS, planned))
    sweeps = dict.fromkeys(store.PROTOCOLS, curve)
    with np.errstate(all="ignore"):
        return {name: answer(rules.RULES[name], sweeps) for name in NAMES}


def recorded_tasks(bench, yardstick):
    """{sweep: {task: {rule: lr}}} on the first run of each sweep of the repository's own tasks."""
    found = {}
    for task in (*yardstick.tasks("new"), *yardstick.tasks("fresh")):
        for sweep in bench[1].PROTOCOLS:
            lr, loss = task.curves[sweep][0]
            lrs = answers(bench, {"lr": lr, "loss": loss}, yardstick.SWEEPS[sweep])
            found.setdefault(sweep, {})[task.name] = {
                rule: None if lr is None else float(f"{lr:.{DIGITS}g}") for rule, lr in lrs.items()
            }
    return found


def main(folder, out):
    sys.path[:0] = [folder, str(Path(__file__).parents[2] / "benchmarks" / "lr_finders")]
    import rules
    import store
    import yardstick

    bench, planned = (rules, store), list(store.PROTOCOLS[SWEEP])
    curves = {task.name: store.curves(task)[SWEEP]["100"] for task in store.tasks(names=TASKS)}
    flat = {"lr": np.array(planned), "loss": np.full(len(planned), PLATEAU)}
    rows = []
    for name, curve in (*curves.items(), ("plateau", flat)):
        lr = answers(bench, curve, planned)
        if curve is flat:
            del lr[OF_LOGARITHMS]
        data = {
            "format": 1,
            "lr": curve["lr"].tolist(),
            "loss": [v if math.isfinite(v) else str(v) for v in curve["loss"].tolist()],
            "num_steps": len(planned),
        }
        rows.append({"name": name, "curve": data, "lr": lr})
    text = json.dumps({"curves": rows, "tasks": recorded_tasks(bench, yardstick)})
    Path(out).write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main(*sys.argv[1:])
