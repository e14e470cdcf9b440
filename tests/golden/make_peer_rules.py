"""Write the answers of the peers' rules on a few stored range tests.

    python tests/golden/make_peer_rules.py ../shared/suggestion_bench tests/golden/peer_rules.json

The rules are those of the benchmark's rules.py, which its rules_check.py compares with the
installed peers (fastai 2.8.12, Lightning 2.6.6, ignite 0.5.5, torch-lr-finder 0.2.2). Every rule is
given the same sweeps of 100 steps here.
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


def answer(rule, sweeps):
    try:
        lr = rule(sweeps, SimpleNamespace())
    except (ValueError, IndexError, RuntimeError):
        return None
    return None if lr is None or not math.isfinite(lr) else float(lr)


def main(bench, out):
    sys.path.insert(0, bench)
    import rules
    import store

    # Each rule reads the sweep of its owner's default plan: make all of them this one.
    planned = store.PROTOCOLS[SWEEP]
    store.PROTOCOLS.update(dict.fromkeys(store.PROTOCOLS, planned))
    curves = {task.name: store.curves(task)[SWEEP]["100"] for task in store.tasks(names=TASKS)}
    flat = {"lr": np.array(planned), "loss": np.full(len(planned), PLATEAU)}
    rows = []
    for name, curve in (*curves.items(), ("plateau", flat)):
        sweeps = dict.fromkeys(store.PROTOCOLS, curve)
        with np.errstate(all="ignore"):
            lr = {rule: answer(rules.RULES[rule], sweeps) for rule in NAMES}
        if curve is flat:
            del lr[OF_LOGARITHMS]
        data = {
            "format": 1,
            "lr": curve["lr"].tolist(),
            "loss": [v if math.isfinite(v) else str(v) for v in curve["loss"].tolist()],
            "num_steps": len(planned),
        }
        rows.append({"name": name, "curve": data, "lr": lr})
    Path(out).write_text(json.dumps({"curves": rows}) + "\n", encoding="utf8")


if __name__ == "__main__":
    main(*sys.argv[1:])
