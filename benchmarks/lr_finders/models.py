"""Models of the tasks; a row of tasks.csv names one, with its numbers."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import datasets
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

Linear, Conv2d = nn.Linear, nn.Conv2d


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers.append(Linear(a, b))
        if i < len(sizes) - 2:
            layers += [nn.BatchNorm1d(b), act()] if norm else [act()]
    return nn.Sequential(*layers)


def mlp_tanh_small(*sizes: int) -> nn.Module:
    model = mlp(*sizes, act=nn.Tanh)
    for p in model.parameters():
        nn.init.normal_(p, std=0.05) if p.dim() > 1 else nn.init.zeros_(p)
    return model


def mlp_dropout() -> nn.Module:
    first, second, drop = Linear(64, 96), Linear(96, 64), nn.Dropout(0.5)
    return nn.Sequential(first, nn.ReLU(), drop, second, nn.ReLU(), drop, Linear(64, 10))


def cnn(classes: int) -> nn.Sequential:
    body = [Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Conv2d(8, 16, 3), nn.ReLU()]
    head = [nn.MaxPool2d(2), nn.Flatten(), Linear(64, 64), nn.ReLU(), Linear(64, classes)]
    return nn.Sequential(*body, *head)


def cnn_1d() -> nn.Module:
    body = [nn.Conv1d(1, 16, 5, 2), nn.ReLU(), nn.Conv1d(16, 24, 3, 2), nn.ReLU()]
    return nn.Sequential(*body, nn.Conv1d(24, 24, 3, 2), nn.ReLU(), nn.Flatten(), Linear(72, 10))


class Added(nn.Module):
    """A residual branch, times `gate`; `after` comes behind the sum."""

    def __init__(self, *branch: nn.Module, gate: Any = 1.0, after: Any = None) -> None:
        super().__init__()
        self.net, self.gate = nn.Sequential(*branch), gate
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.gate * self.net(x))


def resnet(c: int) -> nn.Module:
    def normed(inputs: int) -> list[nn.Module]:
        return [Conv2d(inputs, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)]

    def block() -> nn.Module:
        return Added(*normed(c), nn.ReLU(), *normed(c), after=nn.ReLU())

    body = [*normed(1), nn.ReLU(), block(), nn.MaxPool2d(2), block(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), Linear(4 * c, 10))


def patches(width: int = 8) -> nn.Module:
    def block() -> nn.Module:
        mix = Conv2d(width, width, 5, padding=2, groups=width)
        wide, narrow = Conv2d(width, 2 * width, 1), Conv2d(2 * width, width, 1)
        return Added(mix, nn.GroupNorm(1, width), wide, nn.GELU(), narrow)

    body = (block(), block(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(Conv2d(1, width, 2, 2), *body, Linear(4 * width, 10))


def rezero(width: int = 48, depth: int = 12) -> nn.Module:
    gates = [nn.Parameter(torch.zeros(())) for _ in range(depth)]
    body = [Added(Linear(width, width), nn.ReLU(), gate=gate) for gate in gates]
    return nn.Sequential(Linear(64, width), *body, Linear(width, 10))


class Recurrent(nn.Module):
    """A language model of characters."""

    def __init__(self, kind: Any, width: int, hidden: int) -> None:
        super().__init__()
        self.e = nn.Embedding(datasets.VOCABULARY, width)
        self.g = kind(width, hidden, batch_first=True)
        self.o = Linear(hidden, datasets.VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.g(self.e(x))[0])


class Causal(nn.Module):
    """A language model of dilated convolutions that see the past alone."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.e = nn.Embedding(datasets.VOCABULARY, width)
        self.c = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=d) for d in (1, 2, 4))
        self.o = Linear(width, datasets.VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        h = self.e(x).transpose(1, 2)
        for c in self.c:
            h = h + F.relu(c(F.pad(h, (c.dilation[0], 0))))
        return self.o(h.transpose(1, 2))


class RowReader(nn.Module):
    """Reads an image row by row."""

    def __init__(self, kind: Any, width: int, classes: int) -> None:
        super().__init__()
        self.rnn, self.out = kind(width, 48, batch_first=True), Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x.view(len(x), 8, -1))[0][:, -1])


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.d = mlp(64, 48, 16), mlp(8, 48, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, log_variance = self.e(x).split(8, dim=1)
        deviation = (0.5 * log_variance.clamp(-15, 15)).exp()
        code = mean + torch.randn_like(mean) * deviation if self.training else mean
        return self.d(code), mean, log_variance


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p, self.pos = Linear(4, 16), nn.Parameter(torch.randn(10, 16) * 0.1)
        options: dict[str, Any] = {"batch_first": True, "norm_first": True}
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, **options)
        self.o = Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.layer(self.p(x.view(-1, 10, 4)) + self.pos).mean(1))


