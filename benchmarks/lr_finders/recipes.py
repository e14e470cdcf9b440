"""Recipes of the tasks: losses, optimizers, and the rows of tasks.csv put together."""

from __future__ import annotations

import csv
import functools
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import models
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn


def ce(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, -2), y.flatten())


def squares(out: Tensor, y: Tensor) -> Tensor:
    return ((out - y) ** 2).sum()


def half_squares(out: Tensor, y: Tensor) -> Tensor:
    return squares(out.flatten(), y) / 2


def gauss(out: Tensor, y: Tensor) -> Tensor:
    mean, log_variance = out[:, :1], out[:, 1:].clamp(-20, 20)
    return (0.5 * (log_variance + (y - mean) ** 2 / log_variance.exp())).mean()


def negative_probability(out: Tensor, y: Tensor) -> Tensor:
    return -out.softmax(-1).gather(1, y[:, None]).mean()


def elbo(out: tuple[Tensor, ...], y: Tensor) -> Tensor:
    rebuilt, mean, log_variance = out
    log_variance = log_variance.clamp(-15, 15)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return F.mse_loss(rebuilt, y, reduction="sum") / len(y) + 0.05 * divergence / len(y)


def contrastive(out: Tensor, y: Tensor) -> Tensor:
    """Supervised contrastive loss at temperature 0.2."""
    points, own = F.normalize(out, dim=1), torch.eye(len(y), dtype=torch.bool)
    similar = (points @ points.t() / 0.2).masked_fill(own, -1e9)
    alike = (y[:, None] == y[None]) & ~own
    log_share = similar - similar.logsumexp(1, keepdim=True)
    return -(log_share * alike).sum() / alike.sum().clamp(min=1)


def negative_sampling(out: Tensor, y: Tensor) -> Tensor:
    return -(F.logsigmoid(out[:, 0]) + F.logsigmoid(-out[:, 1:]).sum(1)).mean()


def focal(out: Tensor, y: Tensor) -> Tensor:
    log_share = out.log_softmax(1).gather(1, y[:, None])
    return -((1 - log_share.exp()) ** 2 * log_share).mean()


QUANTILES = torch.tensor((0.1, 0.5, 0.9))


