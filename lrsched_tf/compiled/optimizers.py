"""The optimizers of a compiled model, and where they keep their hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

# Where Keras optimizers keep their momentum; Muon has one for each of its two rules.
MOMENTUM_ATTRIBUTES = ("momentum", "beta_1", "adam_beta_1")


def leaf_optimizers(model: Any) -> list[Any]:
    """The optimizers that update the weights of a compiled model, without their wrappers.

    Raises:
        TypeError: the model is not compiled with a Keras optimizer.
    """
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"model must be compiled with a Keras optimizer, got optimizer {optimizer!r}"
        )
    if hasattr(optimizer, "optimizers") and not optimizer.built and not unbuilt_layers(model):
        # A MultiOptimizer may choose its parts when it is built.
        optimizer.build(model.trainable_variables)
    return list(_leaves(optimizer))


def unbuilt_layers(model: Any) -> list[str]:
    """Names of the layers, the model among them, whose weights are yet to be made.

    An optimizer that is built now would know nothing of those weights, and refuse to train them.
    """
    return [
        layer.name
        for layer in model._flatten_layers()
        if not layer.built and type(layer).build is not keras.Layer.build
    ]


def _leaves(optimizer: Any) -> Iterator[Any]:
    if hasattr(optimizer, "inner_optimizer"):
        yield from _leaves(optimizer.inner_optimizer)
    elif hasattr(optimizer, "optimizers"):
        for part in optimizer.optimizers:
            yield from _leaves(part)
    else:
        yield optimizer


def momentum_floats(optimizer: Any) -> dict[str, float]:
    """The momentum attributes of an optimizer, by name.

    Raises:
        ValueError: it has none, or was made with a momentum of 0 and so keeps no moving average.
    """
    held = {name: getattr(optimizer, name, None) for name in MOMENTUM_ATTRIBUTES}
    floats = {name: value for name, value in held.items() if isinstance(value, float) and value > 0}
    if floats:
        return floats
    name = type(optimizer).__name__
    remedy = "pass momentum=None"
    if held["momentum"] is not None:
        remedy = f"compile with {name}(momentum=0.9), or {remedy}"
    raise ValueError(f"optimizer must have a momentum > 0 to schedule, got {name} ({remedy})")


def read(variable: Any) -> float:
    """Return the value of a scalar variable, from the device."""
    value = variable.value
    replicas = getattr(value, "values", None)  # of a tf.distribute strategy
    first = replicas[0] if isinstance(replicas, tuple) else value
    return ops.convert_to_numpy(first).item()  # type: ignore[no-any-return]


def learning_rates(model: Any) -> list[keras.Variable]:
    """The user's learning rates, of the optimizers that have numbers for it."""
    rates = [optimizer.__dict__["_learning_rate"] for optimizer in leaf_optimizers(model)]
    return [rate for rate in rates if isinstance(rate, keras.Variable)]


class OwnRates:
    """The user's learning rates, which a schedule leaves as they are.

    Args:
        model: A compiled model, to which nothing has been done.
    """

    overwritten = (
        "something else set the learning rate, which has no effect: the schedule gives it to "
        "every update (remove the other callback)"
    )

    def __init__(self, model: Any) -> None:
        self._values = [read(rate) for rate in learning_rates(model)]

    def put_back(self, model: Any) -> bool:
        """Give the optimizer those where something has set others; whether it had."""
        pairs = zip(learning_rates(model), self._values, strict=False)
        changed = [(rate, own) for rate, own in pairs if read(rate) != own]
        for rate, own in changed:
            rate.assign(own)
        return bool(changed)
