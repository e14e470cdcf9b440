"""Where batches come from: any iterable, read again and again, and put back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lrsched_torch._hold import PLAIN, Restore

# Where loaders, and what wraps them, keep what decides the order of their batches.
INNER = ("sampler", "batch_sampler", "base_dataloader", "dataset", "loader")


class Batches:
    """The batches of a loader, from its start again where it ends, for ever.

    Every iteration begins anew. `restore` puts back what the reading has moved: generators, and
    counters such as the epoch of a sampler. A DataLoader is read through a copy, with workers of
    its own, so that workers which persist, and an epoch that is under way, are not disturbed.

    Args:
        loader: Any iterable.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        if not isinstance(loader, Iterable):
            raise TypeError(f"loader must be an iterable of batches, got {loader!r}")
        self._once = isinstance(loader, Iterator)
        self._restores = list(_hold_order(loader))
        self._loader = separate(loader)
        self._begun_again = 0

    def __iter__(self) -> Iterator[Any]:
        """Endless, unless the loader is an iterator, which can be read only once.

        Raises:
            ValueError: there are no batches.
        """
        return chain.from_iterable(self._passes())

    def _passes(self) -> Iterator[Iterator[Any]]:
        yield self.one_pass()
        while not self._once:
            self._begun_again += 1
            yield self.one_pass()

    def one_pass(self) -> Iterator[Any]:
        """The batches up to the end of the loader.

        Raises:
            ValueError: there are none.
        """
        batches = iter(self._loader)
        for first in batches:
            return chain((first,), batches)
        raise ValueError("loader must give batches, got none (a generator can be read only once)")

    def restore(self) -> None:
        """Put back what decides the order of the batches."""
        for restore in self._restores:
            restore()

    def notes(self) -> Iterator[str]:
        """What the reader of a curve should know."""
        if self._once:
            yield "The loader is an iterator: the batches that were read are gone from it."
        elif self._begun_again:
            yield "The loader has fewer batches than the test has steps, and was read again."


def separate(loader: Any) -> Any:
    """A copy of a DataLoader, with workers of its own; anything else as it is."""
    if not isinstance(loader, DataLoader):
        return loader
    # Not by copy.copy: Accelerate's loaders only claim to be DataLoaders.
    twin = object.__new__(type(loader))
    vars(twin).update(vars(loader), _iterator=None)
    if "base_dataloader" in vars(loader):
        vars(twin)["base_dataloader"] = separate(vars(loader)["base_dataloader"])
    return twin


def _hold_order(loader: Any) -> Iterator[Restore]:
    """Restores of the generators and plain attributes of a loader and what is inside of it."""
    queue, seen = [loader], {id(loader)}
    for source in queue:
        attributes = getattr(source, "__dict__", {})
        for value in attributes.values():
            yield from _hold_generator(value)
        plain = {name: value for name, value in attributes.items() if isinstance(value, PLAIN)}
        yield partial(attributes.update, plain)
        for name in INNER:
            inner = getattr(source, name, None)
            if inner is not None and id(inner) not in seen:
                seen.add(id(inner))
                queue.append(inner)


def _hold_generator(value: Any) -> Iterator[Restore]:
    """The restore of a random number generator; none of anything else."""
    if isinstance(value, torch.Generator):
        yield partial(value.set_state, value.get_state())
    elif isinstance(value, random.Random):
        yield partial(value.setstate, value.getstate())
    elif isinstance(value, np.random.RandomState):
        yield partial(value.set_state, value.get_state())
    elif isinstance(value, np.random.Generator):
        yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)
