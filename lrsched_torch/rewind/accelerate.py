"""What Accelerate counts outside of models, optimizers and loaders, as an object with a state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch


class AcceleratorAdapter:
    """Gradient accumulation: how many batches have gone in, and which loader is being read.

    Args:
        owner: An Accelerator, or an optimizer that it has prepared, which knows less.
    """

    def __init__(self, owner: Any) -> None:
        self._counts = [vars(owner.gradient_state)]
        if counts_batches(owner):
            self._counts.append(vars(owner))

    def state_dict(self) -> dict[str, Any]:
        shared, *own = self._counts
        return {"shared": dict(shared), "step": [counts["step"] for counts in own]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        shared, *own = self._counts
        shared.update(state["shared"])
        for counts, step in zip(own, state["step"], strict=True):
            counts["step"] = step


def states_of(optimizers: Iterable[Any]) -> Iterator[Any]:
    """What the optimizers that Accelerate has prepared bring with them."""
    for optimizer in optimizers:
        if hasattr(optimizer, "gradient_state"):
            yield AcceleratorAdapter(optimizer)
        scaler = scaler_of(optimizer)
        if scaler is not None:
            yield scaler


def scaler_of(optimizer: Any) -> torch.amp.GradScaler | None:
    """The GradScaler of an optimizer that Accelerate has prepared, if it is enabled."""
    scaler = vars(optimizer).get("scaler")
    enabled = isinstance(scaler, torch.amp.GradScaler) and scaler.is_enabled()
    return scaler if enabled else None


def accumulated_gradients(optimizer: Any) -> Any:
    """What says whether a batch ends an update, where Accelerate accumulates gradients, or None."""
    state = vars(optimizer).get("gradient_state")
    return state if getattr(state, "num_steps", 1) > 1 else None


def begin_updates(optimizer: Any) -> None:
    """Have an optimizer that Accelerate has prepared step with each batch, until it says else.

    In the middle of an accumulation it would wait for the end of one.
    """
    state = accumulated_gradients(optimizer)
    if state is not None:
        state.sync_gradients = True


def counts_batches(part: Any) -> bool:
    """Whether something is an Accelerator."""
    return hasattr(part, "gradient_state") and isinstance(vars(part).get("step"), int)
