"""Hashes of nested values, which tell whether anything in them has changed."""

from __future__ import annotations

import ctypes
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import nn

from lrsched_torch._hold import generator_state
from lrsched_torch._kinds import (
    MAX_ENTRIES,
    Kind,
    attributes_of,
    entries_of,
    is_flat,
    kind_of,
    memory_of,
)
from lrsched_torch._tensors import is_ragged, is_unbroken, solid

# So many objects inside of each other are opened, and so many in all.
DEPTH, MAX_OBJECTS = 4, 10_000
# Twice as wide as the words of a row: in sums no wider than these, their highest bit, such as that
# of a sign, would meet only the lowest one of a multiplier, and two changes would cancel. Odd, so
# that a change of one word always shows.
MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=1024, dtype=np.uint64) * 2 + 1
ROW = 4 * MULTIPLIERS.size  # bytes
# Of less memory, a CRC takes less time than to begin with anything else.
SHORT = 8 * ROW
# Makes a memoryview of an address, a size and a flag; whose memory it is must outlive it. Our own
# function, since that of `ctypes.pythonapi` is everybody's.
_view_of = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)
READ_ONLY = 0x100


class Digest:
    """Hashes values that may refer to each other; each object is opened once.

    Args:
        known: Objects that are never opened, since they are hashed by themselves.
        most: Of a longer container, both ends and a sample count.
        largest: Of a tensor or array with more elements, a sample counts.
    """

    def __init__(
        self, known: Iterable[Any] = (), most: float = MAX_ENTRIES, largest: float = math.inf
    ) -> None:
        # With the objects themselves, whose ids must not become those of others.
        self._seen = {id(part): part for part in known}
        self._tensors: dict[int, tuple[torch.Tensor, int]] = {}
        self._most, self._largest = most, largest
        self._left = MAX_OBJECTS
        self._cut = False
        self.partly: list[str] = []

    def entry(self, name: str, value: Any, depth: int = DEPTH) -> tuple[str, int]:
        """A name and its hash; `partly` gets the name if not all of the value was read."""
        self._cut = False
        found = self.of(value, depth)
        if self._cut:
            self.partly.append(name)
        return name, found

    def of(self, value: Any, depth: int = DEPTH) -> int:
        """Hash of a value; `depth` is how many more objects inside of each other are opened."""
        kind = kind_of(value)
        match kind:
            case Kind.PLAIN:
                return hash((type(value), _text(value)))
            case Kind.TENSOR:
                # The gradients of parameters are hashed under names of their own.
                if value.requires_grad and value.is_leaf and type(value) is not nn.Parameter:
                    return hash((self._of_tensor(value), self.of(value.grad)))
                return self._of_tensor(value)
            case Kind.OBJECT | Kind.MODULE | Kind.LIBRARY:
                return self._of_object(value, kind, depth)
            case Kind.CONTAINER | Kind.FIXED | Kind.MAPPING:
                return self._of_entries(value, depth)
            case Kind.ARRAY:
                return self._of_array(value, depth)
            case Kind.GENERATOR:
                return self.of(generator_state(value))
            case Kind.BUFFER:
                return hash(bytes(memory_of(value)))
        return id(value)

    def _of_tensor(self, tensor: torch.Tensor) -> int:
        if id(tensor) not in self._tensors:
            part = _sampled(tensor) if tensor.numel() > self._largest else tensor
            self._tensors[id(tensor)] = tensor, _of_tensor(part)
        return self._tensors[id(tensor)][1]

    def _of_array(self, values: Any, depth: int) -> int:
        if values.size > self._largest:
            values = _sampled(values)
        if values.dtype.hasobject:
            return self._of_entries(values.reshape(-1).tolist(), depth)
        octets = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        return hash((values.dtype.str, values.shape, _checksum(octets.data)))

    def _of_entries(self, value: Any, depth: int) -> int:
        long, flat = len(value) > self._most, is_flat(value)
        self._cut |= long and not flat
        if isinstance(value, (set, frozenset)):
            if long:
                return hash(frozenset(value)) if flat else len(value)
            return hash(frozenset(self.of(item, depth) for item in value))
        keys = ()
        if isinstance(value, Mapping):
            keys = tuple(map(_of_key, _sample(value, len(value), self._most)))
        entries = _sample(entries_of(value), len(value), self._most)
        if flat:
            return hash((len(value), keys, _text([*entries])))
        return hash((len(value), keys, *(self.of(item, depth) for item in entries)))

    def _of_object(self, value: Any, kind: str, depth: int) -> int:
        name = hash(type(value))
        if isinstance(value, np.random.SeedSequence):
            return self.of(value.state)
        if id(value) in self._seen or not depth or isinstance(value, type):
            return name
        opaque = kind is Kind.LIBRARY
        if opaque and depth < DEPTH:
            return name
        if not self._left:
            self._cut = True
            return name
        self._left -= 1
        self._seen[id(value)] = value
        attributes = dict(getattr(value, "__dict__", {})) if opaque else attributes_of(value)
        return hash((name, self.of(attributes, depth - 1)))


def changed(old: Mapping[str, int], new: Mapping[str, int]) -> list[str]:
    """Names of what has changed, come or gone."""
    return [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]


def whole_digest(value: Any) -> int:
    """Hash of a nested value however long."""
    return Digest(most=math.inf).of(value)


def digest_order(container: Any) -> int:
    """Hash of which entries are where in a container, and not of what is in them."""
    entries = container.items() if isinstance(container, Mapping) else container
    entries = _sample(entries, len(container), MAX_ENTRIES)
    if isinstance(container, Mapping):
        entries = chain.from_iterable(entries)
    hashes = [hash(_text(v)) if kind_of(v) is Kind.PLAIN else id(v) for v in entries]
    return hash((len(container), *(sorted(hashes) if isinstance(container, set) else hashes)))


def _of_key(key: Any) -> Any:
    """The text of a key, or which object it is: those of a state dict are made anew each time."""
    return _text(key) if kind_of(key) in (Kind.PLAIN, Kind.FIXED) else id(key)


def _text(value: Any) -> str:
    """As `repr`, which refuses to write out integers of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return hex(value) if isinstance(value, int) else str([*map(_text, value)])


def _sample(entries: Iterable[Any], count: int, most: float) -> Iterator[Any]:
    """All entries, or of more than `most` both ends and some at equal distances, about as many."""
    stream = iter(entries)
    if count <= most:
        return stream
    end, stride = int(most) // 4, count // (int(most) // 2)
    return chain(
        islice(stream, end), islice(stream, 0, count - 2 * end, stride), islice(stream, end)
    )


def _sampled(values: Any) -> Any:
    """Elements of a tensor or array at equal distances; none of what cannot be cut."""
    if isinstance(values, torch.Tensor) and (
        values.layout is not torch.strided or values.is_nested
    ):
        return torch.empty(0, dtype=values.dtype)
    return values[tuple(slice(None, None, size // 16 or 1) for size in values.shape)]


def _of_tensor(tensor: torch.Tensor) -> int:
    if is_unbroken(tensor):
        return hash((tensor.dtype, tensor.shape, _of_memory(tensor)))
    if is_ragged(tensor):
        return hash(tuple(map(_of_tensor, tensor.detach().unbind())))
    memories = [] if tensor.is_meta else map(_unbroken, _memories(tensor))
    return hash((tensor.dtype, tensor.shape, *map(_of_memory, memories)))


def _unbroken(memory: torch.Tensor) -> torch.Tensor:
    return memory.resolve_conj().resolve_neg().contiguous()


def _of_memory(memory: torch.Tensor) -> int:
    on_host = memory if memory.is_cpu else memory.cpu()
    size, place = on_host.nbytes, on_host.data_ptr()
    if not size:
        return 0
    if not place:
        raise TypeError(
            f"a {type(memory).__name__} cannot be checked for changes (verify=False leaves it out)"
        )
    # Not numpy(): what that has once given out can never be resized any more.
    return _checksum(_view_of(place, size, READ_ONLY))


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
    if len(octets) < SHORT:
        return zlib.crc32(octets)
    count = len(octets) // ROW
    rows = np.frombuffer(octets, np.uint32, count * MULTIPLIERS.size).reshape(count, -1)
    hashes = np.einsum("ij,j->i", rows, MULTIPLIERS)
    return zlib.crc32(octets[count * ROW :], zlib.crc32(hashes.data))
