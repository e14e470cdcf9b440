"""Epochs of torch's DataLoaders that are under way, and workers that persist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrsched_tf.modules import is_of

# Where a loader keeps them, and what it has there when there is none.
UNDER_WAY = {"_iterator": None, "_initial_iter_for_state_dict": False}
LOADER = "utils.data.DataLoader"


def is_loader(value: Any) -> bool:
    """Whether a value is a DataLoader of torch."""
    return is_of("torch", LOADER, value)


def set_aside(loader: Any) -> Callable[[], None]:
    """Have a loader begin anew with workers of their own.

    Gives what ends those, and puts back what was under way; called again, it does nothing.
    """
    attributes = vars(loader)
    kept = {name: attributes[name] for name in UNDER_WAY if name in attributes}
    attributes.update({name: UNDER_WAY[name] for name in kept})

    def take_up() -> None:
        if not kept:
            return
        reading = attributes["_iterator"]
        attributes.update(kept)
        kept.clear()
        if reading is not attributes["_iterator"] and hasattr(reading, "_shutdown_workers"):
            # They would go on fetching ahead, and a traceback may hold on to them.
            reading._shutdown_workers()

    return take_up
