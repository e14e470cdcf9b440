"""Where batches come from: any iterable, read again and again, and put back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from lrsched_torch._attributes import of_loader
from lrsched_torch._digest import Digest, digest_order, whole_digest
from lrsched_torch._hold import (
    CONTAINERS,
    PLAIN,
    Keeper,
    Restore,
    hold_attributes,
    hold_entries,
    is_generator,
)

# Where loaders, and what wraps them, keep what decides the order of their batches, or draws.
INNER = (
    *("sampler", "batch_sampler", "base_dataloader", "dataset", "loader"),
    *("transform", "target_transform", "collate_fn"),
)
LISTS = ("transforms", "datasets")
# An array of more elements is data rather than an order.
MAX_SIZE = 2**20


class Batches:
    """The batches of a loader, from its start again where it ends, for ever.

    Every iteration begins anew. `restore` puts back what the reading has moved: generators, and
    counters such as the epoch of a sampler. A DataLoader is read through a copy, with workers of
    its own, so that workers which persist, and an epoch that is under way, are not disturbed.

    Args:
        loader: Any iterable.
        name: What messages call it.
        verify: Compare hashes of what decides the order.

    Raises:
        TypeError: not an iterable.
    """

    def __init__(self, loader: Iterable[Any], name: str = "loader", verify: bool = True) -> None:
        if not isinstance(loader, Iterable):
            raise TypeError(f"{name} must be an iterable of batches, got {loader!r}")
        self._name = name
        self._once = isinstance(loader, Iterator)
        self._parts = _parts(loader)
        self._holds_iterator = any(map(_holds_iterator, self._parts))
        self._restores = [hold_attributes(part, of_loader, _hold_order) for part in self._parts]
        self._before = self._hashes() if verify else None
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
            again = self._next_pass()
            if again is None and self._holds_iterator:
                return
            self._begun_again += 1
            yield self._checked(again)

    def one_pass(self) -> Iterator[Any]:
        """The batches up to the end of the loader.

        Raises:
            ValueError: there are none.
        """
        return self._checked(self._next_pass())

    def _next_pass(self) -> Iterator[Any] | None:
        """The batches up to the end of the loader; None where there are none."""
        batches = iter(self._loader)
        for first in batches:
            return chain((first,), batches)
        return None

    def _checked(self, batches: Iterator[Any] | None) -> Iterator[Any]:
        if batches is None:
            raise ValueError(
                f"{self._name} must give batches, got none (a generator can be read only once)"
            )
        return batches

    def restore(self) -> None:
        """Put back what decides the order of the batches, and let go of the workers."""
        self._loader = ()
        for restore in self._restores:
            restore()

    def remains(self) -> list[str]:
        """Names of what differs from the state at construction, as far as hashes tell."""
        if self._before is None:
            return []
        now = self._hashes()
        return [name for name, value in self._before.items() if now.get(name) != value]

    def _hashes(self) -> dict[str, int]:
        digest = Digest()
        return {
            f"attribute {name} of the {type(part).__name__} in {self._name}": _hash(value, digest)
            for part in self._parts
            for name, value in of_loader(part).items()
        }

    def notes(self) -> Iterator[str]:
        """What the reader of a curve should know."""
        if self._once:
            yield "The loader is an iterator: the batches that were read are gone from it."
        if self._holds_iterator:
            yield "The loader holds an iterator: what was read from it is gone."
        if self._begun_again:
            yield "The loader has fewer batches than the test has steps, and was read again."


def separate(loader: Any) -> Any:
    """A copy of a DataLoader, with workers of its own; anything else as it is."""
    if not isinstance(loader, DataLoader):
        return loader
    # Not by copy.copy: Accelerate's loaders only claim to be DataLoaders.
    twin = object.__new__(type(loader))
    vars(twin).update(vars(loader), _iterator=None)
    if "_initial_iter_for_state_dict" in vars(loader):
        # A StatefulDataLoader has an iterator ready after its state was read.
        vars(twin)["_initial_iter_for_state_dict"] = False
    if "base_dataloader" in vars(loader):
        vars(twin)["base_dataloader"] = separate(vars(loader)["base_dataloader"])
    return twin


class LoaderState:
    """Where a StatefulDataLoader is in its epoch.

    To read its state begins an epoch where none is under way, and to load one ends that which is:
    neither is done where it is not needed.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._attributes = dict(vars(loader))

    def state_dict(self) -> Any:
        under_way = vars(self._loader).get("_iterator") is not None
        return self._loader.state_dict() if under_way else {}

    def load_state_dict(self, state: Any) -> None:
        vars(self._loader).update(self._attributes)
        if state and whole_digest(self.state_dict()) != whole_digest(state):
            self._loader.load_state_dict(state)


def _parts(loader: Any) -> list[Any]:
    """A loader and what is inside of it, as far as it has attributes."""
    waiting, found = [loader], {}
    for part in waiting:
        if id(part) in found or isinstance(part, type) or not hasattr(part, "__dict__"):
            continue
        found[id(part)] = part
        waiting += [getattr(part, name, None) for name in INNER]
        for name in LISTS:
            several = getattr(part, name, None)
            waiting += several if isinstance(several, (list, tuple)) else [several]
    return list(found.values())


def _hold_order(value: Any) -> Restore | None:
    """A function that puts back what may decide the order of batches; None for anything else."""
    if isinstance(value, CONTAINERS):
        return hold_entries(value)
    return Keeper().hold(value) if _is_order(value) and not _is_data(value) else None


def _is_order(value: Any) -> bool:
    return isinstance(value, PLAIN) or _is_array(value) or is_generator(value)


def _is_array(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.layout is torch.strided and not value.is_nested
    return isinstance(value, np.ndarray)


def _is_data(value: Any) -> bool:
    return _is_array(value) and math.prod(value.shape) > MAX_SIZE


def _hash(value: Any, digest: Digest) -> int:
    """Hash of what may decide the order of batches; of large data, a sample."""
    if isinstance(value, CONTAINERS):
        return digest_order(value)
    if _is_data(value):
        value = value[tuple(slice(None, None, size // 16 or 1) for size in value.shape)]
    return digest.of(value) if _is_order(value) else hash(type(value))


def _holds_iterator(part: Any) -> bool:
    """Whether what is read from a loader or data set, may come from an iterator that it keeps."""
    if isinstance(part, DataLoader) or not isinstance(part, (Iterable, IterableDataset)):
        return False
    return any(isinstance(value, Iterator) for value in of_loader(part).values())