def pinball(out: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(QUANTILES * (y - out), (QUANTILES - 1) * (y - out)).mean()


def mixture(out: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood under four Gaussians."""
    weight, mean, log_std = out.chunk(3, dim=1)
    log_std = log_std.clamp(-6, 6)
    inside = weight.log_softmax(1) - log_std - ((y - mean) / log_std.exp()) ** 2 / 2
    return -inside.logsumexp(1).mean()


def ordinal(out: Tensor, y: Tensor) -> Tensor:
    """Cumulative logits: whether the class is above 0, above 1 ..."""
    above = (y[:, None] > torch.arange(out.shape[1])).float()
    return F.binary_cross_entropy_with_logits(out, above)


def shares(y: Tensor, y_val: Tensor) -> Tensor:
    counts = torch.bincount(y.flatten(), minlength=int(max(y.max(), y_val.max())) + 1).float() + 1
    return counts / counts.sum()


def mean(y: Tensor, y_val: Tensor) -> Tensor:
    return y.float().mean(0).expand_as(y_val)


Ignoring = Callable[[Tensor, Tensor], Any]
# name -> (loss, its value for the best answer that ignores the input, from the answers to train
# on and those to validate with; None where there is none)
LOSSES: dict[str, tuple[Callable[..., Tensor], Ignoring | None]] = {
    "ce": (ce, lambda y, val: -shares(y, val).log()[val.flatten()].mean()),
    "smooth": (functools.partial(F.cross_entropy, label_smoothing=0.1), None),
    "mse": (F.mse_loss, lambda y, val: F.mse_loss(mean(y, val), val)),
    "bce": (
        F.binary_cross_entropy_with_logits,
        lambda y, val: F.binary_cross_entropy(mean(y, val).clamp(1e-4, 1 - 1e-4), val),
    ),
    "l1": (F.l1_loss, lambda y, val: (val - y.median(0).values).abs().mean()),
    "squares": (squares, lambda y, val: squares(mean(y, val), val)),
    "half_squares": (half_squares, lambda y, val: half_squares(mean(y, val), val)),
    "gauss": (
        gauss,
        lambda y, val: gauss(torch.stack((y.mean(), y.var().log()))[None].expand(len(val), 2), val),
    ),
    "hinge": (F.multi_margin_loss, lambda y, val: 0.9),
    "negative_probability": (
        negative_probability,
        lambda y, val: -(val == torch.bincount(y).argmax()).float().mean(),
    ),
    "elbo": (elbo, None),
    "contrastive": (contrastive, None),
    "noise": (lambda out, y: F.mse_loss(*out), lambda y, val: 1.0),
    "likelihood": (lambda out, y: -out.mean(), None),
    "negative_sampling": (negative_sampling, lambda y, val: 6 * math.log(6) - 5 * math.log(5)),
    "focal": (focal, lambda y, val: focal(torch.bincount(y).log().expand(len(val), -1), val)),
    "poisson": (
        F.poisson_nll_loss,
        lambda y, val: F.poisson_nll_loss((mean(y, val) + 1e-3).log(), val),
    ),
    "pinball": (pinball, lambda y, val: pinball(torch.quantile(y, QUANTILES), val)),
    "mixture": (mixture, None),
    "ordinal": (
        ordinal,
        lambda y, val: ordinal(
            torch.stack([(y > k).float().mean() for k in range(9)]).logit().expand(len(val), 9), val
        ),
    ),
}


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum. Source: Chen et al. 2023, arXiv:2302.06675."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.add_(torch.sign(m * 0.9 + p.grad * (1 - 0.9)), alpha=-group["lr"])
                m.mul_(0.99).add_(p.grad, alpha=1 - 0.99)


SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
# name -> (constructor, its arguments, "sgd" or "adam", whether one-cycle cycles its momentum)
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any], str, bool]] = {
    "sgd": (SGD, {}, "sgd", False),
    "sgdm": (SGD, {"momentum": 0.9}, "sgd", True),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}, "sgd", True),
    "heavy": (SGD, {"momentum": 0.99}, "sgd", False),
    "light": (SGD, {"momentum": 0.5}, "sgd", False),
    "clipped": (SGD, {"momentum": 0.9}, "sgd", True),  # gradients of norm 1 at most: Run.step
    "adam": (Adam, {}, "adam", True),
    "adamw": (AdamW, {"weight_decay": 0.01}, "adam", True),
    "llm": (AdamW, {"betas": (0.9, 0.95), "weight_decay": 0.1}, "adam", True),
    "amsgrad": (Adam, {"amsgrad": True}, "adam", True),
    "bigeps": (Adam, {"eps": 1e-2}, "adam", True),
    "nadam": (torch.optim.NAdam, {}, "adam", False),
    "radam": (torch.optim.RAdam, {}, "adam", True),
    "adamax": (torch.optim.Adamax, {}, "adam", True),
    "adagrad": (torch.optim.Adagrad, {}, "adam", False),
    "rmsprop": (torch.optim.RMSprop, {}, "adam", False),
    "centered": (torch.optim.RMSprop, {"centered": True, "momentum": 0.9}, "adam", True),
    "adafactor": (torch.optim.Adafactor, {}, "adam", False),
    "lion": (Lion, {}, "adam", False),
    "muon": (torch.optim.Muon, {}, "adam", False),
}


class Scale(nn.Module):
    """Weights that are a multiple of their parameters."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / self.factor


def rescale(model: nn.Module, factor: float) -> None:
    register = nn.utils.parametrize.register_parametrization
    for module in list(model.modules()):
        for name, _ in list(module.named_parameters(recurse=False)):
            register(module, name, Scale(factor), unsafe=True)


class Run:
    """A model on its way; the seed draws its weights and its batches."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe = recipe
        *self.train, self.x_val, self.y_val = datasets.load(recipe.data)
        torch.manual_seed(seed * 7919 + zlib.crc32((recipe.base or recipe.name).encode()) % 10007)
        self.model = models.build(recipe.model)
        if recipe.base and recipe.family == "adam":
            rescale(self.model, recipe.shift)
        build, options, *_ = OPTIMIZERS[recipe.optimizer]
        self.optimizer = build(self.model.parameters(), lr=1.0, **options)
        self.draw = torch.Generator().manual_seed(seed * 104729 + 17)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        loss = LOSSES[self.recipe.loss][0](self.model(x), y)
        # As a summed loss has it, or one with a weight.
        return loss * self.recipe.shift if self.recipe.family == "sgd" else loss

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self.train
        size = min(self.recipe.batch_size, len(x))
        while True:
            order = torch.randperm(len(x), generator=self.draw)
            for at in order[: len(x) // size * size].split(size):
                yield x[at], y[at]

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        """Loss of the batch before the update, of which there is none if that is not finite."""
        self.optimizer.zero_grad()
        loss = self.loss(*batch)
        if math.isfinite(loss.item()):
            loss.backward()
            if self.recipe.optimizer == "clipped":
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def validation_loss(self) -> float:
        self.model.eval()
        return self.loss(self.x_val, self.y_val).item()

    def ignoring(self) -> float:
        """Validation loss of the best answer that ignores the input."""
        ignoring = LOSSES[self.recipe.loss][1]
        return float(ignoring(self.train[1], self.y_val)) if ignoring else math.inf


@dataclass(frozen=True)
class Recipe:
    """A row of tasks.csv; `base` and `shift` are those of a copy on another scale of the lr."""

    set: str
    kind: str
    name: str
    data: str
    model: str
    optimizer: str
    batch_size: int
    steps: int
    loss: str
    base: str
    shift: float

    @property
    def family(self) -> str:
        return OPTIMIZERS[self.optimizer][2]

    @property
    def cycles_momentum(self) -> bool:
        return OPTIMIZERS[self.optimizer][3]


def recipes() -> list[Recipe]:
    numbers = {"batch_size": int, "steps": int, "shift": lambda text: float(text or 1)}
    with Path(__file__).with_name("tasks.csv").open(encoding="utf8", newline="") as file:
        rows = csv.DictReader(file)
        return [Recipe(**{k: numbers.get(k, str)(row[k]) for k in row}) for row in rows]
