"""What trains in a range test's loop beside the model, and is not restored."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import wraps
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel

from lrsched.rewind.objects import attributes_of
from lrsched_torch.schedulers.schedule_lr import ScheduleLR

# Methods that are wrapped while a range test runs; what they are called on has changed after it.
METHODS: dict[tuple[type, str], str] = {
    (GradScaler, "update"): "scale of the",
    (AveragedModel, "update_parameters"): "averages of the",
    (lr_scheduler.LRScheduler, "step"): "step of the",
    (lr_scheduler.CosineAnnealingWarmRestarts, "step"): "step of the",
    (lr_scheduler.ReduceLROnPlateau, "step"): "step of the",
    (lr_scheduler.SequentialLR, "step"): "step of the",
    (lr_scheduler.ChainedScheduler, "step"): "step of the",
    (ScheduleLR, "step"): "step of the",
}
# The modules that run before this batch, in the first two, are looked at.
FROM_BATCH = 3


class Bystanders:
    """Names what a loop trains beside the model, and is in neither `model` nor `stateful`.

    Made by `range_test`: optimizers that step, modules whose buffers or parameters change, and
    what is in `METHODS`.

    Args:
        known: Holds the objects that are restored.
        stateful: Objects whose state dicts hold those of what is inside.

    """

    def __init__(self, known: Container[Any], stateful: Iterable[Any]) -> None:
        self._known = known
        self._inside = {id(one): one for part in stateful for one in (part, *_parts_of(part))}
        # For how many batches each optimizer has made steps, and which was the last.
        self._steps: WeakKeyDictionary[Optimizer, tuple[int, int]] = WeakKeyDictionary()
        self._called: dict[int, tuple[str, Any]] = {}
        self._modules: dict[int, tuple[nn.Module, list[tuple[Tensor, int]]]] = {}
        self._names: list[str] = []
        self._ends: list[Callable[[], object]] = []
        self._depth = 0
        self._batch = 0
        self._on_scaler: Callable[[], object] = lambda: None

    def watch(self, on_scaler: Callable[[], object]) -> None:
        """Begin, if it has not begun.

        Args:
            on_scaler: Called where a GradScaler is updated with the first batch.
        """
        self._on_scaler = on_scaler
        if not self._ends:
            self._ends.append(register_optimizer_step_post_hook(self._after_step).remove)
            self._forward = register_module_forward_pre_hook(self._before_forward)
            self._ends.append(self._forward.remove)
            self._ends += [self._wrap(owner, name, text) for (owner, name), text in METHODS.items()]

    def next_batch(self) -> None:
        """Hear that another batch is handed out."""
        self._batch += 1
        if self._batch == FROM_BATCH:
            self._forward.remove()

    def _is_restored(self, part: Any) -> bool:
        return part in self._known or id(part) in self._inside

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        count, last = self._steps.get(optimizer, (0, -1))
        self._steps[optimizer] = count + (last != self._batch), self._batch

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if id(module) in self._modules or self._is_restored(module):
            return
        for part in module.modules():  # these run within it
            self._modules.setdefault(id(part), (part, []))
        versions = [
            (tensor, tensor._version)
            for tensor in chain(module.parameters(), module.buffers())
            if tensor not in self._known and not tensor.is_inference()
        ]
        self._modules[id(module)] = module, versions

    def _wrap(self, owner: type, name: str, text: str) -> Callable[[], object]:
        """Wrap a method of a class; returns what undoes it."""
        method = vars(owner).get(name)
        if method is None:
            return lambda: None

        @wraps(method)
        def called(part: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._depth and not self._is_restored(part):
                self._hear(part, text)
            self._depth += 1
            try:
                return method(part, *args, **kwargs)
            finally:
                self._depth -= 1

        setattr(owner, name, called)
        return lambda: setattr(owner, name, method)

    def _hear(self, part: Any, text: str) -> None:
        if isinstance(part, GradScaler):
            if not part.is_enabled():
                return
            if self._batch == 1:
                self._on_scaler()
        self._called[id(part)] = text, part

    def others_step(self, optimizer: Optimizer) -> bool:
        """Return whether any other optimizer has made steps."""
        return any(one is not optimizer for one in self._steps)

    def restore(self) -> None:
        """Stop watching."""
        for end in self._ends:
            end()
        self._names = [*self._changes()]
        # For the copies in them.
        self._known, self._inside, self._on_scaler = (), {}, lambda: None
        self._called, self._modules, self._ends = {}, {}, []

    def _changes(self) -> Iterator[str]:
        for optimizer, (count, _) in self._steps.items():
            # One that is made anew for each batch leaves no trace.
            if count > 1 and not self._is_restored(optimizer):
                yield f"state of the {type(optimizer).__name__} that the loop steps"
        averaged = [part for _, part in self._called.values() if isinstance(part, nn.Module)]
        for text, part in self._called.values():
            yield f"{text} {type(part).__name__} that the loop uses"
        for module, versions in self._modules.values():
            changed = [tensor for tensor, version in versions if tensor._version != version]
            if changed and not any(module is part for part in averaged):
                trained = any(isinstance(tensor, nn.Parameter) for tensor in changed)
                kind = "parameters" if trained else "buffers"
                yield f"{kind} of the {type(module).__name__} that the loop uses"

    def differences(self) -> list[str]:
        """Return names of what has changed and goes on."""
        return self._names

    def notes(self) -> list[str]:
        """Return nothing: `differences` says all."""
        return []


def _parts_of(part: Any) -> Iterator[Any]:
    """Return what an object holds; of a scheduler, not its optimizer, of which it keeps nothing."""
    is_scheduler = hasattr(part, "get_last_lr")
    for value in attributes_of(part).values():
        entries = value.values() if isinstance(value, dict) else value
        listed = isinstance(value, (dict, list, tuple, set))
        for one in entries if listed else (value,):
            if not (is_scheduler and isinstance(one, Optimizer)):
                yield one
