"""Run other libraries' schedules and write what they give, step by step.

    python tests/golden/make_golden.py tests/golden/schedules.json

fills in, for every row of that file, what follows from its "peer", "call", "args", "num_steps" and,
for torch, "optimizer": a new row needs no more. Needs torch, optax, jax, keras with a backend, and
transformers.
"""

import importlib.metadata
import json
import math
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras
import numpy as np
import optax
import torch
import transformers

LONGEST, RECORDED = 60, 41  # of a row with more steps, so many from first to last are recorded
CYCLES = ("OneCycleLR", "CyclicLR")  # the momentum too; a base_lr is their own argument


def drive(make, row, optimizer_name):
    """lr and momentum of each step of a scheduler that drives a real optimizer."""
    own, base_lr = dict(row["args"]), row["args"].get("base_lr", 0.1)
    if row["call"] not in CYCLES:
        own.pop("base_lr", None)
    parameters, adam = [torch.nn.Parameter(torch.zeros(1))], optimizer_name == "AdamW"
    if adam:
        optimizer = torch.optim.AdamW(parameters, lr=base_lr)
    else:
        optimizer = torch.optim.SGD(parameters, lr=base_lr, momentum=0.9)
    scheduler = make(optimizer, **own)
    lr, momentum = [], []
    for _ in range(row["num_steps"]):
        (group,) = optimizer.param_groups
        lr.append(float(group["lr"]))
        momentum.append(float(group["betas"][0] if adam else group["momentum"]))
        optimizer.step()
        scheduler.step()
    return lr, momentum


def run_torch(row):
    lr, momentum = drive(getattr(torch.optim.lr_scheduler, row["call"]), row, row["optimizer"])
    cycled = row["call"] in CYCLES and row["args"].get("cycle_momentum", True)
    return lr, momentum if cycled else None


def run_transformers(row):
    return drive(getattr(transformers, row["call"]), row, "SGD")[0], None


def run_optax(row):
    schedule = getattr(optax, row["call"])(**row["args"])
    return [float(schedule(np.float64(step))) for step in range(row["num_steps"])], None


def run_keras(row):
    schedule = getattr(keras.optimizers.schedules, row["call"])(**row["args"])
    return [float(schedule(np.float64(step))) for step in range(row["num_steps"])], None


def run_fastai(row):
    """fastai's formula, at position step / total_steps."""

    def cosine(start, end, position):
        return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2

    def two(start, middle, end, position):
        if position < pct:
            return cosine(start, middle, position / pct)
        return cosine(middle, end, (position - pct) / (1 - pct))

    args, one_cycle = row["args"], row["call"] == "fit_one_cycle"
    peak = args["lr_max" if one_cycle else "lr"]
    pct = args.get("pct_start", 0.25 if one_cycle else 0.75)
    start = peak / args.get("div", 25.0) if one_cycle else peak
    end, moms = peak / args.get("div_final", 1e5), args.get("moms", (0.95, 0.85, 0.95))
    positions = [step / args["total_steps"] for step in range(row["num_steps"])]
    lr = [two(start, peak, end, position) for position in positions]
    return lr, [two(*moms, position) for position in positions] if one_cycle else None


RUN = {
    "torch": run_torch,
    "transformers": run_transformers,
    "optax": run_optax,
    "keras": run_keras,
    "fastai": run_fastai,
}


def filled_in(row):
    peer, count = row["peer"], row["num_steps"]
    lr, momentum = RUN[peer](row)
    version = "2.8 (formula)" if peer == "fastai" else importlib.metadata.version(peer)
    given = {k: row[k] for k in ("call", "args", "optimizer", "num_steps") if k in row}
    found = {"peer": peer, "version": version, **given}
    if count > LONGEST:
        steps = np.linspace(0, count - 1, RECORDED).round().astype(int).tolist()
        lr = [lr[step] for step in steps]
        momentum = momentum and [momentum[step] for step in steps]
        found["steps"] = steps
    return found | {"lr": lr, "momentum": momentum}


def main(path):
    # The peers warn of what the recorded values show: lr set before a step, deprecations.
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    rows = [filled_in(row) for row in json.loads(Path(path).read_text())]
    text = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    Path(path).write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
