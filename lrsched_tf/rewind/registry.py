"""The kinds of values of Keras, and of the framework that it runs on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from lrsched.rewind.kinds import Child, Kind, Registry, Restore
from lrsched.rewind.objects import without
from lrsched.rewind.registry import new_registry
from lrsched.rewind.torch_values import capture_tensor, gradient_of, version_of
from lrsched.rewind.values import children, is_same

# What `fit` and the JAX trainer keep in a model for themselves.
OF_FIT = ("history", "_eval_epoch_iterator", "_jax_state", "_jax_state_synced")
# Of a variable; the rest is fixed when it is made.
SETTINGS = ("_trainable", "_regularizer", "_constraint")
ON_JAX = keras.backend.backend() == "jax"


def _capture_on_jax(variable: keras.Variable) -> Restore:
    # On the host, since a step deletes the array that it is given.
    return partial(variable.assign, np.array(ops.convert_to_numpy(variable._value)))


def _capture_on_tensorflow(variable: Any) -> Restore:
    """Copy a variable of TensorFlow, of several replicas each its own."""
    parts = getattr(variable, "values", None) or [variable]
    contents = [np.array(part.numpy()) for part in parts]

    def restore() -> None:
        for part, content in zip(parts, contents, strict=True):
            part.assign(content)

    return restore


def _capture_wrapper(container: Any) -> Restore:
    """Copy the entries of a container of TensorFlow, whose own methods keep a second copy."""
    copy: Any = dict if isinstance(container, dict) else list
    content = copy(container)

    def restore() -> None:
        if not is_same(copy(container), content):
            container.clear()
            (container.update if copy is dict else container.extend)(content)

    return restore


def _of_module(module: Any) -> Iterable[Child]:
    """Return the parameters and buffers of a module of torch, which are state whatever the size."""
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            yield f".{name}", tensor, True


def registry_of_keras() -> Registry:
    """Return the kinds of the engine with those of Keras."""
    registry, attributes = new_registry(), without(*OF_FIT)
    registry.add(
        Kind(attributes=attributes),
        keras.Layer,
        keras.Loss,
        keras.Metric,
        keras.Optimizer,
        keras.random.SeedGenerator,
        keras.utils.PyDataset,
        "keras.src.utils.tracking:Tracker",
    )
    # They keep notes for the user.
    registry.add(Kind(attributes=lambda callback: {}), keras.callbacks.Callback)
    variable = Kind(attributes=lambda variable: {n: vars(variable)[n] for n in SETTINGS})
    if ON_JAX:
        variable = replace(variable, capture=_capture_on_jax)
    else:  # a variable of TensorFlow, or a parameter of torch, holds the value
        variable = replace(variable, children=lambda variable: [("", variable._value, True)])
    registry.add(variable, keras.Variable)
    registry.add(Kind(_of_module, attributes=attributes), "torch.nn:Module")
    on_host = partial(capture_tensor, device="cpu")
    registry.add(Kind(gradient_of, capture=on_host, digest=version_of), "torch.nn:Parameter")
    registry.add(Kind(capture=_capture_on_tensorflow), "tensorflow:Variable")
    generator = Kind(lambda generator: [(".state", generator.state)], draws=True)
    registry.add(generator, "tensorflow:random.Generator")
    wrappers = "tensorflow.python.trackable.data_structures"
    registry.add(
        Kind(children, capture=_capture_wrapper, digest=len, entries=len),
        f"{wrappers}:ListWrapper",
        f"{wrappers}:_DictWrapper",
    )
    return registry


REGISTRY = registry_of_keras()
# For a model whose own `fit` restores what it keeps there.
FIT = Registry(lambda of, found: found)
FIT.add(Kind(attributes=lambda m: {n: v for n, v in vars(m).items() if n in OF_FIT}), keras.Model)
