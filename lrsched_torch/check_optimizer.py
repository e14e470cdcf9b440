"""The check that an optimizer is one: the only home of its sentence."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lrsched._validate import shown


def check_optimizer(optimizer: Any) -> None:
    """Refuse what is no optimizer, and say where one is to be had."""
    if isinstance(optimizer, Optimizer):
        return
    what, hint = shown(optimizer), ""
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        what = f"the class {optimizer.__name__}"
        hint = f" (make one of it: {optimizer.__name__}(model.parameters(), ...))"
    elif isinstance(optimizer, nn.Module):
        what = f"the model {type(optimizer).__name__}"
        hint = " (make one for it: torch.optim.SGD(model.parameters(), lr=0.1), for example)"
    elif isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        what, hint = type(optimizer).__name__, " (pass the optimizer that it holds, its .optimizer)"
    raise TypeError(f"optimizer must be a torch Optimizer, got {what}{hint}")
