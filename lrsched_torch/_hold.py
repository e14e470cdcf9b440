"""Nested values that can be given their present content back, in place.

Tensors, arrays and containers are refilled, so compiled functions, captured graphs and views that
somebody holds stay valid; what was born in between is dropped.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Restore = Callable[[], Any]
Refillable: TypeAlias = "dict[Any, Any] | list[Any] | deque[Any] | set[Any]"

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
CONTAINERS = (dict, list, deque, set)
# Of a longer attribute only the order is kept, unless its entries are plain: it is data, not state.
MAX_ENTRIES = 1000
# By their size in bytes.
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Keeper:
    """Makes functions that put values back; each tensor and container is held once.

    Args:
        device: Where the copies of tensors live; None leaves each on its own device.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        # With the value itself, whose id must not become another one's.
        self._memo: dict[int, tuple[Any, Restore]] = {}

    def hold(self, value: Any) -> Restore:
        """A function that gives `value` its present content back and returns it."""
        if id(value) not in self._memo:
            self._memo[id(value)] = value, self._hold_new(value)
        return self._memo[id(value)][1]

    def _hold_new(self, value: Any) -> Restore:
        if isinstance(value, (*PLAIN, frozenset)):
            return lambda: value
        if isinstance(value, torch.Tensor):
            return self._hold_tensor(value)
        if isinstance(value, np.ndarray):
            return hold_array(value)
        if isinstance(value, set) or (isinstance(value, CONTAINERS) and is_flat(value)):
            return hold_entries(value)
        if isinstance(value, dict):
            items = {key: self.hold(item) for key, item in value.items()}
            return partial(_refill_dict, value, items)
        if isinstance(value, (list, deque)):
            entries = [self.hold(entry) for entry in value]
            return partial(_refill_sequence, value, entries)
        if isinstance(value, tuple):
            parts = [self.hold(part) for part in value]
            return partial(_rebuild_tuple, value, parts)
        if is_generator(value):
            return hold_generator(value)
        duplicate = copy.deepcopy(value)
        return lambda: copy.deepcopy(duplicate)

    def _hold_tensor(self, tensor: torch.Tensor) -> Restore:
        if tensor.layout is not torch.strided:
            # A detached sparse tensor does not share what it is refilled with.
            content = tensor.detach().to(self._device or tensor.device, copy=True)
            return partial(tensor.copy_, content)
        if tensor.is_quantized:
            content = tensor.detach().to(self._device or tensor.device, copy=True)
            return partial(_refill_quantized, tensor, tensor.detach(), content)
        view: torch.Tensor | None
        if is_unbroken(tensor):
            memory = view = tensor.detach()
        else:
            memory = solid(tensor)
            # A tensor made of others, such as a shard, has no memory of its own.
            view = None if hasattr(tensor, "__tensor_flatten__") else tensor.detach()
        content = memory.to(self._device or memory.device, copy=True)
        return partial(_refill_tensor, tensor, view, memory, content)

    def hold_state(self, value: Any) -> Restore | None:
        """As `hold`, with only the order of what is long or holds objects; None for an object."""
        if is_simple(value):
            return self.hold(value)
        return hold_entries(value) if isinstance(value, CONTAINERS) else None


def hold_attributes(
    owner: Any,
    select: Callable[[Any], Mapping[str, Any]],
    hold: Callable[[Any], Restore | None],
) -> Restore:
    """A function that gives an object its attributes back, and drops new ones.

    Args:
        owner: Has the attributes.
        select: Gives those of `owner` that count.
        hold: Gives what puts a value back, or None where only the reference to it is.
    """
    before = {name: (value, hold(value)) for name, value in select(owner).items()}

    def restore() -> None:
        attributes = vars(owner)
        # All of them: what is set up on first use, is so as a whole.
        for name in select(owner).keys() - before.keys():
            del attributes[name]
        for name, (value, put_back) in before.items():
            attributes[name] = value if put_back is None else put_back()

    return restore


def is_simple(value: Any) -> bool:
    """Whether a value is plain, a tensor, an array, a generator, or a container of such."""
    if isinstance(value, (*PLAIN, torch.Tensor, np.ndarray)):
        return True
    if not isinstance(value, (*CONTAINERS, tuple, frozenset)):
        return is_generator(value)
    return is_flat(value) or (len(value) <= MAX_ENTRIES and all(map(is_simple, entries_of(value))))


