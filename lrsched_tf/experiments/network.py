"""The models of the experiments in Keras, from their layers, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from lrsched.experiments.training import (
    BOX_WEIGHT,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Pool,
    Residual,
    Setting,
    heads,
)

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
}


def convolution(x: Any, filters: int, kernel: int, stride: int = 1) -> Any:
    """A convolution with zero padding and BatchNorm."""
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    # momentum as in PyTorch: Keras's own 0.99 has not settled after so few steps
    return keras.layers.BatchNormalization(momentum=0.9)(x)


def residual(x: Any, filters: int, stride: int) -> Any:
    """Two convolutions, added to their input."""
    y = keras.layers.ReLU()(convolution(x, filters, 3, stride))
    y = convolution(y, filters, 3)
    same = x.shape[-1] == filters and stride == 1
    shortcut = x if same else convolution(x, filters, 1, stride)
    return keras.layers.ReLU()(keras.layers.Add()([y, shortcut]))


def applied(layer: Layer, x: Any) -> Any:
    """The outputs of a layer for these inputs."""
    layers = keras.layers
    match layer:
        case Convolution(filters, kernel, norm=True):
            return layers.ReLU()(convolution(x, filters, kernel))
        case Convolution(filters, kernel):
            return layers.Conv2D(filters, kernel, padding="same", activation="relu")(x)
        case Residual(filters, stride):
            return residual(x, filters, stride)
        case Pool():
            return layers.MaxPooling2D(2)(x)
        case GlobalPool():
            return layers.GlobalAveragePooling2D()(x)
        case Flatten():
            return layers.Flatten()(x)
        case Dropout(rate):
            return layers.Dropout(rate)(x)
        case Dense(units):
            return layers.Dense(units, activation="relu")(x)


def network(setting: Setting) -> Any:
    """The layers of a setting and its heads, compiled with the losses of both frameworks."""
    images = keras.layers.Input(setting.data.image_shape)
    x = images
    for layer in setting.layers:
        x = applied(layer, x)
    activations = {"label": None, "box": "sigmoid"}
    losses = {
        "label": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "box": keras.losses.MeanAbsoluteError(),
    }
    weights = {"label": 1.0, "box": BOX_WEIGHT}
    outputs = {
        name: keras.layers.Dense(size, activation=activations[name], name=name)(x)
        for name, size in heads(setting.data).items()
    }
    model = keras.Model(images, outputs)
    model.compile(
        optimizer(setting),
        {name: losses[name] for name in outputs},
        loss_weights={name: weights[name] for name in outputs},
    )
    return model


def optimizer(setting: Setting) -> Any:
    """The optimizer of a setting; the lr is a schedule's."""
    name, momentum, decay = setting.optimizer
    options: dict[str, Any] = {"momentum": momentum} if name == "sgd" else {}
    if decay:
        # Decoupled decay is not multiplied by momentum as an L2 penalty in the gradient is.
        options["weight_decay"] = decay / (1 - momentum)
    return OPTIMIZERS[name](0.01, **options)
