"""Hashes of nested values, which tell whether anything in them has changed."""

from __future__ import annotations

import math
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from lrsched_torch._hold import (
    MAX_ENTRIES,
    PLAIN,
    generator_state,
    is_flat,
    is_generator,
    is_unbroken,
    solid,
)

# So many objects inside of each other are opened, and so many in all.
DEPTH, MAX_OBJECTS = 4, 10_000
# Of a library's own object, only what its attributes hold themselves is told apart.
OPAQUE = (sys.stdlib_module_names - {"argparse", "collections", "types"}) | {
    "accelerate",
    "lightning",
    "pytorch_lightning",
    "torch",
}
# Odd, so that a change of one word always shows.
MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=1024, dtype=np.uint64) * 2 + 1


class Digest:
    """Hashes values that may refer to each other; each object is opened once.

    Args:
        known: Objects that are never opened, since they are hashed by themselves.
        most: Of a longer container, both ends and a sample count.
    """

    def __init__(self, known: Iterable[Any] = (), most: float = MAX_ENTRIES) -> None:
        # With the objects themselves, whose ids must not become those of others.
        self._seen = {id(part): part for part in known}
        self._tensors: dict[int, tuple[torch.Tensor, int]] = {}
        self._most = most
        self._left = MAX_OBJECTS
        self._cut = False
        self.partly: list[str] = []

    def entry(self, name: str, value: Any) -> tuple[str, int]:
        """A name and its hash; `partly` gets the name if not all of the value was read."""
        self._cut = False
        found = self.of(value)
        if self._cut:
            self.partly.append(name)
        return name, found

    def of(self, value: Any, depth: int = DEPTH) -> int:
        """Hash of a value; `depth` is how many more objects inside of each other are opened."""
        if isinstance(value, PLAIN):
            return hash((type(value), repr(value)))
        if isinstance(value, torch.Tensor):
            if id(value) not in self._tensors:
                self._tensors[id(value)] = value, _of_tensor(value)
            return self._tensors[id(value)][1]
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return self._of_entries(value.reshape(-1).tolist(), depth)
            octets = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            return hash((value.dtype.str, value.shape, _checksum(octets.data)))
        if isinstance(value, (Mapping, list, tuple, deque, set, frozenset)):
            return self._of_entries(value, depth)
        if is_generator(value):
            return self.of(generator_state(value))
        return self._of_object(value, depth)

    def _of_entries(self, value: Any, depth: int) -> int:
        long = len(value) > self._most
        flat = long and is_flat(value)
        self._cut |= long and not flat
        if isinstance(value, (set, frozenset)):
            if long:
                return hash(frozenset(value)) if flat else len(value)
            return hash(frozenset(self.of(item, depth) for item in value))
        entries = value.items() if isinstance(value, Mapping) else value
        if long:
            entries = _sample(entries, len(value))
        if isinstance(value, Mapping):
            entries = chain.from_iterable((str(key), item) for key, item in entries)
        return hash((len(value), *(self.of(item, depth) for item in entries)))

    def _of_object(self, value: Any, depth: int) -> int:
        kind = type(value)
        if isinstance(value, type) or id(value) in self._seen:
            return hash(kind)
        opaque = is_of_library(value) and not isinstance(value, nn.Module)
        if not depth or (opaque and depth < DEPTH):
            return hash(kind)
        if not self._left:
            self._cut = True
            return hash(kind)
        self._left -= 1
        self._seen[id(value)] = value
        attributes = dict(getattr(value, "__dict__", {}))
        if not opaque:
            attributes.update(_slots(value))
        return hash((kind, self.of(attributes, depth - 1)))


def is_of_library(value: Any) -> bool:
    """Whether the class of an object comes from a library that keeps state of its own in it."""
    return type(value).__module__.partition(".")[0] in OPAQUE


def whole_digest(value: Any) -> int:
    """Hash of a nested value however long."""
    return Digest(most=math.inf).of(value)


def digest_order(container: Any) -> int:
    """Hash of which entries are where in a container, and not of what is in them."""
    entries = container.items() if isinstance(container, Mapping) else container
    if len(container) > MAX_ENTRIES:
        entries = _sample(entries, len(container))
    if isinstance(container, Mapping):
        entries = chain.from_iterable(entries)
    hashes = [hash(repr(entry)) if isinstance(entry, PLAIN) else id(entry) for entry in entries]
    return hash((len(container), *(sorted(hashes) if isinstance(container, set) else hashes)))


def _slots(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds outside of its dict."""
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _sample(entries: Iterable[Any], count: int) -> Iterator[Any]:
    """Both ends, and entries at equal distances, about MAX_ENTRIES in all."""
    end, stride = MAX_ENTRIES // 4, count // (MAX_ENTRIES // 2)
    for index, entry in enumerate(entries):
        if index < end or index >= count - end or not index % stride:
            yield entry


def _of_tensor(tensor: torch.Tensor) -> int:
    memories = [tensor] if is_unbroken(tensor) else map(_unbroken, _memories(tensor))
    return hash((tensor.dtype, tensor.shape, *map(_of_memory, memories)))


def _unbroken(memory: torch.Tensor) -> torch.Tensor:
    return memory.resolve_conj().resolve_neg().contiguous()


def _of_memory(memory: torch.Tensor) -> int:
    on_host = memory.cpu()
    size, place = on_host.nbytes, on_host.data_ptr()
    if not size:
        return 0
    if not place:
        raise TypeError(
            f"a {type(memory).__name__} cannot be checked for changes (verify=False leaves it out)"
        )
    # Not numpy(): what that has once given out can never be resized any more.
    return _checksum(np.asarray(_Octets(place, size)).data)


class _Octets:
    """Bytes in memory that NumPy reads where they are; whose memory it is must outlive that."""

    def __init__(self, place: int, size: int) -> None:
        self.__array_interface__ = {
            "data": (place, True),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def _memories(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The dense tensors that a tensor is made of."""
    if hasattr(tensor, "__tensor_flatten__") and not hasattr(tensor, "to_local"):
        names = tensor.__tensor_flatten__()[0]
        return [part for name in names for part in _memories(getattr(tensor, name))]
    if tensor.is_quantized:
        return [tensor.int_repr(), *_scales(tensor)]
    if tensor.layout is torch.strided:
        return [solid(tensor)]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor.detach().to_dense()]


def _scales(tensor: torch.Tensor) -> list[torch.Tensor]:
    """What turns the integers of a quantized tensor into its values."""
    if tensor.qscheme() is torch.per_tensor_affine:
        return [torch.tensor([tensor.q_scale(), tensor.q_zero_point()], dtype=torch.float64)]
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()]


def _checksum(octets: memoryview) -> int:
    """A multilinear hash of rows of words (Lemire and Kaser 2014), at several times a CRC's speed.

    Rows are told apart by a CRC of their hashes, which takes in what is left of the last row too.
    """
    count = len(octets) // MULTIPLIERS.nbytes
    if not count:
        return zlib.crc32(octets)
    rows = np.frombuffer(octets, np.uint64, count * MULTIPLIERS.size).reshape(count, -1)
    hashes = np.einsum("ij,j->i", rows, MULTIPLIERS)
    return zlib.crc32(octets[count * MULTIPLIERS.nbytes :], zlib.crc32(hashes.data))
