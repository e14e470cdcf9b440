"""Modules: one node each, with their tables, their mode and their own attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import filterfalse
from typing import Any

import torch
from torch import nn

from lrsched.rewind import containers
from lrsched.rewind.kinds import PLAIN, Access, Child, Kind, Restore
from lrsched.rewind.torch_values import gradient_of

# What every module has; restored as tables of the module, or set by torch alone.
MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
# Not those around state dicts, which fully_shard adds when it begins, and needs from then on.
MODULE_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
)
TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", *MODULE_HOOKS)
# Where torch keeps what fully_shard and the like have set up, some of it at the first forward pass.
COMPOSED = "__composable_api_state_key"


def _children(module: nn.Module) -> Iterator[Child]:
    tensors: list[tuple[str, torch.Tensor | None]]
    if isinstance(module, torch.jit.ScriptModule):
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        parts: Iterable[tuple[str, Any]] = module.named_children()
    else:
        tensors = [*module._parameters.items(), *module._buffers.items()]
        parts = module._modules.items()
    for name, tensor in tensors:
        if tensor is not None:
            yield f".{name}", tensor, Access.WHOLE
    for name, part in parts:
        yield f".{name}", part
    yield from hooks_in(module, MODULE_HOOKS)


def hooks_in(owner: Any, tables: Iterable[str]) -> Iterator[Child]:
    """Yield the hooks of a module or an optimizer that run in a training step."""
    for table in tables:
        # A wrapper may have none.
        for hook in (vars(owner).get(table) or {}).values():
            yield ".hooks", hook


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """Return the own attributes of a module; of torch's layers only settings and tensors.

    The old weight_norm and spectral_norm keep there what they have computed.
    """
    kinds: Any = object
    if not has_own_attributes(module):
        is_layer = type(module).__module__.startswith("torch.nn.modules.")
        # What fully_shard, DataParallel and the like note of themselves is no setting.
        kinds = (torch.Tensor, *PLAIN) if is_layer else torch.Tensor
    attributes = vars(module)
    return {
        name: attributes[name]
        # nearly all are torch's own, which are passed over without a line of Python for each
        for name in filterfalse(MODULE_ATTRIBUTES.__contains__, attributes)
        if isinstance(attributes[name], kinds) and not name.startswith(COMPOSED)
    }


def has_own_attributes(module: nn.Module) -> bool:
    """Return whether a module may count or cache something; torch's own layers do not.

    fully_shard makes a class of its own, in torch, out of the user's.
    """
    kind: Any = type(module)
    return not _is_of_torch(kind)


@lru_cache
def _is_of_torch(kind: type) -> bool:
    return all(f"{base.__module__}.".startswith(("torch.", "builtins.")) for base in kind.__mro__)


def _capture(module: nn.Module) -> Restore:
    training = module.training
    # The tables of a scripted module cannot be written to.
    tables = () if isinstance(module, torch.jit.ScriptModule) else TABLES
    refill = capture_tables(module, tables)

    def restore() -> None:
        refill()
        if module.training is not training:
            # not module.train(): that would set the submodules too
            module.training = training

    return restore


def capture_tables(owner: Any, names: Iterable[str]) -> Restore:
    """Copy which entries the tables of an object have; most are empty, as those of hooks."""
    empty, rest = [], []
    for table in map(vars(owner).get, names):
        if table:
            rest.append(containers.capture(table))
        elif table is not None:  # a wrapper may have none
            empty.append(table)

    def restore() -> None:
        for table in empty:
            if table:
                table.clear()
        for refill in rest:
            refill()

    return restore


MODULE = Kind(_children, attributes=attributes_of, capture=_capture)


def of_parameter(parameter: nn.Parameter) -> dict[str, Any]:
    """Return what others have added to a parameter, such as gradients per sample."""
    # Those of other kinds keep there what they are made of.
    return vars(parameter) if type(parameter) is nn.Parameter else {}


def children_of_parameter(parameter: nn.Parameter) -> Iterator[Child]:
    """Yield those, and the gradient, as part of the model."""
    yield from gradient_of(parameter)
    for name, value in of_parameter(parameter).items():
        yield f".{name}", value, Access.WHOLE
