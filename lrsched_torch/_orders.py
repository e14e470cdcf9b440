"""What decides the order of batches, in a loader and in everything that it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from lrsched_torch import _attributes
from lrsched_torch._attributes import UNDER_WAY
from lrsched_torch._digest import Digest, digest_order, is_of_library
from lrsched_torch._hold import (
    CONTAINERS,
    MAX_ENTRIES,
    PLAIN,
    Keeper,
    Restore,
    entries_of,
    hold_attributes,
    hold_entries,
    is_generator,
    is_simple,
)

# Arrays of more elements, also if in a container together, are data rather than an order.
MAX_SIZE = 2**20
MAX_PARTS = 10_000
# Of libraries, whose other objects keep what is none of a loader's business.
PARTS = (DataLoader, Dataset, Sampler, nn.Module)
LEAVES = (torch.Tensor, np.ndarray, *PLAIN, type, FunctionType, ModuleType, Optimizer)


class Parts:
    """A loader, its samplers, data sets, transforms and collating, and what these lead to.

    Args:
        loader: Any iterable.

    Attributes:
        holds_iterator: What is read from the loader may come from an iterator that it keeps.
        cut: There were too many parts to hold them all.
    """

    def __init__(self, loader: Any) -> None:
        found = list(_walk(loader))
        self._generators = [part for part in found if is_generator(part)]
        self._parts = [part for part in found if not is_generator(part)]
        self.cut = len(self._parts) == MAX_PARTS
        self.holds_iterator = any(map(_holds_iterator, self._parts))
        keep = Keeper()
        self._restores = [
            hold_attributes(part, _attributes_of, partial(_hold_order, keep))
            for part in self._parts
        ]
        self._restores += map(keep.hold, self._generators)
        self._aside: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def set_aside(self) -> None:
        """Have DataLoaders begin anew with workers of their own, until `restore`.

        Workers that persist, and an epoch that is under way, are not disturbed.
        """
        if self._aside:
            return
        for attributes in (vars(part) for part in self._parts if isinstance(part, DataLoader)):
            kept = {name: attributes[name] for name in UNDER_WAY if name in attributes}
            self._aside.append((attributes, kept))
            attributes.update({name: UNDER_WAY[name] for name in kept})

    def restore(self) -> None:
        """Put everything back; may be called again."""
        for restore in self._restores:
            restore()
        for attributes, kept in self._aside:
            attributes.update(kept)
        self._aside.clear()

    def hashes(self) -> dict[str, list[int]]:
        """Hashes of the attributes of parts, by the kind of part and the name."""
        digest = Digest()
        found = {"random numbers": [digest.of(part) for part in self._generators]}
        for part in self._parts:
            for name, value in _attributes_of(part).items():
                label = f"attribute {name} of the {type(part).__name__}"
                found.setdefault(label, []).append(_hash(value, digest))
        return found


def _walk(loader: Any) -> Iterator[Any]:
    """A loader and the objects on the way from it whose attributes count, and generators."""
    # The objects too, whose ids must not become those of others.
    waiting, seen, number = [loader], dict[int, Any](), 0
    for value in waiting:
        if isinstance(value, LEAVES) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, partial):
            waiting += (value.func, value.args, value.keywords)
        elif isinstance(value, MethodType):
            waiting += () if _trains(value.__self__) else (value.__self__,)
        elif isinstance(value, (*CONTAINERS, tuple)):
            waiting += entries_of(value) if len(value) <= MAX_ENTRIES else ()
        elif is_generator(value):
            yield value
        elif hasattr(value, "__dict__") and (value is loader or _is_part(value)):
            yield value
            number += 1
            if number == MAX_PARTS:
                return
            waiting += _attributes.of_loader(value).values()


def _is_part(value: Any) -> bool:
    return isinstance(value, PARTS) or not is_of_library(value)


def _trains(owner: Any) -> bool:
    """Whether something is a training loop, which keeps notes that are the user's."""
    attributes = getattr(owner, "__dict__", {})
    return any(isinstance(value, Optimizer) for value in attributes.values())


def _attributes_of(part: Any) -> dict[str, Any]:
    if isinstance(part, nn.Module):
        return _attributes.of_module(part)
    return _attributes.of_loader(part)


def _hold_order(keep: Keeper, value: Any) -> Restore | None:
    """A function that puts back what may decide the order of batches; None for what is data."""
    if _is_small(value):
        return keep.hold(value)
    return hold_entries(value) if isinstance(value, CONTAINERS) else None


def _is_small(value: Any) -> bool:
    return is_simple(value) and _size(value) <= MAX_SIZE


def _size(value: Any) -> int:
    """How many numbers a simple value holds."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return math.prod(value.shape)
    if isinstance(value, (*CONTAINERS, tuple)):
        return sum(map(_size, entries_of(value))) if len(value) <= MAX_ENTRIES else len(value)
    return 1


def _hash(value: Any, digest: Digest) -> int:
    """Hash of what may decide the order of batches; of large data, a sample."""
    if _is_small(value):
        return digest.of(value)
    if isinstance(value, (*CONTAINERS, tuple)):
        return digest_order(value)
    if _is_array(value):
        return digest.of(value[tuple(slice(None, None, size // 16 or 1) for size in value.shape)])
    return hash(type(value))


def _is_array(value: Any) -> bool:
    """Whether a part can be cut out of something."""
    if isinstance(value, torch.Tensor):
        return value.layout is torch.strided and not value.is_nested
    return isinstance(value, np.ndarray)


def _holds_iterator(part: Any) -> bool:
    if not isinstance(part, (Iterable, IterableDataset)):
        return False
    values = _attributes_of(part).values()
    return any(isinstance(value, Iterator) and not is_generator(value) for value in values)
