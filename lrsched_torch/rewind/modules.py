"""Modules: one node each, with their tables, their mode and their own attributes; parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, filterfalse
from typing import Any

import torch
from torch import nn

from lrsched.rewind.kinds import PLAIN, Child, Kind, Restore
from lrsched.rewind.torch_values import gradient_of
from lrsched.rewind.values import capture_container

# What every module has; restored as tables of the module, or set by torch alone.
MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
# Not those around state dicts, which fully_shard adds when it begins, and needs from then on.
MODULE_HOOKS = tuple(
    name for name in MODULE_ATTRIBUTES if "hooks" in name and "state_dict" not in name
)
TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", *MODULE_HOOKS)
# Where torch keeps what fully_shard and the like have set up, some of it at the first forward pass.
COMPOSED = "__composable_api_state_key"


def _children(module: nn.Module) -> Iterator[Child]:
    for name, tensor in chain(module._parameters.items(), module._buffers.items()):
        if tensor is not None:
            yield f".{name}", tensor, True
    for name, part in module._modules.items():
        yield f".{name}", part
    yield from hooks_in(module, MODULE_HOOKS)


def hooks_in(owner: Any, tables: Iterable[str]) -> Iterator[Child]:
    """Yield the hooks of a module or an optimizer that run in a training step."""
    for table in tables:
        # A wrapper may have none.
        for hook in (vars(owner).get(table) or {}).values():
            yield ".hooks", hook


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return the own attributes of a module; of torch's layers only settings and tensors."""
    kind: Any = type(module)
    attributes, kept = vars(module), _state_in(kind)
    return {
        name: attributes[name]
        # nearly all are torch's own, which are passed over without a line of Python for each
        for name in filterfalse(MODULE_ATTRIBUTES.__contains__, attributes)
        if isinstance(attributes[name], kept) and not name.startswith(COMPOSED)
    }


@lru_cache
def _state_in(kind: Any) -> Any:
    """Return the types of those attributes of a kind of module that are state.

    The old weight_norm and spectral_norm keep there what they have computed. fully_shard makes a
    class of its own, in torch, out of the user's.
    """
    if not all(f"{base.__module__}.".startswith(("torch.", "builtins.")) for base in kind.__mro__):
        return object
    # What fully_shard, DataParallel and the like note of themselves is no setting.
    is_layer = kind.__module__.startswith("torch.nn.modules.")
    return (torch.Tensor, *PLAIN) if is_layer else torch.Tensor


def _capture(module: nn.Module) -> Restore:
    training, refill = module.training, capture_tables(module, TABLES)

    def restore() -> None:
        refill()
        if module.training is not training:
            # not module.train(): that would set the submodules too
            module.training = training

    return restore


def capture_tables(owner: Any, names: Iterable[str]) -> Restore:
    """Copy which entries the tables of an object have; most are empty, as those of hooks."""
    # A wrapper may have none, and a scripted model some that are fixed.
    tables = [table for table in map(vars(owner).get, names) if isinstance(table, (dict, set))]
    empty = [table for table in tables if not table]
    refills = [capture_container(table) for table in tables if table]

    def restore() -> None:
        for table in empty:
            if table:
                table.clear()
        for refill in refills:
            refill()

    return restore


MODULE = Kind(_children, attributes=_attributes, capture=_capture)


def of_parameter(parameter: nn.Parameter) -> dict[str, Any]:
    """Return what others have added to a parameter, such as gradients per sample."""
    # Those of other kinds keep there what they are made of.
    return vars(parameter) if type(parameter) is nn.Parameter else {}


def children_of_parameter(parameter: nn.Parameter) -> Iterator[Child]:
    """Yield those, and the gradient, as part of the model."""
    yield from gradient_of(parameter)
    for name, value in of_parameter(parameter).items():
        yield f".{name}", value, True
