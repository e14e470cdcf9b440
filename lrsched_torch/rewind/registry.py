"""The kinds of values in a PyTorch training."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched.rewind.kinds import Child, Kind, Registry, Restore
from lrsched.rewind.objects import attributes_of
from lrsched.rewind.registry import new_registry
from lrsched.rewind.torch_values import TENSOR, capture_tensor
from lrsched_torch.rewind.modules import (
    MODULE,
    capture_tables,
    children_of_parameter,
    hooks_in,
    of_parameter,
)
from lrsched_torch.rewind.stateful import ByStateDict
from lrsched_torch.update_counter import counters_of

OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
ACCELERATOR = "accelerate:Accelerator"


def _of_optimizer(optimizer: Optimizer) -> Iterator[Child]:
    yield ".state", optimizer.state, True
    yield ".param_groups", optimizer.param_groups, True
    yield from hooks_in(optimizer, OPTIMIZER_HOOKS)


def _attributes_of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the attributes beside hooks; torch's schedulers leave marks there."""
    return {n: value for n, value in vars(optimizer).items() if not n.startswith("_optimizer_")}


def _capture_optimizer(optimizer: Optimizer) -> Restore:
    hooks = capture_tables(optimizer, OPTIMIZER_HOOKS)
    # The updates of the test are none of the schedule's.
    counts = [counter.hold() for counter in counters_of(optimizer)]

    def restore() -> None:
        hooks()
        for count in counts:
            count()

    return restore


def _of_accelerator(accelerator: Any) -> dict[str, Any]:
    """Return what gradient accumulation changes: how many batches have gone in, for one."""
    return {name: vars(accelerator)[name] for name in ("step", "gradient_state")}


@lru_cache(8)
def registry_for(device: Hashable) -> Registry:
    """Return the registry whose copies of tensors live on a device; None leaves each on its own."""
    registry = new_registry()
    tensor = replace(TENSOR, capture=partial(capture_tensor, device=device))
    registry.add(tensor, torch.Tensor)
    parameter = replace(tensor, children=children_of_parameter, attributes=of_parameter)
    registry.add(parameter, nn.Parameter)
    registry.add(MODULE, nn.Module)
    optimizer = Kind(_of_optimizer, _attributes_of_optimizer, _capture_optimizer)
    registry.add(optimizer, Optimizer)
    registry.add(Kind(capture=ByStateDict.capture), ByStateDict)
    registry.add(Kind(attributes=_of_accelerator), ACCELERATOR)
    # The state dict of a scaler leaves out what an interrupted update has left half done; that
    # adapter holds the loader that it stands for, and is none by its type.
    accelerate = ("accelerate.state:GradientState", "accelerate.data_loader:DataLoaderAdapter")
    registry.add(Kind(attributes=attributes_of), torch.amp.GradScaler, *accelerate)
    return registry
