"""The kinds of values in a PyTorch training."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched.rewind.kinds import Child, Kind, Registry, Restore
from lrsched.rewind.objects import attributes_of
from lrsched.rewind.registry import new_registry
from lrsched.rewind.torch_values import TENSOR, capture_tensor
from lrsched_torch.rewind import modules
from lrsched_torch.rewind.stateful import ByStateDict
from lrsched_torch.update_counter import counters_of

OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
ACCELERATOR = "accelerate:Accelerator"


def _of_optimizer(optimizer: Optimizer) -> Iterator[Child]:
    yield ".state", optimizer.state, True
    yield ".param_groups", optimizer.param_groups, True
    yield from modules.hooks_in(optimizer, OPTIMIZER_HOOKS)


def _capture_optimizer(optimizer: Optimizer) -> Restore:
    hooks = modules.capture_tables(optimizer, OPTIMIZER_HOOKS)
    # The updates of the test are none of the schedule's.
    counts = [counter.hold() for counter in counters_of(optimizer)]

    def restore() -> None:
        hooks()
        for count in counts:
            count()

    return restore


@lru_cache(8)
def registry_for(device: Hashable) -> Registry:
    """Return the registry whose copies of tensors live on a device; None leaves each on its own."""
    registry = new_registry()
    tensor = replace(TENSOR, capture=partial(capture_tensor, device=device))
    registry.add(tensor, torch.Tensor)
    children, attributes = modules.children_of_parameter, modules.of_parameter
    registry.add(replace(tensor, children=children, attributes=attributes), nn.Parameter)
    registry.add(modules.MODULE, nn.Module)
    optimizer = Kind(
        _of_optimizer,
        # Beside hooks; torch's schedulers leave marks there.
        lambda o: {n: v for n, v in vars(o).items() if not n.startswith("_optimizer_")},
        _capture_optimizer,
    )
    registry.add(optimizer, Optimizer)
    registry.add(Kind(capture=ByStateDict.capture), ByStateDict)
    # What gradient accumulation changes: how many batches have gone in, for one.
    counts = ("step", "gradient_state")
    registry.add(Kind(attributes=lambda a: {n: vars(a)[n] for n in counts}), ACCELERATOR)
    # The state dict of a scaler leaves out what an interrupted update has left half done; that
    # adapter holds the loader that it stands for, and is none by its type.
    accelerate = ("accelerate.state:GradientState", "accelerate.data_loader:DataLoaderAdapter")
    registry.add(Kind(attributes=attributes_of), torch.amp.GradScaler, *accelerate)
    return registry
