"""Everything that a short training changes, put back in place."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lrsched_torch import _attributes
from lrsched_torch._accelerate import Accumulation, counts_batches, states_of
from lrsched_torch._batches import LoaderState
from lrsched_torch._hold import Keeper, Restore, hold_attributes, hold_entries
from lrsched_torch._modes import Modes
from lrsched_torch._random_states import RandomStates
from lrsched_torch._updates import counters_of
from lrsched_torch.fingerprint import Fingerprint, differences, fingerprint


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
    ) -> None:
        # The first, since a state dict may draw from them.
        self._random_states = RandomStates()
        self._modes = Modes()
        parts = (model, optimizer, *stateful)
        self._modules = [part for part in parts if isinstance(part, nn.Module)]
        self._optimizers = list(
            _attributes.with_inner(part for part in parts if isinstance(part, Optimizer))
        )
        rest = [part for part in parts if not isinstance(part, (nn.Module, Optimizer))]
        keep = Keeper(_checked_device(device))
        self._others = [_checked(part) for part in rest]
        self._others += states_of(self._optimizers)
        _check_values(self._modules)
        for module in self._modules:
            _reshard(module)
        self._before = self._fingerprint(self._random_states) if verify else None
        self._restores = [
            # the first, since loading a scheduler writes the lr
            *(_hold_stateful(part, keep) for part in self._others),
            *(restore for module in self._modules for restore in _hold_module(module, keep)),
            *(restore for part in self._optimizers for restore in _hold_optimizer(part, keep)),
            *(_hold_gradient(p, keep) for p in _parameters(self._modules, self._optimizers)),
        ]

    def restore(self, *, random: bool = True) -> None:
        """Put everything back; may be called again.

        Args:
            random: The random number generators too; False lets them go on from where they are.
        """
        errors: list[BaseException] = []
        generators = (self._random_states.restore,) if random else ()
        self._modes.restore()
        with torch.no_grad():
            for module in self._modules:
                for parameter in module.parameters():
                    # What an interrupted step has left in whole parameters would be added to.
                    parameter.grad = None
                _reshard(module)
            for restore in (*self._restores, *generators):
                try:
                    restore()
                except BaseException as error:  # the rest is put back all the same
                    errors.append(error)
        if errors:
            raise errors[0]

    def remains(self) -> list[str]:
        """Names of what differs from the state at construction, as far as hashes tell."""
        return [] if self._before is None else differences(self._before, self._fingerprint())

    def partly_checked(self) -> list[str]:
        """Names of what was too large to be put back and hashed whole."""
        return [] if self._before is None else [*self._before.partly]

    def _fingerprint(self, random_states: RandomStates | None = None) -> Fingerprint:
        return fingerprint(self._modules, self._optimizers, self._others, random_states)


def _checked_device(device: Any) -> torch.device | None:
    place = None if device is None else torch.device(device)
    if place is not None and place.type == "meta":
        raise ValueError(f"snapshot_device must be one that keeps values, got {device!r}")
    return place


def _checked(part: Any) -> Any:
    if counts_batches(part):
        return Accumulation(part)
    if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
        raise TypeError(
            "stateful must hold objects with state_dict and load_state_dict, "
            f"got {type(part).__name__}"
        )
    return LoaderState(part) if isinstance(part, DataLoader) else part


def _check_values(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        for path, part in module.named_modules():
            for name, tensor in (*part._parameters.items(), *part._buffers.items()):
                if tensor is not None and (tensor.is_meta or nn.parameter.is_lazy(tensor)):
                    raise ValueError(
                        "model must have values in its parameters, got none in "
                        f"{path}{'.' if path else ''}{name} "
                        "(a lazy module gets them from its first batch)"
                    )


def _hold_stateful(part: Any, keep: Keeper) -> Restore:
    if isinstance(part, torch.amp.GradScaler):
        # Its state dict leaves out what an interrupted update has left half done.
        return keep.hold(vars(part))
    state = copy.deepcopy(part.state_dict())
    return lambda: part.load_state_dict(copy.deepcopy(state))


def _hold_module(module: nn.Module, keep: Keeper) -> Iterator[Restore]:
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            # Its tables cannot be written to.
            yield from map(keep.hold, (*part.parameters(False), *part.buffers(False)))
        else:
            yield hold_entries(part._modules)
            yield hold_entries(part._non_persistent_buffers_set)
            yield keep.hold(part._parameters)
            yield keep.hold(part._buffers)
        yield _hold_mode(part)
        yield hold_attributes(part, _attributes.of_module, keep.hold_state)


def _hold_optimizer(optimizer: Optimizer, keep: Keeper) -> Iterator[Restore]:
    yield keep.hold(optimizer.state)
    yield keep.hold(optimizer.param_groups)
    # torch's schedulers leave marks on it
    yield hold_attributes(optimizer, _attributes.of_optimizer, keep.hold_state)
    for counter in counters_of(optimizer):
        # the updates of the test are none of the schedule's
        yield counter.hold()


def _parameters(
    modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]
) -> Iterator[torch.Tensor]:
    """The parameters of the modules, and those that only an optimizer knows."""
    known = [p for module in modules for p in module.parameters()]
    known += [p for part in optimizers for group in part.param_groups for p in group["params"]]
    return iter({id(parameter): parameter for parameter in known}.values())


def _hold_gradient(parameter: torch.Tensor, keep: Keeper) -> Restore:
    gradient, needed = keep.hold(parameter.grad), parameter.requires_grad

    def restore() -> None:
        parameter.grad = gradient()
        parameter.requires_grad_(needed)

    return restore


def _hold_mode(module: nn.Module) -> Restore:
    training = module.training

    def restore() -> None:
        # not module.train(): that would set the submodules too
        module.training = training

    return restore


def _reshard(module: nn.Module) -> None:
    """Have fully_shard hold shards, where a forward pass alone has left whole parameters.

    A step that an exception has ended leaves more behind, which the root of the model resets.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not hasattr(fsdp, "FSDPModule"):
        return
    for part in module.modules():
        if isinstance(part, fsdp.FSDPModule):
            part.reshard()
            # New in torch 2.13; refused by every part but the root.
            with suppress(AttributeError, RuntimeError):
                part.reset_iter_state()
