"""The memory of tensors, however it lies, and its present content back in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

# By their size in bytes.
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def hold_values(tensor: torch.Tensor, device: torch.device | None) -> Callable[[], Any]:
    """A function that gives a tensor its present values back, in the memory that it is in now.

    Args:
        tensor: Of any layout.
        device: Where the copy lives; None leaves it where the tensor is.
    """
    place = device or tensor.device
    if is_unbroken(tensor):
        memory = tensor.detach()
        return partial(_refill_tensor, tensor, memory, memory, memory.to(place, copy=True))
    if tensor.is_meta:
        return lambda: None
    if tensor.layout is torch._mkldnn:  # type: ignore[attr-defined]
        # Cannot be copied in any other way.
        return partial(tensor.copy_, tensor.detach().clone())
    if tensor.layout is not torch.strided or is_ragged(tensor):
        # A detached sparse tensor does not share what it is refilled with.
        return partial(tensor.copy_, tensor.detach().to(place, copy=True))
    if tensor.is_quantized:
        content = tensor.detach().to(place, copy=True)
        return partial(_refill_quantized, tensor, tensor.detach(), content)
    memory = solid(tensor)
    # A tensor made of others, such as a shard, has no memory of its own.
    view = None if hasattr(tensor, "__tensor_flatten__") else tensor.detach()
    content = memory.to(device or memory.device, copy=True)
    return partial(_refill_tensor, tensor, view, memory, content)


def is_ragged(tensor: torch.Tensor) -> bool:
    """Whether it is a nested tensor of the old kind, which has neither a shape nor strides."""
    return tensor.is_nested and tensor.layout is torch.strided


def is_unbroken(tensor: torch.Tensor) -> bool:
    """Whether a tensor is one stretch of memory and nothing else, as nearly all are."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not tensor.is_meta
        and tensor.is_contiguous()
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized or tensor.is_nested)
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