class Denoiser(nn.Module):
    """Tells the noise from an image blended with it to a random degree; (told, true)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(65, 128, 128, 64, act=nn.SiLU)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        source = None if self.training else torch.Generator().manual_seed(0)
        degree = torch.rand(len(x), 1, generator=source)
        noise = torch.randn(x.shape, generator=source)
        angle = degree * math.pi / 2
        blend = angle.cos() * (2 * x - 1) + angle.sin() * noise
        return self.net(torch.cat((blend, degree), 1)), noise


class Flow(nn.Module):
    """Log-likelihood of points in the plane: four affine couplings over a Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(mlp(1, 32, 2) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        still, moved, total = x[:, :1], x[:, 1:], torch.zeros(len(x), 1)
        for step in self.steps:
            log_scale, shift = step(still).split(1, 1)
            still, moved, total = moved * log_scale.exp() + shift, still, total + log_scale
        return (-(still**2 + moved**2) / 2 - math.log(2 * math.pi) + total).squeeze(1)


class Products(nn.Module):
    """Products of two embeddings: of what the first column of x names, and the others."""

    def __init__(self, rows: int, columns: int, size: int, std: float) -> None:
        super().__init__()
        self.row, self.column = nn.Embedding(rows, size), nn.Embedding(columns, size)
        for embedding in (self.row, self.column):
            nn.init.normal_(embedding.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return (self.row(x[:, :1]) * self.column(x[:, 1:])).sum(2)


class Sine(nn.Module):
    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * x)


@functools.lru_cache(None)
def trained(name: str, data: str, steps: int) -> Any:
    """Weights of a model that was trained before, with Adam."""
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        model, (x, y, *_) = build(name), datasets.load(data)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(steps):
            at = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[at]), y[at]).backward()
            optimizer.step()
    return model.state_dict()


def continued(name: str, data: str, steps: int, fresh: str = "none", frozen: int = 0) -> nn.Module:
    """A trained model whose layer `fresh` is new, and whose first layers are frozen."""
    model, weights = build(name), trained(name, data, steps)
    own = model.state_dict()
    model.load_state_dict({k: own[k] if k.split(".")[0] == fresh else weights[k] for k in own})
    model[:frozen].requires_grad_(False)  # type: ignore[operator]
    return model


NAMED: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mlp_norm": functools.partial(mlp, norm=True),
    "mlp_tanh": functools.partial(mlp, act=nn.Tanh),
    "mlp_tanh_small": mlp_tanh_small,
    "mlp_dropout": mlp_dropout,
    "bare": lambda a, b, c: nn.Sequential(Linear(a, b, False), nn.ReLU(), Linear(b, c, False)),
    "linear": Linear,
    "cnn": cnn,
    "cnn_1d": cnn_1d,
    "resnet": resnet,
    "patches": patches,
    "rezero": rezero,
    "gru": functools.partial(Recurrent, nn.GRU),
    "lstm": functools.partial(Recurrent, nn.LSTM),
    "causal": Causal,
    "ngram": lambda: nn.Sequential(
        nn.Embedding(datasets.VOCABULARY, 16), nn.Flatten(), *mlp(128, 64, 96, act=nn.Tanh)
    ),
    "rows": functools.partial(RowReader, nn.RNN, 8, 10),
    "gru_rows": functools.partial(RowReader, nn.GRU, 24, 4),
    "vae": Variational,
    "transformer": Transformer,
    "denoiser": Denoiser,
    "flow": Flow,
    "factors": functools.partial(Products, 1797, 64, 6, 0.3),
    "skipgram": functools.partial(Products, datasets.WORDS, datasets.WORDS, 16, 0.1),
    "sines": lambda: nn.Sequential(
        Linear(2, 64), Sine(15.0), Linear(64, 64), Sine(5.0), Linear(64, 3)
    ),
    "finetuned": lambda: continued("cnn 5", "mnist14_low", 400, fresh="9"),
    "resumed": lambda: continued("mlp 196 64 64 10", "mnist14_first", 1200),
    "frozen": lambda: continued("mlp 64 64 32 10", "digits", 600, fresh="4", frozen=4),
    "adapted": lambda: continued("mlp 64 64 32 10", "digits", 600),
}


def build(row: str) -> nn.Module:
    name, *numbers = row.split()
    return NAMED[name](*map(int, numbers))
