"""Everything that a short `fit` changes, put back in place."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from lrsched_tf.install import leaf_optimizers

Restore = Callable[[], object]


class Snapshot:
    """State of a compiled, built model and of the random number generators, at construction.

    Held, as copies on the host: every variable of the model, also those of dropout's seed
    generators and of metrics, every variable of the optimizer, and the generators of `random`,
    NumPy and, on that backend, torch. TensorFlow starts its shuffling anew in each `fit`.
    """

    def __init__(self, model: Any) -> None:
        self._values = [
            (variable, np.array(ops.convert_to_numpy(variable))) for variable in _variables(model)
        ]
        self._random = list(_hold_generators())

    def restore(self) -> None:
        """Put everything back; may be called again."""
        for variable, value in self._values:
            variable.assign(value)
        for restore in self._random:
            restore()


def _variables(model: Any) -> Iterator[Any]:
    seen = set()
    listed = (*model.variables, *model.metrics_variables, *model.optimizer.variables)
    # Nadam keeps one that its optimizer does not list.
    unlisted = (value for leaf in leaf_optimizers(model) for value in vars(leaf).values())
    for variable in (*listed, *unlisted):
        if isinstance(variable, keras.Variable) and id(variable) not in seen:
            seen.add(id(variable))
            yield variable


def _hold_generators() -> Iterator[Restore]:
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())
    if keras.backend.backend() == "torch":
        import torch

        yield partial(torch.set_rng_state, torch.get_rng_state())
        if torch.cuda.is_available():
            yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
