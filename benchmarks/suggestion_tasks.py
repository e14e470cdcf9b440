"""Sixteen tasks of other kinds than the public benchmark's: their definitions and their recording.

    python benchmarks/suggestion_tasks.py [--bench FOLDER] [--tasks NAME,NAME]

writes range tests and trainings on a grid of learning rates beside this file, for these and for the
ten tasks of `suggestion_fresh.py`, about 30 minutes for all. Data sets, loaders and training loops
are those of the benchmark's folder; the records are all that `suggestion.py` needs. A task's name
seeds its runs, so it must not change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import suggestion_data as data
import suggestion_fresh as fresh
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

Loss = Callable[[Any, torch.Tensor], torch.Tensor]
hinge, l1 = F.multi_margin_loss, F.l1_loss


# Losses: of other signs, sizes and bounds than cross-entropy and mean squares.


def gauss_nll(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mean, log_variance = out[:, :1], out[:, 1:].clamp(-20, 20)
    return (0.5 * (log_variance + (y - mean) ** 2 / log_variance.exp())).mean()


def neg_prob(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -out.softmax(-1).gather(1, y[:, None]).mean()


def sum_squares(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((out - y) ** 2).sum()


def smooth_ce(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(out, y, label_smoothing=0.1)


def elbo(out: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
    rebuilt, mean, log_variance = out
    log_variance = log_variance.clamp(-15, 15)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return F.mse_loss(rebuilt, y, reduction="sum") / len(y) + 0.05 * divergence / len(y)


def contrastive(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Supervised contrastive loss at temperature 0.2."""
    points = F.normalize(out, dim=1)
    own = torch.eye(len(y), dtype=torch.bool)
    similar = (points @ points.t() / 0.2).masked_fill(own, -1e9)
    alike = (y[:, None] == y[None]) & ~own
    log_share = similar - similar.logsumexp(1, keepdim=True)
    return -(log_share * alike).sum() / alike.sum().clamp(min=1)


def constant_loss(loss: Loss, y: torch.Tensor, y_val: torch.Tensor, known: Loss) -> float:
    """Validation loss of the best answer that ignores the input; inf where there is none.

    `known` is the benchmark's own function, for the losses that it has.
    """
    if loss in fresh.CONSTANT:
        return fresh.CONSTANT[loss](y, y_val)
    if loss is gauss_nll:
        mean, variance = y.mean(), y.var()
        return float((0.5 * (variance.log() + (y_val - mean) ** 2 / variance)).mean())
    if loss is l1:
        return float((y_val - y.median()).abs().mean())
    if loss is sum_squares:
        return float(((y_val - y.mean(0)) ** 2).sum())
    if loss is neg_prob:
        return -float((y_val == torch.bincount(y).argmax()).float().mean())
    if loss is hinge:
        return 0.9
    if loss in (smooth_ce, elbo, contrastive):
        return math.inf
    return float(known(loss, y, y_val))


# Models and an optimizer.


class Variational(nn.Module):
    def __init__(self, mlp: Callable[[list[int]], nn.Module]) -> None:
        super().__init__()
        self.e, self.d = mlp([64, 48, 16]), mlp([8, 48, 64])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean, log_variance = self.e(x).split(8, dim=1)
        deviation = (0.5 * log_variance.clamp(-15, 15)).exp()
        code = mean + torch.randn_like(mean) * deviation if self.training else mean
        return self.d(code), mean, log_variance


