"""Nested values that can be given their present content back, in place.

Tensors are copied back into the objects that they came from, so compiled functions, captured
graphs and views that somebody holds stay valid; what was born in between is dropped.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

Restore = Callable[[], Any]

PLAIN = (bool, int, float, complex, str, bytes, type(None))
# A longer attribute is data rather than state.
MAX_ENTRIES = 1000


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
        if isinstance(value, torch.Tensor):
            memory = solid(value)
            content = memory.to(self._device or memory.device, copy=True)
            return partial(_refill_tensor, value, memory, content)
        if isinstance(value, dict):
            items = {key: self.hold(item) for key, item in value.items()}
            return partial(_refill_dict, value, items)
        if isinstance(value, list):
            entries = [self.hold(entry) for entry in value]
            return partial(_refill_list, value, entries)
        if isinstance(value, tuple):
            parts = [self.hold(part) for part in value]
            return partial(_rebuild_tuple, value, parts)
        if isinstance(value, PLAIN):
            return lambda: value
        duplicate = copy.deepcopy(value)
        return lambda: copy.deepcopy(duplicate)

    def hold_attributes(self, owner: Any, skipped: frozenset[str]) -> Restore:
        """A function that gives an object its simple attributes back, and no others."""
        attributes = vars(owner)
        present = set(attributes)
        kept = {
            name: self.hold(value)
            for name, value in attributes.items()
            if name not in skipped and is_simple(value)
        }

        def restore() -> None:
            for name in [name for name in attributes if name not in present]:
                if name not in skipped and is_simple(attributes[name]):
                    del attributes[name]
            attributes.update({name: put_back() for name, put_back in kept.items()})

        return restore


def is_simple(value: Any) -> bool:
    """Whether a value is plain, a tensor, an array, or a small container of such."""
    if isinstance(value, (*PLAIN, torch.Tensor, np.ndarray)):
        return True
    if isinstance(value, Mapping):
        return len(value) <= MAX_ENTRIES and all(map(is_simple, value.values()))
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return len(value) <= MAX_ENTRIES and all(map(is_simple, value))
    return False


def solid(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor, detached: its own shard of it, each element once."""
    memory = tensor.detach()
    if hasattr(memory, "to_local"):
        memory = memory.to_local()
    if any(stride == 0 and size > 1 for stride, size in zip(memory.stride(), memory.shape)):  # noqa: B905
        # An expanded tensor cannot be written to.
        return memory.new_empty(0).set_(memory.untyped_storage())
    return memory


def _refill_tensor(tensor: torch.Tensor, memory: torch.Tensor, content: torch.Tensor) -> Any:
    memory.copy_(content)
    return tensor


def _refill_dict(table: dict[Any, Any], items: dict[Any, Restore]) -> dict[Any, Any]:
    content = {key: restore() for key, restore in items.items()}
    table.clear()
    table.update(content)
    return table


def _refill_list(entries: list[Any], restores: list[Restore]) -> list[Any]:
    entries[:] = [restore() for restore in restores]
    return entries


def _rebuild_tuple(value: Any, parts: list[Restore]) -> Any:
    content = [restore() for restore in parts]
    if all(new is old for new, old in zip(content, value, strict=True)):
        return value
    return tuple(content)
