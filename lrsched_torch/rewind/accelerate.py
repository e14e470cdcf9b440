"""What Accelerate counts outside of models, optimizers and loaders."""

from __future__ import annotations

from typing import Any

import torch

from lrsched.rewind.kinds import Kind, Registry
from lrsched.rewind.objects import attributes_of

ACCELERATOR = "accelerate:Accelerator"


def _counts(accelerator: Any) -> dict[str, Any]:
    """Return what gradient accumulation changes: how many batches have gone in, for one."""
    return {name: vars(accelerator)[name] for name in ("step", "gradient_state")}


def add_to(registry: Registry) -> None:
    """Add the kinds of Accelerate, for when it is there."""
    registry.add(Kind(attributes=_counts), ACCELERATOR)
    registry.add(Kind(attributes=attributes_of), "accelerate.state:GradientState")
    # Holds the loader that it stands for, and is none by its type.
    loader = Kind(attributes=attributes_of, draws=True)
    registry.add(loader, "accelerate.data_loader:DataLoaderAdapter")


def scaler_of(optimizer: Any) -> torch.amp.GradScaler | None:
    """Return the GradScaler of an optimizer that Accelerate has prepared, if it is enabled."""
    scaler = vars(optimizer).get("scaler")
    enabled = isinstance(scaler, torch.amp.GradScaler) and scaler.is_enabled()
    return scaler if enabled else None


def accumulated_gradients(optimizer: Any) -> Any:
    """Return what says whether a batch ends an update, if Accelerate accumulates gradients."""
    state = vars(optimizer).get("gradient_state")
    return state if getattr(state, "num_steps", 1) > 1 else None


def begin_updates(optimizer: Any) -> None:
    """Have an optimizer that Accelerate has prepared step with each batch, until it says else.

    In the middle of an accumulation it would wait for the end of one.
    """
    state = accumulated_gradients(optimizer)
    if state is not None:
        state.sync_gradients = True
