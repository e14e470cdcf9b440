"""The snapshot of a training: model, optimizer, and everything else that an update changes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched.rewind.kinds import is_a
from lrsched.rewind.snapshot import Snapshot
from lrsched.rewind.torch_values import is_dense
from lrsched_torch.rewind.process import sources
from lrsched_torch.rewind.registry import ACCELERATOR, registry_for
from lrsched_torch.rewind.stateful import ByStateDict


class TrainingSnapshot(Snapshot):
    """State of a model, its optimizer, its loss and the process, at construction.

    Args:
        model: The model.
        optimizer: Its optimizer.
        stateful: What else the training changes: further modules and optimizers, a GradScaler,
            schedulers, an EMA, a StatefulDataLoader: anything with a state dict; and an
            Accelerator.
        device: Where the copies live, as `torch.device` takes it; None leaves each where it is.
        verify: Watch what is not restored.
        functions: What the loss comes from, with names.

    Raises:
        TypeError: something in `stateful` has no `state_dict` and `load_state_dict`.
        ValueError: a parameter has no values yet, or cannot be written to in place, or `device`
            keeps no values.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        stateful: Iterable[Any] = (),
        device: Any = None,
        verify: bool = True,
        functions: Iterable[tuple[str, Any]] = (),
    ) -> None:
        # What else there is comes first, since loading a scheduler writes the lr.
        roots = [(f"stateful[{index}]", _restorable(part)) for index, part in enumerate(stateful)]
        roots += [("model", model), ("optimizer", optimizer), *functions]
        modules = [part for _, part in roots if isinstance(part, nn.Module)]
        _check_values(modules)
        self._sharded = _sharded_in(modules)
        _reshard(self._sharded)
        registry = registry_for(_checked_device(device))
        super().__init__(roots, registry, sources=sources(), verify=verify)

    def _restore_values(self) -> None:
        # Only here, since grad mode is one of the sources, which come after.
        with torch.no_grad():
            _reshard(self._sharded, without_gradients=True)
            super()._restore_values()


def _restorable(part: Any) -> Any:
    """Return an entry of `stateful`, or what restores it by its state dict."""
    known = (nn.Module, Optimizer, torch.amp.GradScaler, ACCELERATOR)
    return part if is_a(part, *known) else ByStateDict(part)


def _checked_device(device: Any) -> torch.device | None:
    place = None if device is None else torch.device(device)
    if place is not None and place.type == "meta":
        raise ValueError(f"snapshot_device must be one that keeps values, got {device!r}")
    return place


def _check_values(modules: Iterable[nn.Module]) -> None:
    """Check that what is trained can be restored."""
    for module in modules:
        for path, tensor in chain(module.named_parameters(), module.named_buffers()):
            if tensor.is_meta or nn.parameter.is_lazy(tensor):
                raise ValueError(
                    f"model must have values in its parameters, got none in {path} "
                    "(a lazy module gets them from its first batch)"
                )
            if isinstance(tensor, nn.Parameter) and not is_dense(tensor):
                raise ValueError(
                    "model must have parameters that can be written to in place, "
                    f"got {tensor.layout} of {tensor.dtype} in {path} "
                    "(make it dense, or a buffer if it is not trained)"
                )


def _sharded_in(modules: Iterable[nn.Module]) -> list[Any]:
    """Return the modules that fully_shard has sharded."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    if kind is None:
        return []
    return [part for module in modules for part in module.modules() if isinstance(part, kind)]


def _reshard(sharded: Iterable[Any], *, without_gradients: bool = False) -> None:
    """Have fully_shard hold shards, where a forward pass alone has left whole parameters.

    A step that an exception has ended leaves more behind, which the root of the model resets.
    """
    for part in sharded:
        for parameter in part.parameters() if without_gradients else ():
            # What an interrupted step has left in whole ones would be added to.
            parameter.grad = None
        part.reshard()
        # New in torch 2.13; refused by every part but the root.
        with suppress(AttributeError, RuntimeError):
            part.reset_iter_state()
