"""Optimizers that step during a range test but are not restored by it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from lrsched.rewind.objects import attributes_of


class UnknownOptimizers:
    """Detect optimizers that step during a range test but are not restored by it.

    Made by `range_test`, which names them at its end.

    Args:
        known: Holds the objects that are restored.
        stateful: Objects whose state dicts hold those of the optimizers inside.
    """

    def __init__(self, known: Container[Any], stateful: Iterable[Any]) -> None:
        self._known = known
        self._inside = {id(one): one for part in stateful for one in _optimizers_in(part)}
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
        """Count steps from now on for another batch."""
        self._batch += 1

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer not in self._known and id(optimizer) not in self._inside:
            count, last = self._seen.get(optimizer, (0, -1))
            self._seen[optimizer] = count + (last != self._batch), self._batch

    def restore(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()
        # One that is made anew for each batch leaves no trace.
        lasting = [optimizer for optimizer, (count, _) in self._seen.items() if count > 1]
        self._names = [f"state of the {type(one).__name__} that the loop steps" for one in lasting]
        self._known = ()  # for the copies in it

    def differences(self) -> list[str]:
        """Return names of the optimizers that have made steps and go on."""
        return self._names

    def notes(self) -> list[str]:
        """Return nothing: `differences` says all."""
        return []


def _optimizers_in(part: Any) -> Iterator[Optimizer]:
    if hasattr(part, "get_last_lr"):
        return  # a scheduler, which keeps nothing of its optimizer
    for value in attributes_of(part).values():
        entries = value.values() if isinstance(value, dict) else value
        listed = isinstance(value, (dict, list, tuple, set))
        yield from (one for one in (entries if listed else (value,)) if isinstance(one, Optimizer))
