"""The kinds of values in a PyTorch training."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched.rewind.kinds import Kind, Registry
from lrsched.rewind.objects import attributes_of
from lrsched.rewind.registry import new_registry
from lrsched.rewind.torch_values import TENSOR, capture_tensor
from lrsched_torch.rewind import accelerate
from lrsched_torch.rewind.modules import MODULE, children_of_parameter, of_parameter
from lrsched_torch.rewind.optimizers import OPTIMIZER
from lrsched_torch.rewind.stateful import BY_STATE_DICT, ByStateDict


@lru_cache(8)
def registry_for(device: Hashable) -> Registry:
    """Return the registry whose copies of tensors live on a device; None leaves each on its own."""
    registry, capture = new_registry(), partial(capture_tensor, device=device)
    tensor = replace(TENSOR, capture=capture)
    registry.add(tensor, torch.Tensor)
    parameter = replace(tensor, children=children_of_parameter, attributes=of_parameter)
    registry.add(parameter, nn.Parameter)
    registry.add(MODULE, nn.Module)
    registry.add(OPTIMIZER, Optimizer)
    registry.add(BY_STATE_DICT, ByStateDict)
    # Its state dict leaves out what an interrupted update has left half done.
    registry.add(Kind(attributes=attributes_of), torch.amp.GradScaler)
    accelerate.add_to(registry)
    return registry
