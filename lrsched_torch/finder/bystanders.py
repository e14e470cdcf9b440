"""What trains in a range test's loop beside the model, and is not restored."""

from __future__ import annotations

import warnings
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
from lrsched.rewind.restore_on_exit import Restorable
from lrsched_torch.schedulers.schedule_lr import ScheduleLR

# Methods that are wrapped while a range test runs; what they are called on has changed after it.
METHODS: dict[tuple[type, str], str] = {
    (GradScaler, "update"): "scale",
    (AveragedModel, "update_parameters"): "averages",
    (lr_scheduler.LRScheduler, "step"): "step",
    (lr_scheduler.CosineAnnealingWarmRestarts, "step"): "step",
    (lr_scheduler.ReduceLROnPlateau, "step"): "step",
    (lr_scheduler.SequentialLR, "step"): "step",
    (lr_scheduler.ChainedScheduler, "step"): "step",
    (ScheduleLR, "step"): "step",
}
# The modules that run before this batch, in the first two, are looked at.
FROM_BATCH = 3

# Those that watch now, and what takes the wrappers off again.
_watching: list[Bystanders] = []
_unwrap: list[Callable[[], object]] = []


class Bystanders(Restorable):
    """Names what a loop trains beside the model and `stateful`; made by `range_test`.

    Optimizers that step, modules whose buffers or parameters change, and what is in `METHODS`.

    Args:
        optimizer: That of the range test.
        known: Holds the objects that are restored.
        stateful: Objects whose state dicts hold those of what is inside.

    Attributes:
        others_step: Any other optimizer has made a step.
        has_gradients: An optimizer has made a step with a gradient.
    """

    def __init__(
        self, optimizer: Optimizer, known: Container[Any], stateful: Iterable[Any]
    ) -> None:
        self._optimizer, self._known = optimizer, known
        self._inside = {id(one) for part in stateful for one in (part, *_parts_of(part))}
        # For how many batches each optimizer has made steps, and which was the last.
        self._steps: WeakKeyDictionary[Optimizer, tuple[int, int]] = WeakKeyDictionary()
        self._called: dict[int, tuple[str, Any]] = {}
        # Modules, their tensors that are not restored, and the versions of these; None within one.
        self._modules: dict[int, tuple[nn.Module, list[Tensor], set[Any] | None]] = {}
        self._names: list[str] = []
        self._ends: list[Callable[[], object]] = []
        self._batch = 0
        self._on_scaler: Callable[[], object] = lambda: None
        self.others_step = self.has_gradients = False

    def watch(self, on_scaler: Callable[[], object]) -> None:
        """Begin, if it has not; `on_scaler` is for a GradScaler updated with the first batch."""
        self._on_scaler = on_scaler
        if self._ends:
            return
        self._forward = _hook_forward(self._before_forward)
        steps = register_optimizer_step_post_hook(self._after_step)
        self._ends = [steps.remove, self._forward]
        if not _watching:
            _unwrap.extend(_wrap(*method, text) for method, text in METHODS.items())
        _watching.append(self)

    def next_batch(self) -> None:
        """Hear that another batch is handed out."""
        self._batch += 1
        if self._batch == FROM_BATCH:
            self._forward()

    def _is_restored(self, part: Any) -> bool:
        return part in self._known or id(part) in self._inside

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        count, last = self._steps.get(optimizer, (0, -1))
        self._steps[optimizer] = count + (last != self._batch), self._batch
        self.others_step |= optimizer is not self._optimizer
        self.has_gradients = self.has_gradients or any(
            parameter.grad is not None
            for group in optimizer.param_groups
            for parameter in group["params"]
        )

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if id(module) in self._modules or self._is_restored(module):
            return
        for part in module.modules():  # these run within it
            self._modules.setdefault(id(part), (part, [], None))
        tensors = self._tensors_of(module)
        self._modules[id(module)] = module, tensors, set(map(_version, tensors))

    def _tensors_of(self, module: nn.Module) -> list[Tensor]:
        """Return the parameters and buffers of a module that are not restored."""
        tensors = chain(module.parameters(), module.buffers())
        return [tensor for tensor in tensors if tensor not in self._known]

    def hear(self, part: Any, text: str) -> None:
        """Hear that a method of `METHODS` is called; the text says what that changes."""
        is_scaler = isinstance(part, GradScaler)
        if self._is_restored(part) or (is_scaler and not part.is_enabled()):
            return
        if is_scaler and self._batch == 1:
            self._on_scaler()
        self._called[id(part)] = text, part

    def restore(self) -> None:
        """Stop watching."""
        for end in self._ends:
            end()
        if self in _watching:
            _watching.remove(self)
        while _unwrap and not _watching:
            _unwrap.pop()()
        self._names = [*self._changes()]
        # For the copies in them.
        self._known, self._inside, self._on_scaler = (), set(), lambda: None
        self._called, self._modules, self._ends = {}, {}, []

    def _changes(self) -> Iterator[str]:
        for optimizer, (count, _) in self._steps.items():
            # One that is made anew for each batch leaves no trace.
            if count > 1 and not self._is_restored(optimizer):
                yield f"state of the {type(optimizer).__name__} that the loop steps"
        called = [part for _, part in self._called.values()]
        inner = {id(one) for part in called for one in _parts_of(part)}
        for text, part in self._called.values():
            if id(part) not in inner:
                yield f"{text} of the {type(part).__name__} that the loop uses"
        for module, _, versions in self._modules.values():
            if versions is None or any(module is part for part in called):
                continue
            changed = [t for t in self._tensors_of(module) if _version(t) not in versions]
            if changed:
                trained = any(isinstance(tensor, nn.Parameter) for tensor in changed)
                kind = "parameters" if trained else "buffers"
                yield f"{kind} of the {type(module).__name__} that the loop uses"

    def differences(self) -> list[str]:
        """Return names of what has changed and goes on."""
        return self._names


def _hook_forward(hook: Callable[[nn.Module, Any], None]) -> Callable[[], object]:
    """Have a function called before each module; returns what ends that."""
    handle = register_module_forward_pre_hook(hook)
    # Called once more for a compiled module, which does no harm.
    warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global")
    quiet = warnings.filters[0]

    def remove() -> None:
        handle.remove()
        if quiet in warnings.filters:
            warnings.filters.remove(quiet)  # type: ignore[attr-defined]

    return remove


def _wrap(owner: type, name: str, text: str) -> Callable[[], object]:
    """Have those that watch hear of the calls of a method; returns what undoes it."""
    method = vars(owner)[name]

    @wraps(method)
    def called(part: Any, *args: Any, **kwargs: Any) -> Any:
        for one in _watching:
            one.hear(part, text)
        return method(part, *args, **kwargs)

    setattr(owner, name, called)
    return lambda: setattr(owner, name, method)


def _version(tensor: Tensor) -> tuple[int, int]:
    """Return which tensor it is, and how often it has been written to."""
    return id(tensor), 0 if tensor.is_inference() else tensor._version


def _parts_of(part: Any) -> Iterator[Any]:
    """Return what an object holds; of a scheduler, not its optimizer, of which it keeps nothing."""
    is_scheduler = hasattr(part, "get_last_lr")
    for value in attributes_of(part).values():
        entries = value.values() if isinstance(value, dict) else value
        listed = isinstance(value, (dict, list, tuple, set))
        for one in entries if listed else (value,):
            if not (is_scheduler and isinstance(one, Optimizer)):
                yield one
