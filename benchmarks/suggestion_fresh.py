"""Ten tasks that had no part in any choice: defined and recorded when the rules had been settled.

Unlike the public tasks and those of `suggestion_tasks.py` in loss, model, optimizer and batch size.
`suggestion_tasks.py` records them too. A task's name seeds its runs, so it must not change.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from suggestion_data import add_optimizers
from torch import nn

Tensor = torch.Tensor
WORDS, NEGATIVES = 150, 5


# Losses, and what the best answer that ignores the input gets; inf where there is none.


def noise_error(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    return F.mse_loss(*out)


def negative_log_likelihood(out: Tensor, y: Tensor) -> Tensor:
    return -out.mean()


def half_squares(out: Tensor, y: Tensor) -> Tensor:
    return ((out - y) ** 2).sum() / 2


def negative_sampling(out: Tensor, y: Tensor) -> Tensor:
    return -(F.logsigmoid(out[:, 0]) + F.logsigmoid(-out[:, 1:]).sum(1)).mean()


def focal(out: Tensor, y: Tensor) -> Tensor:
    log_share = out.log_softmax(1).gather(1, y[:, None])
    return -((1 - log_share.exp()) ** 2 * log_share).mean()


def poisson(out: Tensor, y: Tensor) -> Tensor:
    return F.poisson_nll_loss(out, y)


def colour_error(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out, y)


CONSTANT: dict[Any, Callable[[Tensor, Tensor], float]] = {
    noise_error: lambda y, y_val: 1.0,
    negative_log_likelihood: lambda y, y_val: math.inf,
    half_squares: lambda y, y_val: float(half_squares(y.mean(), y_val)),
    negative_sampling: lambda y, y_val: (
        (NEGATIVES + 1) * math.log(NEGATIVES + 1) - NEGATIVES * math.log(NEGATIVES)
    ),
    focal: lambda y, y_val: float(focal(torch.bincount(y).log().expand(len(y_val), -1), y_val)),
    poisson: lambda y, y_val: float(poisson((y.mean(0) + 1e-3).log(), y_val)),
    colour_error: lambda y, y_val: float(colour_error(y.mean(0).expand_as(y_val), y_val)),
}


# Models.


class Denoiser(nn.Module):
    """Tells the noise from an image blended with it to a random degree; (told, true)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(65, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, 64),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        source = None if self.training else torch.Generator().manual_seed(0)
        degree = torch.rand(len(x), 1, generator=source)
        noise = torch.randn(x.shape, generator=source)
        angle = degree * math.pi / 2
        blend = angle.cos() * (2 * x - 1) + angle.sin() * noise
        return self.net(torch.cat((blend, degree), 1)), noise


class Flow(nn.Module):
    """Log-likelihood of points in the plane: four affine couplings over a Gaussian."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, 2)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        still, moved = x[:, :1], x[:, 1:]
        total = torch.zeros(len(x), 1)
        for step in self.steps:
            log_scale, shift = step(still).split(1, 1)
            still, moved = moved * log_scale.exp() + shift, still
            total = total + log_scale
        inside = -(still**2 + moved**2) / 2 - math.log(2 * math.pi)
        return (inside + total).squeeze(1)


class RowReader(nn.Module):
    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(8, hidden, batch_first=True), nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x.view(-1, 8, 8))[0][:, -1])


class Factors(nn.Module):
    def __init__(self, rows: int, columns: int, rank: int = 6) -> None:
        super().__init__()
        self.row, self.column = nn.Embedding(rows, rank), nn.Embedding(columns, rank)
        for table in (self.row, self.column):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.row(x[:, 0]) * self.column(x[:, 1])).sum(1)


class SkipGram(nn.Module):
    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.word, self.context = nn.Embedding(WORDS, size), nn.Embedding(WORDS, size)
        for table in (self.word, self.context):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [batch, 1 + negatives] of (word, its neighbour, others ...)."""
        return (self.word(x[:, :1]) * self.context(x[:, 1:])).sum(2)


class Sine(nn.Module):
    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * x)


def sine_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(2, 64), Sine(15.0)), *(nn.Linear(64, 64), Sine(5.0)), nn.Linear(64, 3)
    )


class Block(nn.Module):
    """Depthwise convolution, layer norm, GELU and a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            nn.GroupNorm(1, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


def patches_net(width: int = 8) -> nn.Module:
    blocks = (Block(width), Block(width), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(nn.Conv2d(1, width, 2, 2), *blocks, nn.Linear(4 * width, 10))


def unbiased_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 10, bias=False))


class ClippedSGD(torch.optim.SGD):
    """Momentum SGD on gradients of norm 1 at most."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], 1.0)
        super().step()


