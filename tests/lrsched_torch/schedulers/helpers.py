"""Optimizers whose gradients are all ones, and what is in their groups."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


def parameter():
    return torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))


def sgd(width=1, **arguments):
    groups = [{"params": [parameter()]} for _ in range(width)]
    return torch.optim.SGD(groups, **{"lr": 0.5, "momentum": 0.9, **arguments})


def adam(width=1, **arguments):
    groups = [{"params": [parameter()]} for _ in range(width)]
    return torch.optim.Adam(groups, **{"lr": 0.5, **arguments})


def update(optimizer):
    for group in optimizer.param_groups:
        for each in group["params"]:
            each.grad = torch.ones_like(each)
    optimizer.step()


def advance(scheduler, steps=1):
    for _ in range(steps):
        update(scheduler.optimizer)
        scheduler.step()


def hyperparameters(optimizer):
    return copy.deepcopy(
        [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
    )