def is_flat(value: Any) -> bool:
    """Whether all entries of a container are plain."""
    return all(issubclass(kind, PLAIN) for kind in {*map(type, entries_of(value))})


def entries_of(value: Any) -> Iterable[Any]:
    """The values of a mapping, and what is in any other container."""
    return value.values() if isinstance(value, Mapping) else value


def is_generator(value: Any) -> bool:
    """Whether something is a random number generator whose state can be read."""
    kinds = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
    return isinstance(value, kinds) and not isinstance(value, random.SystemRandom)


def generator_state(generator: Any) -> Any:
    """The state of a random number generator."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return (generator.getstate if isinstance(generator, random.Random) else generator.get_state)()


def hold_generator(generator: Any) -> Restore:
    """A function that gives a random number generator its present state back."""
    state = generator_state(generator)

    def restore() -> Any:
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        elif isinstance(generator, random.Random):
            generator.setstate(state)
        else:
            generator.set_state(state)
        return generator

    return restore


def hold_entries(container: Refillable) -> Restore:
    """A function that puts the same entries back, in their order; they are left as they are."""
    kept = container.copy()

    def restore() -> Any:
        # Sets of the same entries may differ in the order in which they are read.
        if not isinstance(container, set) or container != kept:
            container.clear()
            (container.update if isinstance(container, (dict, set)) else container.extend)(kept)
        return container

    return restore


def hold_array(array: NDArray[Any]) -> Restore:
    """A function that gives an array its present content back."""
    if not array.flags.writeable:
        return lambda: array
    content = array.copy()

    def restore() -> Any:
        np.copyto(array, content)
        return array

    return restore


def is_unbroken(tensor: torch.Tensor) -> bool:
    """Whether a tensor is one stretch of memory and nothing else, as nearly all are."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
    )


def solid(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor, detached: its own shard of it, each element once."""
    memory = tensor.detach()
    if hasattr(memory, "to_local"):
        memory = memory.to_local()
    strides = memory.stride()
    if 0 in strides and any(n > 1 for n, s in zip(memory.shape, strides, strict=True) if s == 0):
        # An expanded tensor cannot be written to.
        return memory.new_empty(0).set_(memory.untyped_storage())
    return memory


def _refill_tensor(
    tensor: torch.Tensor,
    view: torch.Tensor | None,
    memory: torch.Tensor,
    content: torch.Tensor,
) -> torch.Tensor:
    # What is trained is written to all the time.
    if tensor.requires_grad or not _is_same(memory, content):
        memory.copy_(content)
    if view is not None and not tensor.is_set_to(view):
        # After `tensor.data = ...` it is somewhere else.
        tensor.data = view
    return tensor


def _refill_quantized(
    tensor: torch.Tensor, view: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    # Whether it is somewhere else cannot be asked of it, and its scale is not the view's.
    tensor.data = view
    return tensor.copy_(content)


def _is_same(memory: torch.Tensor, content: torch.Tensor) -> bool:
    """Whether there is nothing to write, as in memory that must not be written to.

    A file may be mapped there for reading only, which a tensor does not tell; only what torch has
    allocated itself can be resized. Elsewhere than on the host there is no such memory, and to
    compare would be to wait.
    """
    if type(memory) is not torch.Tensor or memory.untyped_storage().resizable():
        return False
    if memory.is_neg():
        return False
    if memory.device.type != "cpu" or memory.device != content.device:
        return False
    if memory.is_complex():
        memory, content = (torch.view_as_real(part.resolve_conj()) for part in (memory, content))
    # As integers, since a NaN differs from itself and zeros of both signs are equal.
    kind = INTEGERS[memory.element_size()]
    return torch.equal(memory.view(kind), content.view(kind))


def _refill_dict(table: dict[Any, Any], items: dict[Any, Restore]) -> dict[Any, Any]:
    content = {key: restore() for key, restore in items.items()}
    table.clear()
    table.update(content)
    return table


def _refill_sequence(entries: list[Any] | deque[Any], restores: list[Restore]) -> Any:
    content = [restore() for restore in restores]
    entries.clear()
    entries.extend(content)
    return entries


def _rebuild_tuple(value: Any, parts: list[Restore]) -> Any:
    content = [restore() for restore in parts]
    if all(new is old for new, old in zip(content, value, strict=True)):
        return value
    return value._make(content) if hasattr(value, "_make") else tuple(content)