class Transformer(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.p = nn.Linear(4, width)
        self.pos = nn.Parameter(torch.randn(10, width) * 0.1)
        self.layer = nn.TransformerEncoderLayer(
            width, 2, 32, 0.0, batch_first=True, norm_first=True
        )
        self.o = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.o(self.layer(self.p(x.view(-1, 10, 4)) + self.pos).mean(1))


class LanguageLSTM(nn.Module):
    def __init__(self, vocabulary: int, width: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.e = nn.Embedding(vocabulary, width)
        self.g = nn.LSTM(width, hidden, batch_first=True)
        self.o = nn.Linear(hidden, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.o(self.g(self.e(x))[0])


def dropout_mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(96, 64), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(64, 10),
    )


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum. Source: Chen et al. 2023, arXiv:2302.06675."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            now, later = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.add_(torch.sign(m * now + p.grad * (1 - now)), alpha=-group["lr"])
                m.mul_(later).add_(p.grad, alpha=1 - later)


# name -> (constructor, whether it counts as "sgd" or "adam", whether one-cycle cycles its momentum)
OPTIMIZERS: dict[str, tuple[Any, str, bool]] = {
    "nesterov": (
        functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "sgd",
        True,
    ),
    "adagrad": (torch.optim.Adagrad, "adam", False),
    "nadam": (torch.optim.NAdam, "adam", False),
    "adamax": (torch.optim.Adamax, "adam", True),
    "lion": (Lion, "adam", False),
}


def define(bench: Any) -> list[Any]:
    """The tasks, out of the parts that the benchmark's `tasks` module has."""
    data.add_optimizers(bench, OPTIMIZERS)

    @functools.lru_cache(None)
    def cancer() -> tuple[torch.Tensor, ...]:
        from sklearn.datasets import load_breast_cancer

        return bench._tabular(load_breast_cancer, 180, np.int64)

    def in_thousands() -> tuple[torch.Tensor, ...]:
        x, y, x_val, y_val = bench.diabetes()
        return x, y * 1e-3, x_val, y_val * 1e-3

    def mlp(*sizes: int, **options: Any) -> Callable[[], nn.Module]:
        return lambda: bench.mlp(list(sizes), **options)

    ce, b, tanh_net = bench.ce, bench, mlp(64, 24, 64, act=nn.Tanh)
    rows: Iterable[tuple[Any, ...]] = (
        ("k_diabetes_gnll_adam_b64", in_thousands, mlp(10, 32, 2), "adam", 64, 250, gauss_nll),
        ("k_digits_hinge_sgdm_b16", b.digits, mlp(64, 48, 10), "sgdm", 16, 250, hinge),
        ("k_mnist1d_former_adamw_b32", b.mnist1d, Transformer, "adamw", 32, 300, ce),
        ("k_code_lstm_sgdm_b16", b.code_lm16, lambda: LanguageLSTM(b.VOCAB), "sgdm", 16, 150, ce),
        ("k_digits_vae_adam_b64", b.digits_ae, lambda: Variational(b.mlp), "adam", 64, 300, elbo),
        ("k_digits_supcon_sgdm_b128", b.digits, mlp(64, 64, 16), "sgdm", 128, 200, contrastive),
        ("k_mnist_deep_sgd_b4", b.mnist14_flat, mlp(196, *[40] * 5, 10), "sgd", 4, 400, ce),
        ("k_diabetes_l1_sgd_b16", b.diabetes, lambda: nn.Linear(10, 1), "sgd", 16, 300, l1),
        ("k_cancer_mlp_nesterov_b8", cancer, mlp(30, 16, 2), "nesterov", 8, 200, ce),
        ("k_wine_adagrad_b16", b.wine, mlp(13, 32, 3), "adagrad", 16, 150, ce),
        ("k_digits_drop_nadam_b256", b.digits, dropout_mlp, "nadam", 256, 150, smooth_ce),
        ("k_digits_lion_b32", b.digits, mlp(64, 64, 10), "lion", 32, 250, ce),
        ("k_mnist_finetune_adam_b16", b.mnist14_high, b.finetune_new_head, "adam", 16, 150, ce),
        ("k_digits_negprob_adamax_b32", b.digits, mlp(64, 64, 10), "adamax", 32, 250, neg_prob),
        ("k_digits_aesum_sgdm_b64", b.digits_ae, tanh_net, "sgdm", 64, 250, sum_squares),
        # Of digits, in batches of 256, in spite of its name.
        (
            "k_mnist8_cnnbn_sgdm_b128",
            b.digits_img,
            lambda: b.resnet8(4),
            "sgdm",
            256,
            120,
            smooth_ce,
        ),
    )
    return [bench.Task(*row) for row in rows]


def record(task: Any, bench: Any, curves: Any, truth: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what suggestion_data stores of the trainings, losses of the sweeps by "protocol/seed")."""
    first = task.make(truth.SEEDS[0])
    ignoring = constant_loss(
        task.loss, first.loader.y, first.y_val, known=bench.constant_predictor_loss
    )
    untrained = float(np.median([task.make(seed).val_loss() for seed in truth.SEEDS]))
    trained = {
        schedule: [[truth.train(task, lr, seed, schedule) for lr in truth.GRID] for seed in seeds]
        for schedule, seeds in dict.fromkeys(data.SCHEDULES, truth.SEEDS).items()
    }
    losses = {
        f"{protocol}/{seed}": curves.sweep(task.make(seed), lrs.tolist())["loss"]
        for protocol, lrs in data.PROTOCOLS.items()
        for seed in curves.SEEDS
    }
    entry = {
        "name": task.name,
        "family": task.family,
        "optimizer": task.opt,
        "batch_size": task.bs,
        "steps": task.steps,
        "reference_loss": min(ignoring, untrained),
        "grid": truth.GRID,
        "validation_loss": trained,
    }
    return entry, losses


def main() -> None:
    parser = data.arguments(__doc__)
    parser.add_argument("--tasks", help="comma-separated names; all by default")
    options = parser.parse_args()
    bench, curves, truth = data.bench_modules(options.bench, "tasks", "curves", "truth")
    wanted = options.tasks and options.tasks.split(",")
    for records, tasks in ((data.NEW, define(bench)), (data.FRESH, fresh.define(bench))):
        entries, losses = data.stored_records(records)
        for task in tasks:
            if wanted and task.name not in wanted:
                continue
            entries[task.name], sweeps = record(task, bench, curves, truth)
            losses.update({f"{task.name}/{key}": values for key, values in sweeps.items()})
            data.store_records(records, entries, losses)
            print(f"recorded {task.name}", flush=True)


if __name__ == "__main__":
    main()