# name -> (constructor, whether it counts as "sgd" or "adam", whether one-cycle cycles its momentum)
OPTIMIZERS: dict[str, tuple[Any, str, bool]] = {
    "llm": (
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.1),
        "adam",
        True,
    ),
    "amsgrad": (functools.partial(torch.optim.Adam, amsgrad=True), "adam", True),
    "radam": (torch.optim.RAdam, "adam", True),
    "bigeps": (functools.partial(torch.optim.Adam, eps=1e-2), "adam", True),
    "muon": (torch.optim.Muon, "adam", False),
    "clipped": (functools.partial(ClippedSGD, momentum=0.9), "sgd", True),
    "heavy": (functools.partial(torch.optim.SGD, momentum=0.99), "sgd", False),
    "light": (functools.partial(torch.optim.SGD, momentum=0.5), "sgd", False),
}


# Data: (x, y) to train on and (x, y) to validate with, split by the benchmark's own function.


@functools.lru_cache(None)
def moons(bench: Any) -> tuple[Tensor, ...]:
    from sklearn.datasets import make_moons

    x, y = make_moons(2000, noise=0.08, random_state=0)
    return bench._split(x.astype(np.float32), y, 500)


@functools.lru_cache(None)
def iris(bench: Any) -> tuple[Tensor, ...]:
    from sklearn.datasets import load_iris

    return bench._tabular(load_iris, 50, np.int64)


@functools.lru_cache(None)
def entries(bench: Any) -> tuple[Tensor, ...]:
    """Single pixels of the digits: (image, place) -> brightness."""
    images = np.concatenate([bench.digits()[0], bench.digits()[2]])
    places = np.stack(np.divmod(np.arange(images.size), 64), 1)
    kept = np.random.RandomState(3).choice(images.size, 48000, replace=False)
    return bench._split(places[kept], images.reshape(-1)[kept], 8000)


@functools.lru_cache(None)
def word_pairs(bench: Any) -> tuple[Tensor, ...]:
    text = (Path(bench.DATA) / "stdlib.txt").read_text(encoding="utf8")
    words = re.findall(r"[A-Za-z_]+", text)
    number = {word: i for i, (word, _) in enumerate(Counter(words).most_common(WORDS))}
    ids = np.array([number[word] for word in words if word in number])
    draw = np.random.RandomState(4)
    at = draw.randint(2, len(ids) - 2, 40000)
    neighbour = at + draw.choice([-2, -1, 1, 2], at.size)
    others = ids[draw.randint(0, len(ids), (at.size, NEGATIVES))]
    x = np.concatenate([ids[at][:, None], ids[neighbour][:, None], others], 1)
    return bench._split(x, np.zeros(len(x)), 4000)


@functools.lru_cache(None)
def photograph(bench: Any) -> tuple[Tensor, ...]:
    """(row, column) in [-1, 1] -> colour, of an image of 71 x 106 pixels."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg")[:426, :636].astype(np.float32) / 255
    image = image.reshape(71, 6, 106, 6, 3).mean((1, 3))
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (71, 106)), indexing="ij"), -1)
    return bench._split(grid.reshape(-1, 2).astype(np.float32), image.reshape(-1, 3), 1000)


@functools.lru_cache(None)
def halves(bench: Any) -> tuple[Tensor, ...]:
    """The upper half of a digit -> the lower one, in counts from 0 to 16."""
    x, _, x_val, _ = bench.digits()
    return x[:, :32], x[:, 32:] * 16, x_val[:, :32], x_val[:, 32:] * 16


def define(bench: Any) -> list[Any]:
    """The tasks, out of the parts that the benchmark's `tasks` module has."""
    add_optimizers(bench, OPTIMIZERS)

    def of(data: Callable[[Any], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
        return functools.partial(data, bench)

    def small_tanh() -> nn.Module:
        return bench.mlp([4, 16, 3], nn.Tanh)

    def counter() -> nn.Module:
        return bench.mlp([32, 48, 32])

    def factors() -> nn.Module:
        return Factors(1797, 64)

    b, nll, pairs, photo = bench, negative_log_likelihood, of(word_pairs), of(photograph)
    rows: tuple[tuple[Any, ...], ...] = (
        ("f_digits_diffusion_llm_b96", b.digits_ae, Denoiser, "llm", 96, 400, noise_error),
        ("f_moons_flow_amsgrad_b200", of(moons), Flow, "amsgrad", 200, 250, nll),
        ("f_digits_rnn_clipped_b20", b.digits, RowReader, "clipped", 20, 300, b.ce),
        ("f_digits_factors_heavy_b500", of(entries), factors, "heavy", 500, 300, half_squares),
        ("f_code_skipgram_radam_b100", pairs, SkipGram, "radam", 100, 400, negative_sampling),
        ("f_iris_full_sgd_b100", of(iris), small_tanh, "sgd", 100, 200, b.ce),
        ("f_digits_focal_muon_b40", b.digits, unbiased_mlp, "muon", 40, 250, focal),
        ("f_china_sine_amsgrad_b1024", photo, sine_net, "amsgrad", 1024, 300, colour_error),
        ("f_digits_poisson_light_b24", of(halves), counter, "light", 24, 300, poisson),
        ("f_mnist_patches_bigeps_b48", b.mnist14, patches_net, "bigeps", 48, 150, b.ce),
    )
    return [bench.Task(*row) for row in rows]
