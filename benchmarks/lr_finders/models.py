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

Linear, Conv2d, ReLU, Sequential = nn.Linear, nn.Conv2d, nn.ReLU, nn.Sequential


def mlp(*sizes: int, act: Callable[[], nn.Module] = ReLU, norm: bool = False) -> Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [Linear(a, b), *([nn.BatchNorm1d(b)] if norm else []), act()]
    return Sequential(*layers[: -2 if norm else -1])


def small_tanh(*sizes: int) -> nn.Module:
    model = mlp(*sizes, act=nn.Tanh)
    for p in model.parameters():
        nn.init.normal_(p, std=0.05) if p.dim() > 1 else nn.init.zeros_(p)
    return model


class Apply(nn.Module):
    """A function of `parts` as a layer; one of a recurrent layer's two answers is kept."""

    def __init__(self, function: Callable[[Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        out = self.function(x)
        return out[0] if isinstance(out, tuple) else out


class Added(nn.Module):
    """A residual branch, times `gate`; `after` comes behind the sum."""

    def __init__(self, *branch: nn.Module, gate: Any = 1.0, after: Any = None) -> None:
        super().__init__()
        self.net, self.gate, self.after = Sequential(*branch), gate, after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.gate * self.net(x))


def cnn(classes: int) -> nn.Module:
    body = [Conv2d(1, 8, 3, padding=1), ReLU(), nn.MaxPool2d(2), Conv2d(8, 16, 3), ReLU()]
    head = [nn.MaxPool2d(2), nn.Flatten(), Linear(64, 64), ReLU(), Linear(64, classes)]
    return Sequential(*body, *head)


def cnn_1d() -> nn.Module:
    body = [nn.Conv1d(1, 16, 5, 2), ReLU(), nn.Conv1d(16, 24, 3, 2), ReLU()]
    return Sequential(*body, nn.Conv1d(24, 24, 3, 2), ReLU(), nn.Flatten(), Linear(72, 10))


def resnet(c: int) -> nn.Module:
    def normed(inputs: int) -> list[nn.Module]:
        return [Conv2d(inputs, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)]

    def block() -> nn.Module:
        return Added(*normed(c), ReLU(), *normed(c), after=ReLU())

    body = [*normed(1), ReLU(), block(), nn.MaxPool2d(2), block(), nn.AdaptiveAvgPool2d(2)]
    return Sequential(*body, nn.Flatten(), Linear(4 * c, 10))


def patches() -> nn.Module:
    def block() -> nn.Module:
        mix, wide, narrow = Conv2d(8, 8, 5, padding=2, groups=8), Conv2d(8, 16, 1), Conv2d(16, 8, 1)
        return Added(mix, nn.GroupNorm(1, 8), wide, nn.GELU(), narrow)

    body = (block(), block(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Sequential(Conv2d(1, 8, 2, 2), *body, Linear(32, 10))


def rezero() -> nn.Module:
    gates = [nn.Parameter(torch.zeros(())) for _ in range(12)]
    body = [Added(Linear(48, 48), ReLU(), gate=gate) for gate in gates]
    return Sequential(Linear(64, 48), *body, Linear(48, 10))


def recurrent(kind: Any, width: int, hidden: int) -> nn.Module:
    e, g = nn.Embedding(datasets.VOCABULARY, width), kind(width, hidden, batch_first=True)
    return Sequential(e, Apply(g), Linear(hidden, datasets.VOCABULARY))


def causal(width: int = 32) -> nn.Module:
    """A language model of dilated convolutions that see the past alone."""
    e = nn.Embedding(datasets.VOCABULARY, width)
    branches = [
        Added(nn.ZeroPad1d((d, 0)), nn.Conv1d(width, width, 2, dilation=d), ReLU())
        for d in (1, 2, 4)
    ]
    turn = Apply(lambda x: x.transpose(1, 2))
    return Sequential(e, turn, *branches, turn, Linear(width, datasets.VOCABULARY))


def rows(kind: Any, width: int, classes: int) -> nn.Module:
    """Reads an image row by row."""
    rnn = kind(width, 48, batch_first=True)
    last = Apply(lambda x: rnn(x.view(len(x), 8, -1))[0][:, -1], rnn=rnn)
    return Sequential(last, Linear(48, classes))


def transformer() -> nn.Module:
    first, place = Linear(4, 16), nn.Parameter(torch.randn(10, 16) * 0.1)
    put = Apply(lambda x: first(x.view(-1, 10, 4)) + place, first=first, place=place)
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
    return Sequential(put, layer, Apply(lambda x: x.mean(1)), Linear(16, 10))


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.d = mlp(64, 48, 16), mlp(8, 48, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, log_variance = self.e(x).split(8, dim=1)
        deviation = (0.5 * log_variance.clamp(-15, 15)).exp()
        code = mean + torch.randn_like(mean) * deviation if self.training else mean
        return self.d(code), mean, log_variance


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


def dropout() -> nn.Module:
    first, second, drop = Linear(64, 96), Linear(96, 64), nn.Dropout(0.5)
    return Sequential(first, ReLU(), drop, second, ReLU(), drop, Linear(64, 10))


def sines() -> nn.Module:
    first, second = Apply(lambda x: torch.sin(15.0 * x)), Apply(lambda x: torch.sin(5.0 * x))
    return Sequential(Linear(2, 64), first, Linear(64, 64), second, Linear(64, 3))


def ngram() -> nn.Module:
    e = nn.Embedding(datasets.VOCABULARY, 16)
    return Sequential(e, nn.Flatten(), *mlp(128, 64, datasets.VOCABULARY, act=nn.Tanh))


NAMED: dict[str, Callable[..., nn.Module]] = {
    "mlp_norm": functools.partial(mlp, norm=True),
    "mlp_tanh": functools.partial(mlp, act=nn.Tanh),
    "bare": lambda a, b, c: Sequential(Linear(a, b, False), ReLU(), Linear(b, c, False)),
    "linear": Linear,
    "gru": functools.partial(recurrent, nn.GRU),
    "lstm": functools.partial(recurrent, nn.LSTM),
    "rnn_rows": functools.partial(rows, nn.RNN, 8, 10),
    "gru_rows": functools.partial(rows, nn.GRU, 24, 4),
    "vae": Variational,
    "denoiser": Denoiser,
    "flow": Flow,
    "factors": functools.partial(Products, 1797, 64, 6, 0.3),
    "skipgram": functools.partial(Products, datasets.WORDS, datasets.WORDS, 16, 0.1),
    "finetuned": lambda: continued("cnn 5", "mnist14_low", 400, fresh="9"),
    "resumed": lambda: continued("mlp 196 64 64 10", "mnist14_first", 1200),
    "frozen": lambda: continued("mlp 64 64 32 10", "digits", 600, fresh="4", frozen=4),
    "adapted": lambda: continued("mlp 64 64 32 10", "digits", 600),
}


def build(row: str) -> nn.Module:
    """A model of NAMED, or one that a function of this module builds."""
    name, *numbers = row.split()
    return NAMED.get(name, globals().get(name))(*map(int, numbers))
