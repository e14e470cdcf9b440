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

STEPS = 60  # of a schedule that does not end by itself, unless its row names more
LONGEST, RECORDED = 60, 41  # of a row with more steps, so many from first to last are recorded
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
    (
        "OneCycleLR",
        {
            "max_lr": 0.0152825,
            "total_steps": 250,
            "pct_start": 0.223,
            "div_factor": 5.66915,
            "final_div_factor": 16117.8,
            "base_momentum": 0.806,
            "max_momentum": 0.909,
        },
    ),
    (
        "OneCycleLR",
        {
            "max_lr": 0.262532,
            "total_steps": 1000,
            "pct_start": 0.271,
            "anneal_strategy": "linear",
            "three_phase": True,
            "div_factor": 4.70687,
            "final_div_factor": 689.309,
            "base_momentum": 0.752,
            "max_momentum": 0.902,
        },
    ),
    (
        "OneCycleLR",
        {
            "max_lr": 0.000679712,
            "total_steps": 97,
            "pct_start": 0.098,
            "anneal_strategy": "linear",
            "div_factor": 90.0651,
            "final_div_factor": 1007.39,
        },
    ),
    (
        "OneCycleLR",
        {
            "max_lr": 0.000137074,
            "total_steps": 2,
            "pct_start": 0.31,
            "div_factor": 8.88556,
            "base_momentum": 0.776,
            "max_momentum": 0.903,
        },
    ),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 12, "cycle_momentum": False}),
    (
        "CyclicLR",
        {
            "base_lr": 0.000163442,
            "max_lr": 0.0077992,
            "step_size_up": 100,
            "step_size_down": 20,
            "mode": "triangular2",
            "base_momentum": 0.783,
            "max_momentum": 0.924,
        },
        1000,
    ),
    (
        "CyclicLR",
        {
            "base_lr": 1.25135e-05,
            "max_lr": 6.73447e-05,
            "step_size_up": 1,
            "step_size_down": 61,
            "mode": "exp_range",
            "gamma": 0.98029,
            "base_momentum": 0.836,
            "max_momentum": 0.922,
        },
        300,
    ),
    (
        "CyclicLR",
        {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 3, "cycle_momentum": False},
        12,
    ),
    ("CosineAnnealingLR", {"base_lr": 0.0702172, "T_max": 10, "eta_min": 3.01486e-06}, 300),
    ("CosineAnnealingLR", {"base_lr": 0.00998159, "T_max": 200, "eta_min": 1.76167e-05}, 150),
    (
        "CosineAnnealingWarmRestarts",
        {"base_lr": 0.00423054, "T_0": 5, "T_mult": 3, "eta_min": 4.76105e-06},
        300,
    ),
    (
        "LinearLR",
        {"base_lr": 0.306539, "start_factor": 0.059, "end_factor": 0.8, "total_iters": 200},
        250,
    ),
    ("ExponentialLR", {"base_lr": 0.706, "gamma": 0.9904}, 1000),
    ("PolynomialLR", {"base_lr": 0.000128544, "total_iters": 200, "power": 0.9}, 250),
    ("StepLR", {"base_lr": 0.000635934, "step_size": 30, "gamma": 0.83}, 300),
    ("MultiStepLR", {"base_lr": 0.190506, "milestones": [28, 70, 280], "gamma": 0.79}, 300),
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
    (
        "cosine_onecycle_schedule",
        {
            "transition_steps": 257,
            "peak_value": 0.424383,
            "pct_start": 0.467,
            "div_factor": 4.85041,
            "final_div_factor": 869.452,
        },
        262,
    ),
    (
        "linear_onecycle_schedule",
        {
            "transition_steps": 257,
            "peak_value": 0.0755772,
            "pct_start": 0.355,
            "pct_final": 0.734,
            "div_factor": 30.4046,
            "final_div_factor": 429.209,
        },
        262,
    ),
    (
        "linear_onecycle_schedule",
        {
            "transition_steps": 10,
            "peak_value": 0.148685,
            "pct_start": 0.377,
            "pct_final": 0.803,
            "div_factor": 13.5136,
        },
        15,
    ),
    (
        "warmup_cosine_decay_schedule",
        {
            "init_value": 0.00424383,
            "peak_value": 0.424383,
            "warmup_steps": 36,
            "decay_steps": 257,
            "end_value": 0.000424383,
        },
        262,
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
    (
        "CosineDecay",
        {
            "initial_learning_rate": 0.000647346,
            "decay_steps": 20,
            "alpha": 0.01,
            "warmup_target": 0.0323673,
            "warmup_steps": 30,
        },
    ),
    (
        "CosineDecayRestarts",
        {
            "initial_learning_rate": 0.575425,
            "first_decay_steps": 25,
            "t_mul": 2.0,
            "m_mul": 0.58,
            "alpha": 0.01,
        },
        300,
    ),
    (
        "PolynomialDecay",
        {
            "initial_learning_rate": 0.000388431,
            "decay_steps": 100,
            "end_learning_rate": 3.88431e-06,
            "power": 2.86,
        },
        140,
    ),
    (
        "PolynomialDecay",
        {
            "initial_learning_rate": 0.688171,
            "decay_steps": 100,
            "end_learning_rate": 0.00688171,
            "power": 1.52,
            "cycle": True,
        },
        350,
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
    ("fit_one_cycle", {"lr_max": 0.01, "total_steps": 60}),
    ("fit_flat_cos", {"lr": 0.01, "total_steps": 60, "pct_start": 0.6}),
    (
        "fit_one_cycle",
        {
            "lr_max": 0.00023012,
            "total_steps": 333,
            "div": 18.9166,
            "div_final": 226.744,
            "pct_start": 0.175,
            "moms": [0.987, 0.707, 0.917],
        },
    ),
    (
        "fit_one_cycle",
        {
            "lr_max": 0.127302,
            "total_steps": 64,
            "div": 94.2624,
            "div_final": 19328.6,
            "pct_start": 0.494,
            "moms": [0.91, 0.793, 0.983],
        },
    ),
    ("fit_flat_cos", {"lr": 0.3, "total_steps": 64, "pct_start": 0.72, "div_final": 25.336}),
    ("fit_flat_cos", {"lr": 0.3, "total_steps": 20}),
]


def number_of_steps(length):
    return length[0] if length else STEPS


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
    for index, (call, args, *length) in enumerate(TORCH):
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
        steps = total or number_of_steps(length)
        row = drive(scheduler, optimizer, steps, "betas" if adam else "momentum")
        cycled = cycles and args.get("cycle_momentum", True)
        yield call, args, row["lr"], row["momentum"] if cycled else None


def transformers_rows():
    for call, args in TRANSFORMERS:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args["base_lr"])
        own = {k: v for k, v in args.items() if k != "base_lr"}
        scheduler = getattr(transformers, call)(optimizer, **own)
        row = drive(scheduler, optimizer, args["num_training_steps"], "momentum")
        yield call, args, row["lr"], None


