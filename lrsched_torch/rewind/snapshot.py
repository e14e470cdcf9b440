"""The snapshot of a training: model, optimizer, and everything else that an update changes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
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
        model, optimizer, stateful, verify: As for `lr_find`.
        device: Where the copies live, as `torch.device` takes it; None leaves each where it is.
        functions: What the loss comes from, with names.

    Raises:
        TypeError: something in `stateful` has no `state_dict` and `load_state_dict`.
        ValueError: a parameter has no values yet, or cannot be written to in place.
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
        known = (nn.Module, Optimizer, torch.amp.GradScaler, ACCELERATOR)
        parts = [part if is_a(part, *known) else ByStateDict(part) for part in stateful]
        roots = [(f"stateful[{index}]", part) for index, part in enumerate(parts)]
        roots += [("model", model), ("optimizer", optimizer), *functions]
        modules = [part for _, part in roots if isinstance(part, nn.Module)]
        _check_values(modules)
        kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", ())
        inner = (part for module in modules for part in module.modules())
        sharded = [part for part in inner if isinstance(part, kind)]
        _reshard(sharded)
        registry = registry_for(None if device is None else torch.device(device))
        super().__init__(roots, registry, sources=sources(), verify=verify)
        reshard = partial(_reshard, sharded, without_gradients=True)
        self._restores.insert(0, ("model", reshard))


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
