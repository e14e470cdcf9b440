"""What can be told of the `x` of `fit` without reading it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import keras

GENERATOR = "The data is a generator: the batches that the range test reads are gone from it."
RESHUFFLED = (
    "The data shuffles anew at each reading, from a seed: its order in a later training is another "
    "than without the range test (make the dataset anew)."
)

READ_AHEAD = (
    "Threads read the data ahead: how many random numbers they have drawn by the end of a fit "
    "differs from run to run, with and without the range test."
)


def is_empty(data: Any) -> bool:
    """Whether there is no data, or data that knows its length has none."""
    if hasattr(data, "cardinality"):
        return cardinality(data) == 0
    if isinstance(data, keras.utils.PyDataset):
        return bool(data.num_batches == 0)
    parts = [part for part in keras.tree.flatten(data) if part is not None]
    return not parts or any(0 in getattr(part, "shape", ())[:1] for part in parts)


def cardinality(data: Any) -> int:
    """Of a dataset of tf.data, or a distributed one; negative where it is unknown or endless."""
    found = data.cardinality
    return int(found() if callable(found) else found)


def length_is_known(data: Any) -> bool:
    """Whether `fit` can tell how many batches an epoch has."""
    if hasattr(data, "cardinality"):
        return cardinality(data) >= 0
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is not None
    try:
        len(getattr(data, "dataset", ()))  # of a torch DataLoader
    except TypeError:
        return False
    return not isinstance(data, Iterator)


def lasting_change(data: Any) -> str | None:
    """What the reading of the data changes for good, if anything."""
    if isinstance(data, GeneratorType):
        return GENERATOR
    return RESHUFFLED if any(map(_reshuffles, _pipeline(data))) else None


def is_drawn_ahead(data: Any) -> bool:
    """Whether threads read the data ahead, with functions that may draw from a generator."""
    if isinstance(data, keras.utils.PyDataset):
        return bool(data.workers > 1)
    return any(f.function_def.signature.is_stateful for f in _functions(_pipeline(data)))


def variables_of_pipeline(data: Any) -> Iterator[tuple[str, Any]]:
    """By name, the variables that functions of a tf.data pipeline use, random generators' too."""
    for function in _functions(_pipeline(data)):
        yield from ((f"data.{variable.name}", variable) for variable in function.variables)


def _pipeline(data: Any) -> list[Any]:
    """The dataset of tf.data that `data` is, and all that it is made of."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(data, tensorflow.data.Dataset):
        return []
    parts = [data]
    for dataset in parts:
        parts += dataset._inputs()
    return parts


def _functions(datasets: list[Any]) -> Iterator[Any]:
    for dataset in datasets:
        yield from (wrapper.function for wrapper in dataset._functions())


def _reshuffles(dataset: Any) -> bool:
    """Whether a dataset goes on from one reading to the next in an order drawn from a seed."""
    again = ("_reshuffle_each_iteration", "_rerandomize")
    if any(getattr(dataset, name, False) for name in again) and _is_seeded(dataset):
        return True
    captured = (part for f in _functions([dataset]) for part in f.captured_inputs)
    return any(_shuffles_inside(part) for part in captured if part.dtype.name == "variant")


def _is_seeded(dataset: Any) -> bool:
    return any(int(seed) != 0 for seed in (dataset._seed, dataset._seed2))


def _shuffles_inside(captured: Any) -> bool:
    """Whether a dataset that a function of another one uses, known by its tensor, reshuffles."""
    import tensorflow

    written = tensorflow.raw_ops.DatasetToGraphV2(input_dataset=captured, external_state_policy=1)
    nodes = tensorflow.compat.v1.GraphDef.FromString(written.numpy()).node
    again = ("reshuffle_each_iteration", "rerandomize_each_iteration")
    return any(node.attr[name].b for node in nodes for name in again if name in node.attr)
