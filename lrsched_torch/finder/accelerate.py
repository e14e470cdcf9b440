"""What Accelerate says of the updates of an optimizer that it has prepared."""

from __future__ import annotations

from typing import Any

import torch


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
