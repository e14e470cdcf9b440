"""Where a training of Keras keeps its state."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import keras
from keras.src.backend.common import global_state

from lrsched.rewind.kinds import Child, is_a
from lrsched.rewind.snapshot import Snapshot
from lrsched.rewind.torch_values import random_sources
from lrsched.rewind.values import PROCESS, Source
from lrsched_tf.rewind.registry import REGISTRY

SEEDS = "global_seed_generator"


def snapshot_of(model: Any, data: Any = None, optimizers: Iterable[Any] = ()) -> Snapshot:
    """Capture the state of a model, of the random numbers of the process, and of data.

    Args:
        model: A compiled model.
        data: The `x` of `fit`.
        optimizers: That train the model, beside its own.
    """
    roots = [*_of_model(model, optimizers), *_generators(), *_of_data(data)]
    return Snapshot(roots, REGISTRY, sources=[*PROCESS, *_sources()])


def _of_model(model: Any, others: Iterable[Any]) -> Iterable[Child]:
    """Return a model and all that belongs to it, by the names that users know."""
    yield "model", model
    for layer in model._flatten_layers(include_self=False):
        yield f"layer {layer.name}", layer
    optimizers = [model.optimizer, *others]
    for part in (*model.metrics, *optimizers):
        yield f"{type(part).__name__} {part.name}", part
    of_optimizers = (variable for part in optimizers for variable in part.variables)
    for variable in (*model.variables, *model.metrics_variables, *of_optimizers):
        yield f"variable {variable.path}", variable
    if keras.backend.backend() == "torch":
        yield from ((f"module {name}", module) for name, module in model.named_modules())


def _of_data(data: Any) -> Iterable[Child]:
    """Return what keeps state of the `x` of `fit`, and not samples alone."""
    if is_a(data, keras.utils.PyDataset, "torch.utils.data:DataLoader"):
        yield "data", data
    for function in functions_of(pipeline(data)):
        yield from ((f"data.{variable.name}", variable) for variable in function.variables)


def pipeline(data: Any) -> list[Any]:
    """Return the dataset of tf.data that `data` is, and all that it is made of."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(data, tensorflow.data.Dataset):
        return []
    parts = [data]
    for dataset in parts:
        parts += dataset._inputs()
    return parts


def functions_of(datasets: list[Any]) -> Iterator[Any]:
    """Return the functions of the user's that datasets of tf.data call."""
    for dataset in datasets:
        yield from (wrapper.function for wrapper in dataset._functions())


def _generators() -> Iterable[Child]:
    """Return the random generators of the process that are objects."""
    yield "random numbers of Keras", global_state.get_global_attribute(SEEDS)
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context
        from tensorflow.python.ops import stateful_random_ops

        yield "random numbers of TensorFlow", getattr(context.context(), "_rng", None)
        yield "tf.random.get_global_generator()", stateful_random_ops.global_generator


def _sources() -> Iterable[Source]:
    # Made on first use, with a seed from `random`; made in between, it goes again.
    get, put = global_state.get_global_attribute, global_state.set_global_attribute
    yield Source("random numbers of Keras", partial(get, SEEDS), partial(put, SEEDS))
    # A DataLoader draws from them, too, whatever the backend.
    yield from random_sources()
