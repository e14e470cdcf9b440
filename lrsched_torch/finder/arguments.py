"""Arguments of the range tests, checked before anything begins."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched._validate import check_type, shown
from lrsched_torch.check_optimizer import check_optimizer
from lrsched_torch.finder.batches import Batches

GROUPS = ("ratio", "equal")
# Of what could not be restored.
REMEDY = " (pass what keeps it in stateful=[...] if that has a state dict, else make it anew)"


def validation_batches(loader: Iterable[Any], verify: bool) -> Batches:
    """Return the batches of a validation loader, which is read after every update."""
    if isinstance(loader, Iterator):
        raise TypeError(
            f"val_loader must be an iterable that can be read again and again, got {shown(loader)} "
            "(a list of what it gives, for example)"
        )
    return Batches(loader, "val_loader", verify)


def check_step(optimizer: Optimizer) -> None:
    """Refuse an optimizer whose step evaluates a closure: it needs a loop of its own."""
    kind: Any = type(optimizer)
    if _needs_closure(kind):
        raise TypeError(
            "optimizer must make a step without a closure, "
            f"got {kind.__name__} (use range_test around a loop of your own)"
        )


@lru_cache
def _needs_closure(kind: type[Optimizer]) -> bool:
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def checked_place(model: nn.Module, optimizer: Optimizer, device: Any) -> torch.device:
    """Return the device to train on, if model and optimizer belong together."""
    given: Any = model
    if isinstance(given, Optimizer):
        kind = type(given).__name__
        raise TypeError(f"model must be a Module, got {kind} (model comes first, then optimizer)")
    check_type("model", model, nn.Module)
    check_optimizer(optimizer)
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    if not parameters:
        raise ValueError(
            f"model must have parameters to train, got {type(model).__name__} without any "
            "(pass the module that holds them)"
        )
    owned = (id(p) for group in optimizer.param_groups for p in group["params"])
    if parameters.keys().isdisjoint(owned):
        raise ValueError(
            "optimizer must hold parameters of model, got none of them "
            "(was the model rebuilt after the optimizer was made?)"
        )
    place = next(iter(parameters.values())).device
    asked = _device("device", device) or place
    if (asked.type, asked.index or 0) != (place.type, place.index or 0):
        raise ValueError(
            f"device must be that of the model, {place}, got {asked} "
            "(move the model before its optimizer is made)"
        )
    return place


def _device(name: str, device: Any) -> torch.device | None:
    """Return a device by its name or number, as torch has it."""
    if device is None:
        return None
    if not isinstance(device, (str, int, torch.device)):
        raise TypeError(f"{name} must be a device such as 'cpu' or 'cuda:0', got {shown(device)}")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"{name} must be a device such as 'cpu' or 'cuda:0', got {shown(device)}"
        ) from error


def checked_device(name: str, device: Any) -> Any:
    """Return the device as it was given, if it is there."""
    try:
        torch.empty(0, device=_device(name, device))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be a device of this machine, got {shown(device)} ({str(error).strip()})"
        ) from error
    if device is not None and torch.device(device).type == "meta":
        raise ValueError(f"{name} must be one that keeps values, got {shown(device)}")
    return device


def listed(stateful: Iterable[Any]) -> tuple[Any, ...]:
    """Return the stateful objects, in a list and not one alone."""
    if isinstance(stateful, Iterable) and not hasattr(stateful, "state_dict"):
        return tuple(stateful)
    raise TypeError(
        "stateful must be a list of objects with a state dict, "
        f"got {type(stateful).__name__} (pass stateful=[...])"
    )


def enabled_scaler(stateful: Iterable[Any]) -> torch.amp.GradScaler | None:
    """Return the enabled GradScaler among some objects."""
    scalers = (part for part in stateful if isinstance(part, torch.amp.GradScaler))
    return next((scaler for scaler in scalers if scaler.is_enabled()), None)


def with_scaler(
    stateful: tuple[Any, ...], amp: Any, place: torch.device
) -> tuple[tuple[Any, ...], torch.amp.GradScaler | None]:
    """Return the stateful objects and the GradScaler in them; float16 gets one if it has none."""
    if amp not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"amp must be torch.bfloat16, torch.float16 or None, got {shown(amp)}")
    scaler = enabled_scaler(stateful)
    if amp is torch.float16 and scaler is None:
        scaler = torch.amp.GradScaler(place.type)
        stateful += (scaler,)
    return stateful, scaler
