"""What a `with` of torch switches for the thread, and Ctrl-C at its edge leaves switched."""

from __future__ import annotations

import torch

# Before torch 2.4, autocast does not say how it is by device.
DEVICES = ("cpu", "cuda") if hasattr(torch, "get_autocast_dtype") else ()


class Modes:
    """Grad mode and autocast, as they are at construction."""

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._autocast = [
            (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in DEVICES
        ]
        self._cache = torch.is_autocast_cache_enabled()
        self._depth = _depth()

    def restore(self) -> None:
        """Put them back; may be called again."""
        torch.set_grad_enabled(self._grad)
        for device, enabled, dtype in self._autocast:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(self._cache)
        while _depth() > self._depth:
            torch.autocast_decrement_nesting()
        # It holds casts of weights, which are about to be put back in place.
        torch.clear_autocast_cache()


def _depth() -> int:
    """How many blocks of autocast are open."""
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth
