"""Everything that a short `fit` changes, put back in place."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from lrsched_tf.attributes import walk
from lrsched_tf.finder.data import variables_of_pipeline
from lrsched_tf.kinds import Restore, digest, hold, read_parts
from lrsched_tf.loaders import is_loader, set_aside
from lrsched_tf.patch import patch_methods
from lrsched_tf.random_states import checksum_of_state, random_state, set_random_state

GLOBAL_SEED_GENERATOR = "global_seed_generator"


class Held:
    """Things in their present state.

    Args:
        roots: Objects with their names; whatever they lead to is held too.
        restores: By name, what puts back more than that.
        generators: Hold the random numbers of `random`, NumPy, Keras, TensorFlow and torch.
    """

    def __init__(
        self,
        roots: Iterable[tuple[str, Any]],
        restores: Iterable[tuple[str, Restore]],
        *,
        generators: bool,
    ) -> None:
        self._roots, self._generators = list(roots), generators
        self._before = self._fingerprint()
        found = list(walk(self._roots))
        self._restores = [(path, put) for path, value in found for put in hold(value)]
        self._restores += restores
        self._restores += _hold_random() if generators else ()
        self._loaders = [(path, value) for path, value in found if is_loader(value)]
        self._aside: list[tuple[str, Restore]] = []
        self._failed: list[str] = []

    def set_aside(self) -> None:
        """Have DataLoaders begin anew with workers of their own, until `take_up` or `restore`.

        Of what several hold, the one that comes last must be the first to take it up.
        """
        self._aside += [(f"workers of {path}", set_aside(part)) for path, part in self._loaders]

    def take_up(self) -> None:
        """End the workers of meanwhile, and put those back that there were."""
        self._put_back(self._aside)
        self._aside = []

    def restore(self) -> None:
        """Put everything back, whatever part of it fails; may be called again."""
        self._failed = []
        self.take_up()
        self._put_back(self._restores)

    def _put_back(self, restores: Iterable[tuple[str, Restore]]) -> None:
        for name, restore in restores:
            try:
                restore()
            except Exception:  # of any framework, or of a class of the user's
                self._failed.append(name)

    def remains(self) -> list[str]:
        """What failed to be put back, or differs from the state at construction, by name.

        Compares checksums of what one finds on a walk from the roots, not of what was held.
        """
        now = self._fingerprint()
        names = dict.fromkeys((*self._failed, *self._before, *now))
        differ = {name for name in names if self._before.get(name) != now.get(name)}
        return [name for name in names if name in differ or name in self._failed]

    def _fingerprint(self) -> dict[str, list[Hashable]]:
        found = dict[str, list[Hashable]]()
        for path, value in walk(self._roots):
            # Several, where a class has a method of the name of an attribute.
            found.setdefault(path, []).append(digest(value))
        for name, get, _ in _random_sources() if self._generators else ():
            found[f"random numbers of {name}"] = [checksum_of_state(get())]
        return found


class Snapshot(Held):
    """State of a compiled, built model and of the random number generators.

    Held, as copies on the host: every variable of the model, also those of dropout's seed
    generators, of the states of recurrent layers and of metrics, and every variable of the
    optimizer; the attributes of the model, its layers, optimizer, losses and metrics, and of
    objects of the user's own that hang on them; on torch, buffers and gradients. TensorFlow starts
    its shuffling anew in each `fit`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(_roots(model), _hold_gradients(model), generators=True)


class DataSnapshot(Held):
    """State of the `x` of `fit` and of the random number generators.

    Held: what a PyDataset keeps, or a torch DataLoader in its data set, samplers and generators,
    and what their functions lead to, but not samples where they are large.
    """

    def __init__(self, data: Any) -> None:
        super().__init__(_data_roots(data), (), generators=True)


