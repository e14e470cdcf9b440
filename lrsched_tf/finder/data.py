"""Questions about the `x` of `fit`, answered without reading it."""

from __future__ import annotations

from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import keras

from lrsched_tf.rewind.roots import functions_of, pipeline

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
    """Return whether there is no data, or data that knows its length has none."""
    if hasattr(data, "cardinality"):
        return cardinality(data) == 0
    if isinstance(data, keras.utils.PyDataset):
        return bool(data.num_batches == 0)
    parts = [part for part in keras.tree.flatten(data) if part is not None]
    return not parts or any(0 in getattr(part, "shape", ())[:1] for part in parts)


def cardinality(data: Any) -> int:
    """Return the length of a dataset of tf.data; negative where it is unknown or endless."""
    found = data.cardinality
    return int(found() if callable(found) else found)


def length_is_known(data: Any) -> bool:
    """Return whether `fit` can tell how many batches an epoch has."""
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
    """Return a sentence on what reading the data changes for good, if anything."""
    if isinstance(data, GeneratorType):
        return GENERATOR
    return RESHUFFLED if any(map(_reshuffles, pipeline(data))) else None


def is_drawn_ahead(data: Any) -> bool:
    """Return whether threads read the data ahead, with functions that may draw from a generator."""
    if isinstance(data, keras.utils.PyDataset):
        return bool(data.workers > 1)
    functions = functions_of(pipeline(data))
    return any(function.function_def.signature.is_stateful for function in functions)


def _reshuffles(dataset: Any) -> bool:
    """Return whether a dataset has another order at each reading, drawn from a seed."""
    again = ("_reshuffle_each_iteration", "_rerandomize")
    if any(getattr(dataset, name, False) for name in again) and _is_seeded(dataset):
        return True
    captured = (part for f in functions_of([dataset]) for part in f.captured_inputs)
    return any(_shuffles_inside(part) for part in captured if part.dtype.name == "variant")


def _is_seeded(dataset: Any) -> bool:
    return any(int(seed) != 0 for seed in (dataset._seed, dataset._seed2))


def _shuffles_inside(captured: Any) -> bool:
    """Return whether a dataset in a function of another one, known by its tensor, reshuffles."""
    import tensorflow

    written = tensorflow.raw_ops.DatasetToGraphV2(input_dataset=captured, external_state_policy=1)
    nodes = tensorflow.compat.v1.GraphDef.FromString(written.numpy()).node
    again = ("reshuffle_each_iteration", "rerandomize_each_iteration")
    return any(node.attr[name].b for node in nodes for name in again if name in node.attr)
