"""What is trained and how, as data, and what a framework's loop does with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.experiments.dataset import Dataset, Images, shifted

BOX_WEIGHT = 5.0  # of the L1 loss of boxes, as in DETR
FAILED_LOSS = 1e9  # stands for one that is not finite
LEAST_OVERLAP = 0.5  # a box is found from this intersection over union on


class Convolution(NamedTuple):
    """A convolution with zero padding and ReLU, and BatchNorm between them if asked."""

    filters: int
    kernel: int = 3
    norm: bool = True


class Residual(NamedTuple):
    """A residual block of two 3 x 3 convolutions with BatchNorm; a stride makes it smaller."""

    filters: int
    stride: int = 1


class Pool(NamedTuple):
    """Max pooling of 2 x 2 pixels."""


class GlobalPool(NamedTuple):
    """Mean over all pixels."""


class Flatten(NamedTuple):
    """All values of an image as one vector."""


class Dropout(NamedTuple):
    """Dropout at this rate."""

    rate: float


class Dense(NamedTuple):
    """A fully connected layer with ReLU."""

    units: int


Layer = Convolution | Residual | Pool | GlobalPool | Flatten | Dropout | Dense
Layers = tuple[Layer, ...]

CNN: Layers = (Convolution(16), Pool(), Convolution(32), Flatten())
CNN_DROPOUT: Layers = (
    Convolution(16),
    Pool(),
    Convolution(32),
    Pool(),
    Dropout(0.25),
    Flatten(),
    Dense(64),
    Dropout(0.25),
)
LENET: Layers = (
    Convolution(6, 5, norm=False),
    Pool(),
    Convolution(16, 5, norm=False),
    Pool(),
    Flatten(),
    Dense(120),
    Dense(84),
)
RESNET: Layers = (Convolution(8), Residual(8), Residual(16, 2), Residual(32, 2), GlobalPool())
LOCATOR: Layers = (
    Convolution(16),
    Pool(),
    Convolution(32),
    Pool(),
    Convolution(32),
    Flatten(),
    Dense(64),
)


class Optimizer(NamedTuple):
    """An optimizer by its common name; what is not said is as its framework has it.

    Weight decay is an L2 penalty: `weight_decay / 2` times the sum of the squared weights.
    """

    name: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0


SGD = Optimizer()


@dataclass(frozen=True, eq=False)
class Setting:
    """What a range test or a training runs on."""

    data: Dataset
    layers: Layers
    optimizer: Optimizer = SGD
    batch_size: int = 64
    epochs: int = 3
    sweep_steps: int = 300
    augment: bool = False
    pretraining: Variant | None = None
    sweep: str = "exponential"  # that of the tables in docs/experiments.md, which take an hour

    def __post_init__(self) -> None:
        count = len(self.data.x_train)
        if count < 2 * self.batch_size:
            raise ValueError(
                f"a training must have the images of two batches of {self.batch_size}, got {count} "
                "(pass --data with more)"
            )

    @property
    def total_steps(self) -> int:
        """Number of updates of a training."""
        return self.epochs * (len(self.data.x_train) // self.batch_size)


@dataclass(frozen=True, eq=False)
class Variant:
    """One of the ways to train that an experiment compares.

    `lr` is None where the framework's own one-call training finds it; `way` is its name then.
    """

    name: str
    setting: Setting
    lr: Schedule | None
    momentum: Schedule | None = None
    way: str | None = None


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Attributes:
        losses: Mean training loss of each epoch.
        validations: Loss and accuracy of the validation images after each epoch.
        max_lr: The highest lr.
    """

    losses: list[float]
    validations: list[tuple[float, float]]
    max_lr: float

    def __post_init__(self) -> None:
        # A NaN is no JSON.
        finite = [loss if math.isfinite(loss) else FAILED_LOSS for loss in self.losses]
        object.__setattr__(self, "losses", finite)

    @property
    def accuracies(self) -> list[float]:
        """Validation accuracy after each epoch."""
        return [accuracy for _, accuracy in self.validations]


Ways = dict[str, Callable[[Setting, int], Training]]


class Loop(Protocol):
    """The training loop of a framework."""

    software: str
    ways: Ways

    def find(self, setting: Setting, seed: int) -> LossCurve:
        """Run a range test on a fresh model."""

    def train(self, variant: Variant, seed: int) -> Training:
        """Train a fresh model by the schedules of a variant."""


class Batches:
    """The batches of a training, the same in every framework; an epoch has whole batches only."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._setting, self._seed = setting, seed
        self._order: NDArray[np.int64] | None = None
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._setting.data.x_train) // self._setting.batch_size

    def __getitem__(self, index: int) -> tuple[Images, dict[str, Any]]:
        """A batch of the present epoch: images, and targets by name."""
        if self._order is None:
            random = np.random.default_rng([self._seed, self.epoch])
            self._order = random.permutation(len(self._setting.data.x_train))
        data, size = self._setting.data, self._setting.batch_size
        rows = self._order[index * size : (index + 1) * size]
        images = data.x_train[rows]
        if self._setting.augment:
            images = shifted(images, np.random.default_rng([self._seed, self.epoch, index]))
        targets: dict[str, Any] = {"label": data.y_train[rows]}
        if data.box_train is not None:
            targets["box"] = data.box_train[rows]
        return images, targets

    def __iter__(self) -> Iterator[tuple[Images, dict[str, Any]]]:
        """All batches of the present epoch; the next epoch begins after them."""
        for index in range(len(self)):
            yield self[index]
        self.next_epoch()

    def next_epoch(self) -> None:
        """Draw another order."""
        self.epoch, self._order = self.epoch + 1, None


def heads(data: Dataset) -> dict[str, int]:
    """The outputs of a model for these data, and their sizes."""
    outputs = {"label": data.num_classes}
    return outputs if data.box_train is None else {**outputs, "box": 4}


def validate(outputs: Mapping[str, NDArray[Any]], data: Dataset) -> tuple[float, float]:
    """Loss of the validation images, and the share of those with the right class and box.

    Args:
        outputs: By the name of the head, for all validation images.
        data: What they belong to.
    """
    scores = np.nan_to_num(outputs["label"].astype(np.float64), nan=0.0)
    scores -= scores.max(1, keepdims=True)
    of_true = scores[np.arange(len(scores)), data.y_val]
    loss = (np.log(np.exp(scores).sum(1)) - of_true).mean()
    right = scores.argmax(1) == data.y_val
    if data.box_val is not None:
        boxes = outputs["box"]
        loss += BOX_WEIGHT * np.abs(boxes - data.box_val).mean()
        right &= overlap(boxes, data.box_val) >= LEAST_OVERLAP
    return float(min(loss, FAILED_LOSS)), float(right.mean())


def overlap(found: NDArray[Any], true: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of pairs of boxes, [n, 4] each."""
    low, high = np.maximum(found[:, :2], true[:, :2]), np.minimum(found[:, 2:], true[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = sum(np.clip(box[:, 2:] - box[:, :2], 0, None).prod(1) for box in (found, true))
    union: NDArray[Any] = areas - shared
    return np.asarray(shared / np.where(union > 0, union, 1))
