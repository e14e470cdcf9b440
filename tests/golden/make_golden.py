"""Run other libraries' schedules and write what they give, step by step.

    python tests/golden/make_golden.py tests/golden/schedules.json

Needs torch, optax, jax, keras with a backend, and transformers.
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

STEPS = 60
TORCH = [
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 60}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 3, "pct_start": 0.9}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 47, "pct_start": 0.0}),
    (
        "OneCycleLR",
        {
            "max_lr": 2.0,
            "epochs": 6,
            "steps_per_epoch": 9,
            "anneal_strategy": "linear",
            "three_phase": True,
            "pct_start": 0.41,
            "final_div_factor": 100.0,
        },
    ),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 50, "pct_start": 0.5, "three_phase": True}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 7, "step_size_down": 4}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "triangular2"}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 9,
            "mode": "exp_range",
            "gamma": 0.98,
            "base_momentum": 0.7,
            "max_momentum": 0.95,
        },
    ),
    ("CosineAnnealingLR", {"base_lr": 0.1, "T_max": 17, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"base_lr": 0.1, "T_0": 7, "T_mult": 2, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"base_lr": 0.1, "T_0": 9}),
    ("LinearLR", {"base_lr": 0.1, "start_factor": 0.1, "total_iters": 11}),
    ("ExponentialLR", {"base_lr": 0.1, "gamma": 0.93}),
    ("PolynomialLR", {"base_lr": 0.1, "total_iters": 40, "power": 2.5}),
    ("StepLR", {"base_lr": 0.1, "step_size": 8, "gamma": 0.5}),
    ("MultiStepLR", {"base_lr": 0.1, "milestones": [20, 5, 20], "gamma": 0.3}),
]
OPTAX = [
    ("cosine_onecycle_schedule", {"transition_steps": 50, "peak_value": 0.1, "pct_start": 0.33}),
    ("linear_onecycle_schedule", {"transition_steps": 50, "peak_value": 0.1}),
    (
        "warmup_cosine_decay_schedule",
        {
            "init_value": 0.01,
            "peak_value": 0.1,
            "warmup_steps": 7,
            "decay_steps": 50,
            "end_value": 0.001,
            "exponent": 1.7,
        },
    ),
]
KERAS = [
    (
        "CosineDecay",
        {
            "initial_learning_rate": 0.01,
            "decay_steps": 30,
            "alpha": 0.1,
            "warmup_target": 0.1,
            "warmup_steps": 9,
        },
    ),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 40}),
    (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 11, "t_mul": 1.0, "m_mul": 0.6},
    ),
    (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 9, "m_mul": 0.8, "alpha": 0.05},
    ),
    (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 16, "power": 2.0, "cycle": True},
    ),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 13, "decay_rate": 0.5, "staircase": True},
    ),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 13, "decay_rate": 0.5},
    ),
]
TRANSFORMERS = [
    (
        "get_cosine_schedule_with_warmup",
        {"base_lr": 0.1, "num_warmup_steps": 9, "num_training_steps": 59},
    ),
    (
        "get_cosine_schedule_with_warmup",
        {"base_lr": 0.1, "num_warmup_steps": 0, "num_training_steps": 60, "num_cycles": 1.5},
    ),
    (
        "get_linear_schedule_with_warmup",
        {"base_lr": 0.1, "num_warmup_steps": 9, "num_training_steps": 50},
    ),
]
FASTAI = [
    ("fit_one_cycle", {"lr_max": 0.01, "total_steps": 60}, 0.25),
    ("fit_flat_cos", {"lr": 0.01, "total_steps": 60, "pct_start": 0.6}, 0.6),
]


def drive(scheduler, optimizer, steps, momentum_key):
    lr, momentum = [], []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        lr.append(float(group["lr"]))
        momentum.append(float(np.ravel(group.get(momentum_key, 0.0))[0]))
        optimizer.step()
        scheduler.step()
    return {"lr": lr, "momentum": momentum}


def torch_rows():
    for index, (call, args) in enumerate(TORCH):
        cycles = call in ("OneCycleLR", "CyclicLR")
        parameters = [torch.nn.Parameter(torch.zeros(1))]
        base_lr = args.get("base_lr", 0.1)
        adam = index % 2 == 1 and cycles
        optimizer = (
            torch.optim.AdamW(parameters, lr=base_lr)
            if adam
            else torch.optim.SGD(parameters, lr=base_lr, momentum=0.9)
        )
        own = args if cycles else {k: v for k, v in args.items() if k != "base_lr"}
        scheduler = getattr(torch.optim.lr_scheduler, call)(optimizer, **own)
        total = args.get("total_steps", args.get("epochs", 0) * args.get("steps_per_epoch", 0))
        row = drive(scheduler, optimizer, total or STEPS, "betas" if adam else "momentum")
        yield call, args, row["lr"], row["momentum"] if cycles else None


def transformers_rows():
    for call, args in TRANSFORMERS:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args["base_lr"])
        own = {k: v for k, v in args.items() if k != "base_lr"}
        scheduler = getattr(transformers, call)(optimizer, **own)
        row = drive(scheduler, optimizer, args["num_training_steps"], "momentum")
        yield call, args, row["lr"], None


def optax_rows():
    jax.config.update("jax_enable_x64", True)
    for call, args in OPTAX:
        schedule = getattr(optax, call)(**args)
        yield call, args, [float(schedule(np.float64(step))) for step in range(STEPS)], None


def keras_rows():
    keras.config.set_floatx("float64")
    for call, args in KERAS:
        schedule = getattr(keras.optimizers.schedules, call)(**args)
        yield call, args, [float(schedule(np.float64(step))) for step in range(STEPS)], None


def fastai_rows():
    def cosine(start, end, position):
        return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2

    def two(pct, start, middle, end, position):
        if position < pct:
            return cosine(start, middle, position / pct)
        return cosine(middle, end, (position - pct) / (1 - pct))

    for call, args, pct in FASTAI:
        n, peak = args["total_steps"], args.get("lr_max", args.get("lr"))
        one_cycle = call == "fit_one_cycle"
        start = peak / 25.0 if one_cycle else peak
        lr = [two(pct, start, peak, peak / 1e5, step / n) for step in range(n)]
        momentum = [two(pct, 0.95, 0.85, 0.95, step / n) for step in range(n)]
        yield call, args, lr, momentum if one_cycle else None


def main(path):
    # The peers warn of what the recorded values show: lr set before a step, deprecations.
    warnings.simplefilter("ignore")
    sources = {
        "torch": torch_rows,
        "transformers": transformers_rows,
        "optax": optax_rows,
        "keras": keras_rows,
        "fastai": fastai_rows,
    }
    rows = []
    for peer, make in sources.items():
        version = "2.8 (formula)" if peer == "fastai" else importlib.metadata.version(peer)
        for call, args, lr, momentum in make():
            rows.append(
                {
                    "peer": peer,
                    "version": version,
                    "call": call,
                    "args": args,
                    "lr": lr,
                    "momentum": momentum,
                }
            )
    text = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    Path(path).write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
