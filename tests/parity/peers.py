"""Runs a peer, and ours beside it: arguments and steps -> values, a row per step."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsched import Schedule, compat
from tests.parity import formulas

Arguments = dict[str, Any]
Values = NDArray[np.float64]
# torch's schedulers of these names take their lr as an argument, and cycle the momentum.
CYCLES = ("OneCycleLR", "CyclicLR")


def table(columns: Any, steps: list[int]) -> Values:
    """The values of a function of the step, or of a pair whose second may be None."""
    columns = columns if isinstance(columns, tuple) else (columns,)
    return np.array([[column(step) for column in columns if column] for step in steps])


def ours(name: str, args: Arguments) -> Any:
    return getattr(compat, name)(**args)


# torch


def optimizer(kind: str, lrs: list[float]) -> Any:
    import torch

    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
    return getattr(torch.optim, kind)(groups, **options)


def driven(scheduler: Any, momentum: bool, steps: list[int]) -> Values:
    """What a scheduler sets in its optimizer at these steps: the lrs, then momenta or betas."""
    optimizer, found = scheduler.optimizer, {}
    for step in range(max(steps) + 1):
        groups = optimizer.param_groups
        row = [group["lr"] for group in groups]
        if momentum:
            row += [m for group in groups for m in group.get("betas") or (group["momentum"],)]
        found[step] = row
        if step < max(steps):
            optimizer.step()
            scheduler.step()
    return np.array([found[step] for step in steps])


def torch_scheduler(name: str, args: Arguments, steps: list[int]) -> Values:
    from torch.optim import lr_scheduler

    own = dict(args)
    base_lr = 0.1 if name in CYCLES else own.pop("base_lr")
    scheduler = getattr(lr_scheduler, name)(optimizer("SGD", [base_lr]), **own)
    return driven(scheduler, name in CYCLES and args.get("cycle_momentum", True), steps)


def torch_sequential(args: Arguments, steps: list[int]) -> Values:
    from torch.optim import lr_scheduler

    driver = optimizer("SGD", [args["base_lr"]])
    parts = [getattr(lr_scheduler, name)(driver, **own) for name, own in args["schedulers"]]
    return driven(lr_scheduler.SequentialLR(driver, parts, args["milestones"]), False, steps)


def our_sequential(args: Arguments) -> Schedule:
    names = {
        "CosineAnnealingLR": "torch_cosine_annealing",
        "CosineAnnealingWarmRestarts": "torch_cosine_annealing_warm_restarts",
        "ExponentialLR": "torch_exponential",
        "LinearLR": "torch_linear",
        "MultiStepLR": "torch_multi_step",
        "PolynomialLR": "torch_polynomial",
        "StepLR": "torch_step",
    }
    parts = [
        ours(names[name], {"base_lr": args["base_lr"], **own}) for name, own in args["schedulers"]
    ]
    return compat.torch_sequential(parts, args["milestones"])


def drop_in(module: str, name: str, args: Arguments, steps: list[int]) -> Values:
    """The scheduler of that name in torch.optim.lr_scheduler or in lrsched_torch."""
    import importlib

    own = dict(args)
    driver = optimizer(own.pop("kind"), [0.3] * own.pop("groups"))
    scheduler = getattr(importlib.import_module(module), name)(driver, **own)
    return driven(scheduler, True, steps)


# other libraries


def transformers(name: str, args: Arguments, steps: list[int]) -> Values:
    from transformers import optimization

    own = dict(args)
    scheduler = getattr(optimization, name)(optimizer("SGD", [own.pop("base_lr")]), **own)
    (base_lr,), (factor,) = scheduler.base_lrs, scheduler.lr_lambdas
    return table(lambda step: base_lr * factor(step), steps)


def optax(name: str, args: Arguments, steps: list[int]) -> Values:
    import jax
    import optax

    with jax.enable_x64(True):
        values = jax.vmap(getattr(optax, name)(**args))(jax.numpy.array(steps))
        assert values.dtype == np.float64
        return np.asarray(values)[:, None]


def keras(name: str, args: Arguments, steps: list[int]) -> Values:
    os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that computes in float64
    import keras

    keras.config.set_floatx("float64")
    schedule = getattr(keras.optimizers.schedules, name)(**args)
    values = [keras.ops.convert_to_numpy(schedule(np.float64(step))) for step in steps]
    assert all(value.dtype == np.float64 for value in values)
    return np.array(values)[:, None]


def formula(name: str, args: Arguments, steps: list[int]) -> Values:
    return table(getattr(formulas, name)(**args), steps)
