"""State of the process: random numbers of all devices, grad mode and autocast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from lrsched.rewind import torch_values
from lrsched.rewind.values import PROCESS, Source

# Before torch 2.4, autocast does not say how it is by device.
AUTOCAST_DEVICES = ("cpu", "cuda") if hasattr(torch, "get_autocast_dtype") else ()


def random_sources() -> Iterator[Source]:
    """Yield the generators of Python, NumPy, torch, and of every device in use."""
    yield from PROCESS
    yield from torch_values.random_sources()


def sources() -> Iterator[Source]:
    """Yield all state of the process that a training may change."""
    # Ctrl-C at the edge of a `with` of torch leaves these switched.
    yield Source("grad mode", torch.is_grad_enabled, torch.set_grad_enabled)
    yield Source("autocast", _read_autocast, _write_autocast)
    yield from random_sources()


def _read_autocast() -> Any:
    by_device = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in AUTOCAST_DEVICES
    ]
    return by_device, torch.is_autocast_cache_enabled(), _autocast_depth()


def _write_autocast(state: Any) -> None:
    by_device, cache, depth = state
    for device, enabled, dtype in by_device:
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(cache)
    while _autocast_depth() > depth:
        torch.autocast_decrement_nesting()
    # It holds casts of weights, which have been written to in place.
    torch.clear_autocast_cache()


def _autocast_depth() -> int:
    """Return how many blocks of autocast are open."""
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth
