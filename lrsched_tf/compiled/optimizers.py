"""The optimizers of a compiled model, and the learning rates that they hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from lrsched import Schedule


def check_keras_3(given: Any) -> None:
    """Check that a model or an optimizer is not one of Keras 2, which still goes by `tf_keras`.

    Raises:
        TypeError: it is.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if "tf_keras" in modules:
        raise TypeError(
            f"model and optimizer must be those of Keras 3, got {type(given).__name__} of Keras 2 "
            "(import keras in place of tf_keras, and leave TF_USE_LEGACY_KERAS unset)"
        )


def top_optimizers(model: Any, given: Any = None) -> list[Any]:
    """Return the optimizers to drive, with their wrappers.

    Args:
        model: A model, or an optimizer in place of one.
        given: An optimizer, or a list of them; None stands for that of the model.

    Raises:
        TypeError: one is no Keras optimizer, or None and the model is not compiled.
        ValueError: an empty list, or an optimizer twice.
    """
    if given is None and not isinstance(model, keras.optimizers.Optimizer):
        check_keras_3(model)
        optimizer = getattr(model, "optimizer", None)
        check_keras_3(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                f"model must be compiled with a Keras optimizer, got optimizer {optimizer!r} "
                "(or pass optimizer=)"
            )
        return [optimizer]
    given = model if given is None else given
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for optimizer in listed:
        check_keras_3(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                f"optimizer must be a Keras optimizer or a list of them, got {optimizer!r}"
            )
    if not listed or len({id(optimizer) for optimizer in listed}) < len(listed):
        raise ValueError(f"optimizer must be one or more, each of them once, got {listed!r}")
    return listed


def leaf_optimizers(model: Any, given: Any = None) -> list[Any]:
    """Return the optimizers that update the weights of a model, without their wrappers.

    Args:
        model, given: As for `top_optimizers`.

    Raises:
        TypeError, ValueError: as `top_optimizers`, or one has a Schedule for its learning rate.
    """
    tops = top_optimizers(model, given)
    top = tops[0]
    # A MultiOptimizer may choose its parts when it is built.
    waits = hasattr(top, "optimizers") and not top.built
    if waits and top is getattr(model, "optimizer", None) and not unbuilt_layers(model):
        tops[0].build(model.trainable_variables)
    leaves = [leaf for top in tops for leaf in _leaves(top)]
    for leaf in leaves:
        if isinstance(vars(leaf).get("_learning_rate"), Schedule):
            raise TypeError(
                f"learning_rate of {type(leaf).__name__} must be a float or a KerasSchedule, got "
                "a Schedule, which Keras cannot call (pass lrsched_tf.KerasSchedule(schedule))"
            )
    return leaves


def other_optimizers(
    model: Any, given: Any, none: str = "pass optimizer= with the one that train_step updates"
) -> str:
    """Return a remedy that names optimizers which a model has beside that of `compile`.

    Args:
        model: A model, or None.
        given: As for `top_optimizers`.
        none: Returned where there are no others.
    """
    if model is None or given is not None:
        return none
    names = [
        f"model.{name}{place}"
        for name, value in vars(model).items()
        for place, optimizer in _entries(value)
        # What is private and holds several is a list of TensorFlow's own.
        if not (place and name.startswith("_"))
        and isinstance(optimizer, keras.optimizers.Optimizer)
        and optimizer is not model.optimizer
    ]
    if not names:
        return none
    listed = ", ".join(names)
    remedy = listed if len(names) == 1 else f"[{listed}]"
    return f"where train_step updates {listed}, pass optimizer={remedy} to the callback"


def _entries(value: Any) -> list[tuple[str, Any]]:
    """Return what an attribute holds, with its place in there."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", entry) for key, entry in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", entry) for index, entry in enumerate(value)]
    return [("", value)]


@contextmanager
def naming_others(model: Any, given: Any) -> Iterator[None]:
    """Add to a ValueError of the block the remedy that `other_optimizers` gives, if any."""
    try:
        yield
    except ValueError as error:
        remedy = other_optimizers(model, given, "")
        if not remedy:
            raise
        raise ValueError(f"{error}; {remedy}") from None


def scales_loss(model: Any, given: Any = None) -> bool:
    """Return whether loss scaling may skip updates; arguments as for `top_optimizers`."""
    pending = top_optimizers(model, given)
    for optimizer in pending:
        if hasattr(optimizer, "inner_optimizer"):
            return True
        pending += getattr(optimizer, "optimizers", [])
    return False


def unbuilt_layers(model: Any) -> list[str]:
    """Return the names of layers, the model among them, whose weights are yet to be made.

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


def read(variable: Any) -> float:
    """Read a scalar variable from the device."""
    value = variable.value
    replicas = getattr(value, "values", None)  # of a tf.distribute strategy
    first = replicas[0] if isinstance(replicas, tuple) else value
    return ops.convert_to_numpy(first).item()  # type: ignore[no-any-return]


def own_lr(optimizers: Iterable[Any]) -> float:
    """Return the highest learning rate that leaf optimizers have now; 0 where none has any.

    One that is negative or not finite says nothing, and is left out.
    """
    leaves = list(optimizers)
    # Of a MultiOptimizer, a part that owns no weights is never built.
    built = [leaf for leaf in leaves if leaf.built] or leaves
    values = [_present_lr(leaf) for leaf in built]
    return max((value for value in values if 0 < value < math.inf), default=0.0)


def _present_lr(optimizer: Any) -> float:
    """Read a learning rate; at the very start of a warmup, that of the step after."""
    value, schedule = _value(optimizer.learning_rate), vars(optimizer)["_learning_rate"]
    if value == 0 and isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return _value(schedule(optimizer._iterations + 1))
    return value


def _value(rate: Any) -> float:
    """Read a learning rate: a variable, or what a schedule or a function gives."""
    if isinstance(rate, keras.Variable):
        return read(rate)
    return float(ops.convert_to_numpy(ops.convert_to_tensor(rate)))


class OwnRates:
    """The user's learning rates, which a schedule leaves as they are.

    Made when a `fit` begins; asked after each epoch whether something else has set them.

    Args:
        optimizers: Leaf optimizers to which nothing has been done.
    """

    overwritten = (
        "something else set the learning rate, which has no effect: the schedule gives it to "
        "every update (remove the other callback)"
    )

    def __init__(self, optimizers: Iterable[Any]) -> None:
        rates = [optimizer.__dict__["_learning_rate"] for optimizer in optimizers]
        # Others have a schedule or a function, which nothing can set.
        self._rates = [(rate, read(rate)) for rate in rates if isinstance(rate, keras.Variable)]

    def restore(self) -> bool:
        """Restore those that something has set; returns whether there were any.

        On JAX, `callback.model` must have been asked for, which brings the state of a `fit` home.
        """
        changed = [(rate, own) for rate, own in self._rates if read(rate) != own]
        for rate, own in changed:
            rate.assign(own)
        return bool(changed)