class DataState:
    """How one `fit` must leave the data and the random numbers, for the next to go as without it.

    As they were before it. Where it reads a batch to build the losses and metrics, these are as
    before too, so that the next one reads it again. A model that it has built stays so; then, as
    they were after this reading.

    Args:
        model: A compiled model, before the one `fit`.
        data: The `x` of both.
    """

    def __init__(self, model: Any, data: Any) -> None:
        self._model, self._data, self._reads = model, data, _reads_to_build(model)
        self._before = DataSnapshot(data)
        self._keeps_reading = self._reads and not model.built
        unbuilt = _compiled_with(model) if self._reads and _is_built(model) else []
        self._unbuilt = Held(unbuilt, (), generators=False)
        self._after_reading: DataSnapshot | None = None
        self._unhook: Callable[[], None] = lambda: None
        if self._reads and isinstance(data, keras.utils.PyDataset):
            # Between the reading and the training, any `fit` tells it that an epoch has ended.
            self._unhook = patch_methods(data, {"on_epoch_end": self._end_epoch})
        if not self._keeps_reading:
            self._before.set_aside()

    def _end_epoch(self) -> None:
        self.begin_training()
        self._data.on_epoch_end()

    def begin_training(self) -> None:
        """Take note of the state after the reading; of several calls the first one counts."""
        self._unhook()
        if self._reads and self._after_reading is None:
            self._after_reading = DataSnapshot(self._data)
            if self._keeps_reading:  # with the workers that will be there
                self._after_reading.set_aside()

    def for_next_fit(self) -> DataSnapshot:
        """The state to put back; called after the `fit`."""
        self._unhook()
        self._unbuilt.restore()
        before, after = self._before, self._after_reading
        if after is None:
            return before
        held, other = (before, after) if _reads_to_build(self._model) else (after, before)
        other.take_up()
        return held


def _reads_to_build(model: Any) -> bool:
    """Whether a `fit` would read a batch before it trains, as something is not built."""
    if keras.backend.backend() == "tensorflow" and model._distribute_strategy is None:
        return False  # building is a part of the first step
    return not (_is_built(model) and all(part.built for _, part in _compiled_with(model)))


def _is_built(model: Any) -> bool:
    return all(layer.built for layer in model._flatten_layers())


def _compiled_with(model: Any) -> list[tuple[str, Any]]:
    """By name, what a model makes of its losses and metrics with the first batch."""
    parts = ("compiled losses", model._compile_loss), ("compiled metrics", model._compile_metrics)
    return [(name, part) for name, part in parts if part is not None]


def _roots(model: Any) -> Iterator[tuple[str, Any]]:
    yield "model", model
    for layer in model._flatten_layers(include_self=False):
        yield f"layer {layer.name}", layer
    yield "optimizer", model.optimizer
    for metric in model.metrics:
        yield f"metric {metric.name}", metric
    listed = (*model.variables, *model.metrics_variables, *model.optimizer.variables)
    yield from ((f"variable {variable.path}", variable) for variable in listed)
    if keras.backend.backend() == "torch":
        for name, module in model.named_modules():
            yield f"module {name}", module


def _data_roots(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, keras.utils.PyDataset) or is_loader(data):
        yield "data", data
    yield from variables_of_pipeline(data)


def _hold_gradients(model: Any) -> Iterator[tuple[str, Restore]]:
    if keras.backend.backend() == "torch":
        for name, parameter in model.named_parameters():
            # A step drops the gradient and makes another.
            yield f"gradient of {name}", partial(setattr, parameter, "grad", parameter.grad)


def _random_sources() -> Iterator[tuple[str, Callable[[], Any], Callable[[Any], object]]]:
    """The global generators by name, with what reads and what sets the state of each."""
    yield "Python", random.getstate, random.setstate
    yield "NumPy", np.random.get_state, np.random.set_state
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        generator = getattr(context.context(), "_rng", None)
        if isinstance(generator, random.Random):
            yield "TensorFlow", generator.getstate, generator.setstate
        from tensorflow.python.ops import stateful_random_ops

        shared = stateful_random_ops.global_generator
        if shared is not None:
            name = "tf.random.get_global_generator()"
            yield name, partial(random_state, shared), partial(set_random_state, shared)
    if "torch" in sys.modules:  # of a DataLoader, too, whatever the backend
        import torch

        yield "torch", torch.get_rng_state, torch.set_rng_state
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        for index in range(torch.cuda.device_count() if used else 0):
            yield (
                f"CUDA device {index}",
                partial(torch.cuda.get_rng_state, index),
                partial(torch.cuda.set_rng_state, device=index),
            )


def _hold_random() -> Iterator[tuple[str, Restore]]:
    for name, get, put in _random_sources():
        yield f"random numbers of {name}", partial(put, get())
    # Made on first use, with a seed from `random`; made in between, it goes again.
    seeds = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    name = "random numbers of Keras"
    yield name, partial(global_state.set_global_attribute, GLOBAL_SEED_GENERATOR, seeds)
    if seeds is not None:
        yield name, partial(seeds.state.assign, read_parts(seeds.state)[0])
