"""Which attributes of models, optimizers and loaders are state, and not what torch set up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import filterfalse
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched_torch._kinds import PLAIN, Kind, attributes_of, kind_of
from lrsched_torch.update_counter import UpdateCounter

# What every module has, beside parameters and buffers.
MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
# Where torch keeps what fully_shard and the like have set up, some of it at the first forward pass.
COMPOSED = "__composable_api_state_key"
# Held and hashed by themselves.
OPTIMIZER_ATTRIBUTES = frozenset(("state", "param_groups"))
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
OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
# Where DataLoaders keep an epoch that is under way, and what they keep there when none is.
UNDER_WAY = {"_iterator": None, "_initial_iter_for_state_dict": False}


def of_module(module: nn.Module) -> dict[str, Any]:
    """The own attributes of a module that count; of torch's own layers settings and tensors.

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


def of_parameter(parameter: nn.Parameter | None) -> dict[str, Any]:
    """What others have added to a parameter, such as gradients per sample."""
    # Those of other kinds keep there what they are made of.
    return vars(parameter) if type(parameter) is nn.Parameter else {}


def has_own_attributes(module: nn.Module) -> bool:
    """Whether a module may count or cache something; the layers of torch itself do not.

    fully_shard makes a class of its own, in torch, out of yours.
    """
    kind: Any = type(module)
    return not _is_of_torch(kind)


@lru_cache
def _is_of_torch(kind: type) -> bool:
    return all(f"{base.__module__}.".startswith(("torch.", "builtins.")) for base in kind.__mro__)


def of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """The attributes of an optimizer beside its state, its groups and its hooks."""
    return {
        name: value
        for name, value in vars(optimizer).items()
        if name not in OPTIMIZER_ATTRIBUTES and not name.startswith("_optimizer_")
    }


def of_loader(loader: Any) -> dict[str, Any]:
    """The attributes of a loader, or a part of one, beside an epoch that is under way."""
    attributes = attributes_of(loader)
    return {name: value for name, value in attributes.items() if name not in UNDER_WAY}


def of_part(part: Any) -> dict[str, Any]:
    """Those of what is reached from a loader or a loss."""
    return of_module(part) if isinstance(part, nn.Module) else of_loader(part)


def hooks_of(part: nn.Module | Optimizer) -> list[dict[int, Any]]:
    """The tables of hooks that run in a training step."""
    names = MODULE_HOOKS if isinstance(part, nn.Module) else OPTIMIZER_HOOKS
    tables = map(vars(part).get, names)
    return [table for table in tables if table is not None]  # a wrapper may have none


def free_hooks_of(part: nn.Module | Optimizer) -> list[Any]:
    """Hooks that run in a step and do not belong to an object of their own; not ours."""
    hooks = (hook for table in filter(None, hooks_of(part)) for hook in table.values())
    return [
        hook
        for hook in hooks
        if kind_of(_owner_of(hook)) is not Kind.OBJECT
        and not str(getattr(hook, "__module__", "")).startswith("lrsched")
    ]


def _owner_of(hook: Any) -> Any:
    while isinstance(hook, partial):
        hook = hook.func
    return getattr(hook, "__self__", hook)


def owners_of(hooks: Iterable[Any]) -> Iterator[Any]:
    """The objects that hooks are, or are methods of."""
    for owner in map(_owner_of, hooks):
        # Our counters of updates are put back by themselves.
        if kind_of(owner) is Kind.OBJECT and not (
            trains(owner) or isinstance(owner, UpdateCounter)
        ):
            yield owner


def trains(owner: Any) -> bool:
    """Whether something is a training loop, which keeps notes that are the user's."""
    attributes = getattr(owner, "__dict__", {})
    return any(isinstance(value, Optimizer) for value in attributes.values())


def with_inner(optimizers: Iterable[Optimizer]) -> Iterator[Optimizer]:
    """Optimizers, and those that they wrap, each once."""
    found: dict[int, Optimizer] = {}
    waiting = [*optimizers]
    for optimizer in waiting:
        if id(optimizer) not in found:
            found[id(optimizer)] = optimizer
            waiting += [part for part in vars(optimizer).values() if isinstance(part, Optimizer)]
    return iter(found.values())
