"""Everything that a short training changes, put back in place."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lrsched._names import methods_of
from lrsched_torch import _attributes
from lrsched_torch._accelerate import AcceleratorAdapter, counts_batches, states_of
from lrsched_torch._batches import StatefulLoaderAdapter
from lrsched_torch._hold import Keeper
from lrsched_torch._kinds import attributes_of
from lrsched_torch._modes import Modes
from lrsched_torch._orders import Parts, is_function, is_iterator
from lrsched_torch._random_states import RandomStates
from lrsched_torch.fingerprint import Fingerprint, differences, fingerprint
from lrsched_torch.update_counter import counters_of

# Modules and those inside of them, with their names.
Named = list[tuple[str, nn.Module]]


class Snapshot:
    """State of a model, its optimizer and the random number generators, at construction.

    Held: parameters, all buffers (also those not in the state dict), gradients (None stays
    None), `requires_grad`, the train/eval mode of every submodule, the settings of torch's own
    layers, the attributes of your own modules and of the optimizer, the state and hyper-parameters
    of the optimizer and of those that it wraps, what our schedulers have counted, and the
    generators of `random`, NumPy, torch and every CUDA device.

    Args:
        model: The model.
        optimizer: Its optimizer.
        stateful: What else the training changes: further modules and optimizers, a GradScaler,
            schedulers, an EMA, a StatefulDataLoader: anything with a state dict; and an
            Accelerator.
        device: Where the copies live, as `torch.device` takes it; None leaves each where it is.
        verify: Compare a hash of everything after the restoring with one taken now.
        functions: What the loss comes from, by name, or None; modules in them are held as those in
            `stateful` are, and so are the attributes of other objects.

    Attributes:
        optimizers: Those that are held.
        others: What is held by its state dict.

    Raises:
        TypeError: something in `stateful` has no `state_dict` and `load_state_dict`.
        ValueError: a parameter has no values yet, or `device` keeps none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        stateful: Iterable[Any] = (),
        device: Any = None,
        verify: bool = True,
        functions: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        # The first, since a state dict may draw from them.
        self._random_states = RandomStates()
        self._modes = Modes()
        given = (model, optimizer, *stateful)
        modules = [part for part in given if isinstance(part, nn.Module)]
        self.optimizers = list(
            _attributes.with_inner(part for part in given if isinstance(part, Optimizer))
        )
        named = _walked(modules)
        found = {**functions, **_functions_in(named, self.optimizers)}
        self._functions = [
            Parts(function, name, apart=(nn.Module,))
            for name, function in found.items()
            if function is not None
        ]
        self._modules = _with_those_of(modules, self._functions)
        named += _walked(self._modules[len(modules) :])
        rest = [part for part in given if not isinstance(part, (nn.Module, Optimizer))]
        keep = Keeper(_checked_device(device))
        self.others = [_checked(part) for part in rest]
        self.others += states_of(self.optimizers)
        _check_values(named)
        self._own = [(n, part) for n, part in named if _attributes.has_own_attributes(part)]
        self._sharded = _sharded_in(named)
        _reshard(self._sharded)
        self._before = self._fingerprint(self._random_states) if verify else None
        # the first, since loading a scheduler writes the lr
        for part in self.others:
            _hold_stateful(part, keep)
        _hold_modules(named, keep)
        for part in self.optimizers:
            _hold_optimizer(part, keep)
        for function in self._functions:
            keep.add(function.restore)
        self._keep, self._failed = keep, list[str]()

    def restore(self, *, random: bool = True) -> None:
        """Put everything back; may be called again.

        Args:
            random: The random number generators too; False lets them go on from where they are.
        """
        self._modes.restore()
        with torch.no_grad():
            _reshard(self._sharded, without_gradients=True)
            try:
                self._failed = self._keep.restore()
            finally:
                if random:
                    self._random_states.restore()

    def remains(self) -> list[str]:
        """Names of what differs from the state at construction, as far as hashes tell."""
        left = [] if self._before is None else differences(self._before, self._fingerprint())
        return [*self._failed, *(n for part in self._functions for n in part.failed), *left]

    def partly_checked(self) -> list[str]:
        """Names of what was too large to be put back and hashed whole."""
        return [] if self._before is None else [*self._before.partly]

    def notes(self) -> Iterator[str]:
        """What the reader of a curve should know."""
        for name, part in self._own:
            for key, value in _attributes.of_module(part).items():
                if is_iterator(value):
                    path = f"{name}{'.' if name else ''}{key}"
                    yield f"Attribute {path} is an iterator: what was read from it is gone."

    def _fingerprint(self, random_states: RandomStates | None = None) -> Fingerprint:
        return fingerprint(
            *(self._modules, self.optimizers, self.others, random_states, self._functions)
        )


def _checked_device(device: Any) -> torch.device | None:
    place = None if device is None else torch.device(device)
    if place is not None and place.type == "meta":
        raise ValueError(f"snapshot_device must be one that keeps values, got {device!r}")
    return place


