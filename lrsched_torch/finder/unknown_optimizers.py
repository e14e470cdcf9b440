"""Optimizers that make steps in a range test which does not know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from lrsched_torch._kinds import CONTAINERS, attributes_of, entries_of


class UnknownOptimizers:
    """Watches the steps of all optimizers, from `watch` until `restore`.

    Args:
        known: Optimizers that may make steps.
        stateful: Objects whose state dicts hold those of the optimizers inside.
    """

    def __init__(self, known: Iterable[Optimizer], stateful: Iterable[Any]) -> None:
        inside = (optimizer for part in stateful for optimizer in _inside(part))
        self._known = {id(optimizer): optimizer for optimizer in (*known, *inside)}
        # For how many batches each has made steps, and which was the last.
        self._seen: WeakKeyDictionary[Optimizer, tuple[int, int]] = WeakKeyDictionary()
        self._batch = 0
        self._names: list[str] = []
        self._handle: Any = None

    def watch(self) -> None:
        """Begin, if it has not begun."""
        if self._handle is None:
            self._handle = register_optimizer_step_post_hook(self._after)

    def next_batch(self) -> None:
        """What steps from now on is for another batch."""
        self._batch += 1

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if id(optimizer) not in self._known:
            count, last = self._seen.get(optimizer, (0, -1))
            self._seen[optimizer] = count + (last != self._batch), self._batch

    def restore(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()
        # One that is made anew for each batch leaves no trace.
        lasting = [optimizer for optimizer, (count, _) in self._seen.items() if count > 1]
        self._names = [f"state of the {type(one).__name__} that the loop steps" for one in lasting]

    def remains(self) -> list[str]:
        """Names of the optimizers that have made steps and go on."""
        return self._names

    def notes(self) -> Iterator[str]:
        """Nothing beyond what `remains` says."""
        return iter(())


def _inside(part: Any) -> Iterator[Optimizer]:
    if hasattr(part, "get_last_lr"):
        return  # a scheduler, which keeps nothing of its optimizer
    for value in attributes_of(part).values():
        entries = entries_of(value) if isinstance(value, CONTAINERS) else (value,)
        yield from (entry for entry in entries if isinstance(entry, Optimizer))