def optax_rows():
    jax.config.update("jax_enable_x64", True)
    for call, args, *length in OPTAX:
        schedule = getattr(optax, call)(**args)
        steps = range(number_of_steps(length))
        yield call, args, [float(schedule(np.float64(step))) for step in steps], None


def keras_rows():
    keras.config.set_floatx("float64")
    for call, args, *length in KERAS:
        schedule = getattr(keras.optimizers.schedules, call)(**args)
        steps = range(number_of_steps(length))
        yield call, args, [float(schedule(np.float64(step))) for step in steps], None


def fastai_rows():
    def cosine(start, end, position):
        return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2

    def two(pct, start, middle, end, position):
        if position < pct:
            return cosine(start, middle, position / pct)
        return cosine(middle, end, (position - pct) / (1 - pct))

    for call, args in FASTAI:
        n, peak = args["total_steps"], args.get("lr_max", args.get("lr"))
        one_cycle = call == "fit_one_cycle"
        pct = args.get("pct_start", 0.25 if one_cycle else 0.75)
        start = peak / args.get("div", 25.0) if one_cycle else peak
        end = peak / args.get("div_final", 1e5)
        moms = args.get("moms", (0.95, 0.85, 0.95))
        lr = [two(pct, start, peak, end, step / n) for step in range(n)]
        momentum = [two(pct, *moms, step / n) for step in range(n)]
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
            row = {"peer": peer, "version": version, "call": call, "args": args}
            if len(lr) > LONGEST:
                steps = np.linspace(0, len(lr) - 1, RECORDED).round().astype(int).tolist()
                row["steps"] = steps
                lr = [lr[step] for step in steps]
                momentum = momentum and [momentum[step] for step in steps]
            rows.append(row | {"lr": lr, "momentum": momentum})
    text = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    Path(path).write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