def _checked(part: Any) -> Any:
    if counts_batches(part):
        return AcceleratorAdapter(part)
    if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
        raise TypeError(
            "stateful must hold objects with state_dict and load_state_dict, "
            f"got {type(part).__name__}"
        )
    return StatefulLoaderAdapter(part) if isinstance(part, DataLoader) else part


def _walked(modules: Iterable[nn.Module]) -> Named:
    return [entry for module in modules for entry in module.named_modules()]


def _check_values(named: Named) -> None:
    for path, part in named:
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None and (tensor.is_meta or nn.parameter.is_lazy(tensor)):
                raise ValueError(
                    "model must have values in its parameters, got none in "
                    f"{path}{'.' if path else ''}{name} "
                    "(a lazy module gets them from its first batch)"
                )


def _functions_in(named: Named, optimizers: Iterable[Optimizer]) -> dict[str, dict[int, Any]]:
    """What runs in a step and may lead to something that changes: each function once, by its id."""
    parts = [part for _, part in named]
    own = [part for part in parts if _attributes.has_own_attributes(part)]
    kept = [value for part in own for value in _attributes.of_module(part).values()]
    methods = [method for kind in {*map(type, own)} for method in methods_of(kind)]
    hooked: list[nn.Module | Optimizer] = [*parts, *optimizers]
    hooks = [hook for part in hooked for hook in _attributes.free_hooks_of(part)]
    found = {"functions of the model": [*filter(is_function, kept), *methods], "hooks": hooks}
    return {name: {id(v): v for v in values} for name, values in found.items() if values}


def _with_those_of(modules: Iterable[nn.Module], functions: Iterable[Parts]) -> list[nn.Module]:
    """Modules, and those that functions lead to and that are not inside of the others."""
    found = [*modules]
    for module in (part for function in functions for part in function.found_apart):
        if not any(module is part for other in found for part in other.modules()):
            found.append(module)
    return found


def _hold_stateful(part: Any, keep: Keeper) -> None:
    if isinstance(part, torch.amp.GradScaler):
        # Its state dict leaves out what an interrupted update has left half done.
        keep.hold(vars(part))
        return
    state = copy.deepcopy(part.state_dict())
    keep.add(lambda: part.load_state_dict(copy.deepcopy(state)))


def _hold_modules(named: Named, keep: Keeper) -> None:
    for name, part in named:
        if isinstance(part, torch.jit.ScriptModule):
            # Its tables cannot be written to.
            keep.hold((*part.parameters(False), *part.buffers(False)))
        else:
            keep.hold_entries(part._modules, part._non_persistent_buffers_set)
            keep.hold(part._parameters)
            keep.hold(part._buffers)
            added = [*map(_attributes.of_parameter, part._parameters.values())]
            keep.hold_entries(*added)
            for attributes in filter(None, added):
                keep.hold_state(attributes)
        keep.add(partial(_set_mode, part, part.training))
        label = f"attribute {name}{'.' if name else ''}{{}}"
        keep.hold_attributes(part, _attributes.of_module, keep.hold_state, label)
        _hold_hooks(part, keep, f"hooks of {name or 'the model'}")


def _set_mode(module: nn.Module, training: bool) -> None:
    if module.training is not training:
        # not module.train(): that would set the submodules too
        module.training = training


def _hold_optimizer(optimizer: Optimizer, keep: Keeper) -> None:
    keep.hold(optimizer.state)
    keep.hold(optimizer.param_groups)
    # torch's schedulers leave marks on it
    label = "attribute {} of the optimizer"
    keep.hold_attributes(optimizer, _attributes.of_optimizer, keep.hold_state, label)
    _hold_hooks(optimizer, keep, "hooks of the optimizer")
    for counter in counters_of(optimizer):
        # the updates of the test are none of the schedule's
        keep.add(counter.hold())


def _hold_hooks(part: nn.Module | Optimizer, keep: Keeper, name: str) -> None:
    tables = _attributes.hooks_of(part)
    keep.hold_entries(*tables)
    for hooks in filter(None, tables):
        for owner in _attributes.owners_of(hooks.values()):
            keep.hold_attributes(owner, attributes_of, keep.hold_state, name)


def _sharded_in(named: Named) -> list[Any]:
    """The modules that fully_shard has sharded."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", ())
    return [part for _, part in named if isinstance(part, kind)]


def _reshard(sharded: Iterable[Any], *, without_gradients: bool = False) -> None:
    """Have fully_shard hold shards, where a forward pass alone has left whole parameters.

    A step that an exception has ended leaves more behind, which the root of the model resets.
    """
    for part in sharded:
        for parameter in part.parameters() if without_gradients else ():
            # What an interrupted step has left in whole ones would be added to.
            parameter.grad = None
        part.reshard()
        # New in torch 2.13; refused by every part but the root.
        with suppress(AttributeError, RuntimeError):
            part.reset_iter_state()
