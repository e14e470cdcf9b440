"""Tensors, generators and loaders of torch, which users of every framework may hold.

Torch is never imported here: the types are known by name, and their values by their methods.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any

from lrsched.rewind.kinds import Child, Kind, NotWritableError, Registry, Restore
from lrsched.rewind.objects import attributes_of, without
from lrsched.rewind.values import Source, capture_state

# Where a DataLoader keeps an epoch that is under way, and what it keeps there when none is.
UNDER_WAY = {"_iterator": None, "_initial_iter_for_state_dict": False}


def random_sources() -> Iterable[Source]:
    """Return the random generators of torch, on every device in use; none where it is not there."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    yield Source("random numbers of torch", torch.get_rng_state, torch.set_rng_state)
    for name in ("cuda", "xpu"):
        device = getattr(torch, name)
        for index in range(device.device_count() if device.is_initialized() else 0):
            read = partial(device.get_rng_state, index)
            write = partial(device.set_rng_state, device=index)
            yield Source(f"random numbers of {name}:{index}", read, write)
    if torch.backends.mps.is_available():
        yield Source("random numbers of mps", torch.mps.get_rng_state, torch.mps.set_rng_state)


def is_dense(tensor: Any) -> bool:
    """Return whether a tensor is elements at equal distances in memory, which can be written to."""
    return str(tensor.layout) == "torch.strided" and not (
        tensor.is_nested or tensor.is_quantized or tensor.is_meta
    )


def capture_tensor(tensor: Any, device: Any = None) -> Restore:
    """Copy a tensor, which gradient it has and whether it needs one; returns what restores them.

    Args:
        tensor: Dense, of any class.
        device: Where the copy lives; None leaves it where the tensor is.

    Raises:
        NotWritableError: a tensor of another layout, or without memory.
    """
    if not is_dense(tensor):
        raise NotWritableError("a tensor without elements in memory of its own")
    memory = _memory_of(tensor)
    content = memory.to(device or memory.device, copy=True)
    # A tensor made of others, such as a shard, has no memory of its own.
    has_memory = tensor.__torch_dispatch__ is sys.modules["torch"].Tensor.__torch_dispatch__
    view = tensor.detach() if has_memory else None
    is_leaf = tensor.is_leaf
    gradient, needed = (tensor.grad, tensor.requires_grad) if is_leaf else (None, False)

    def restore() -> None:
        # What is trained is written to all the time.
        if tensor.requires_grad or not _is_same(memory, content):
            memory.copy_(content)
        if view is not None and not tensor.is_set_to(view):
            # After `tensor.data = ...` it is somewhere else.
            tensor.data = view
        if is_leaf and tensor.grad is not gradient:
            tensor.grad = gradient
        if is_leaf and tensor.requires_grad is not needed:
            tensor.requires_grad_(needed)

    return restore


def _memory_of(tensor: Any) -> Any:
    """Return the memory of a tensor, detached: its own shard of it, each element once."""
    memory = tensor.detach()
    if hasattr(memory, "to_local"):
        memory = memory.to_local()
    for dim, stride in enumerate(memory.stride()):
        if stride == 0 and memory.shape[dim] > 1:  # `expand` repeats one element
            memory = memory.narrow(dim, 0, 1)
    return memory


def _is_same(memory: Any, content: Any) -> bool:
    """Return whether memory of another library has the content, since it may be read-only.

    A tensor does not tell that, but only what torch has allocated itself can be resized.
    """
    torch = sys.modules["torch"]
    is_own = type(memory) is not torch.Tensor or memory.untyped_storage().resizable()
    if is_own or not (memory.is_cpu and content.is_cpu):
        return False
    # As bytes, since a NaN differs from itself and zeros of both signs are equal.
    packed = (part.clone(memory_format=torch.contiguous_format) for part in (memory, content))
    return bool(torch.equal(*(part.flatten().view(torch.uint8) for part in packed)))


def gradient_of(tensor: Any) -> Iterable[Child]:
    """Return the gradient of a tensor, which is a tensor of its own."""
    return [(".grad", tensor.grad, True)] if tensor.is_leaf else ()


def version_of(tensor: Any) -> Hashable:
    """Return the number of elements of a tensor, and how often it has been written to."""
    return tensor.numel(), 0 if tensor.is_inference() else tensor._version


TENSOR = Kind(
    gradient_of,
    capture=capture_tensor,
    digest=version_of,
    size=lambda tensor: tensor.nbytes if is_dense(tensor) else 0,
)


def _suspend(loader: Any) -> Restore:
    """Have a DataLoader begin anew, with workers of its own that end when it is resumed."""
    attributes = vars(loader)
    kept = {name: attributes[name] for name in UNDER_WAY if name in attributes}
    attributes.update({name: UNDER_WAY[name] for name in kept})

    def resume() -> None:
        reading = attributes.get("_iterator")
        attributes.update(kept)
        if reading is not attributes.get("_iterator"):
            end_reading(reading)

    return resume


def end_reading(batches: Any) -> None:
    """End the workers of an epoch, which would go on fetching ahead.

    A traceback of an error may hold on to them.
    """
    if hasattr(batches, "_shutdown_workers"):
        batches._shutdown_workers()


def add_to(registry: Registry) -> None:
    """Add the kinds of torch's values, for when torch is there."""
    registry.add(TENSOR, "torch:Tensor")
    registry.add(Kind(capture=capture_state, draws=True), "torch:Generator")
    data = Kind(attributes=attributes_of)
    registry.add(data, "torch.utils.data:Dataset", "torch.utils.data:Sampler")
    loader = Kind(attributes=without(*UNDER_WAY), suspend=_suspend)
    registry.add(loader, "torch.utils.data:DataLoader")
    epoch = Kind(digest=lambda epoch: epoch._num_yielded)
    registry.add(epoch, "torch.utils.data.dataloader:_BaseDataLoaderIter")
