"""Count of the updates that an optimizer really makes, through its public hooks."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer

# `made` after one or more updates in compiled code; unlike 1, it sends `step` the slow path.
COMPILED = -1
CAN_CAPTURE: bool = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]

# Number that autograd gives to the next node of this thread's graphs: it grows with every forward
# pass whose result can be differentiated, and with nothing else.
forward_passes = getattr(torch.autograd, "_get_sequence_nr", lambda: 0)


class UpdateCounter:
    """Counts the updates that an optimizer makes between two calls of `take`.

    Every scheduler makes one when it is built or copied, and a range test one for its sweep; the
    hooks of the optimizer call it.

    Attributes:
        made: Updates since the last `take`, or COMPILED.
        seen: The optimizer has been stepped at some time.
        hooked: The optimizer lets its updates be counted.
        compiled: An update ran inside `torch.compile`.
        captured: An update was captured in a CUDA graph; its replays run no Python, so they
            cannot be counted.
        passes: `forward_passes()` at the last update.
        rewound: A range test has restored the parameters.
        width: Number of parameter groups that the scheduler knows.
        momenta: The momentum of each group from before any scheduler drove it, for range tests;
            None for one that this scheduler leaves alone.
    """

    def __init__(self) -> None:
        self.momenta: list[float | None] = []
        self.made = self.width = self.passes = self._depth = 0
        self.seen = self.compiled = self.captured = self.hooked = self.rewound = False
        # Verdicts of GradScaler that nobody has waited for yet; true ones are skipped updates.
        self._skips: list[torch.Tensor] = []
        self._handles: list[Any] = []

    def attach(self, optimizer: Optimizer, on_new_group: Callable[[], None] | None = None) -> None:
        """Start to count; the method `on_new_group` runs before the first update of new groups."""
        targets = _with_hooks(optimizer)
        self.hooked = bool(targets)
        for target in targets:
            if len(targets) > 1:
                self._handles.append(target.register_step_pre_hook(self._before))
            after = self._after if len(targets) == 1 else self._after_inner
            self._handles.append(target.register_step_post_hook(after))
        if on_new_group is not None and targets:
            self._watch_groups(targets[0], weakref.WeakMethod(on_new_group))

    def _watch_groups(self, target: Any, adopt: weakref.WeakMethod[Callable[[], None]]) -> None:
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if torch.compiler.is_compiling() or len(optimizer.param_groups) == self.width:
                return
            method = adopt()
            if method is not None:
                method()

        self._handles.append(target.register_step_pre_hook(before))

    def watch_loading(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer, Any], None],
        after: Callable[[Optimizer], None],
    ) -> None:
        """Call these around `optimizer.load_state_dict`, which replaces the groups."""
        for target in _with_hooks(optimizer):
            # Wrappers that do not call Optimizer.__init__ may have hooks around step alone.
            if hasattr(target, "_optimizer_load_state_dict_pre_hooks"):
                self._handles.append(target.register_load_state_dict_pre_hook(before))
                self._handles.append(target.register_load_state_dict_post_hook(after))
                return

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.seen = True
        if torch.compiler.is_compiling():
            # Constants only: reading a count would make it a guard, and each update a recompile.
            self.made = COMPILED
            self.compiled = True
            return
        # A fused optimizer is always stepped by GradScaler, with the verdict as an attribute.
        skip = getattr(optimizer, "found_inf", None)
        if skip is not None:
            self._skips.append(skip)
        elif CAN_CAPTURE and torch.cuda.is_current_stream_capturing():
            self.captured = True
        else:
            self.passes = forward_passes()
            self.made = self.made + 1 if self.made != COMPILED else 2

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_compiling():
            self._depth += 1

    def _after_inner(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count an update of an optimizer within another only where that does not count it."""
        if not torch.compiler.is_compiling():
            self._depth -= 1
        if self._depth <= 0:
            self._after(optimizer, args, kwargs)

    def pending(self) -> int:
        """Return the number of updates since the last `take`."""
        made = 1 if self.made == COMPILED else self.made
        self.made = made + sum(not skip.item() for skip in self._skips)
        self._skips.clear()
        return self.made

    def take(self) -> int:
        """Return the number of updates since the last call."""
        made = self.pending()
        # The depth too, since a step that has raised has not ended.
        self.made = self._depth = 0
        return made

    def hold(self) -> Callable[[], None]:
        """Return a function that restores the counts of now."""
        counts = {"made": self.pending(), "seen": self.seen}
        counts |= {"compiled": self.compiled, "captured": self.captured}

        def restore() -> None:
            self._skips.clear()
            self.__dict__.update(counts, rewound=True)

        return restore

    def detach(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def counters_of(optimizer: Optimizer) -> Iterator[UpdateCounter]:
    """Return the counters of all schedulers that drive an optimizer."""
    for target in _with_hooks(optimizer)[:1]:
        for hook in target._optimizer_step_post_hooks.values():
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, UpdateCounter):
                yield owner


def _with_hooks(optimizer: Optimizer) -> list[Any]:
    """Return the optimizers with step hooks among one and those in it, the outer ones first."""
    found, parameters = [optimizer], _parameters_of(optimizer)
    for outer in found:
        for value in vars(outer).values():
            inner = [one for one in _listed(value) if isinstance(one, Optimizer)]
            found += [
                one
                for one in inner
                if not any(one is other for other in found) and parameters & _parameters_of(one)
            ]
    return [one for one in found if hasattr(one, "_optimizer_step_post_hooks")]


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


def _parameters_of(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def calls_per_update() -> int:
    """Return how often a scheduler is stepped for an update: in Accelerate, once a process."""
    state = sys.modules.get("accelerate.state")
    return 1 if state is None else int(state.PartialState._shared_state.get("num_processes", 1))
