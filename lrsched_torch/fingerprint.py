"""Hashes of everything that a training consists of, by name, to tell what has changed.

Taken from the objects themselves and not from what a snapshot holds, so that what a snapshot
forgets shows too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lrsched_torch import _attributes
from lrsched_torch._digest import Digest, changed, whole_digest
from lrsched_torch._kinds import Kind, kind_of, size_of
from lrsched_torch._orders import Parts
from lrsched_torch._random_states import RandomStates

Entry = tuple[str, int]


@dataclass(frozen=True)
class Fingerprint:
    """Hashes by name.

    Attributes:
        hashes: By the name of what was hashed.
        partly: Names of what was too large to be hashed whole.
    """

    hashes: Mapping[str, int]
    partly: Sequence[str]


def fingerprint(
    modules: Sequence[nn.Module],
    optimizers: Sequence[Optimizer],
    others: Sequence[Any] = (),
    random_states: RandomStates | None = None,
    functions: Sequence[Parts] = (),
) -> Fingerprint:
    """Hashes of everything; tensors count with their identity, so that a replaced one differs.

    Args:
        modules: Hashed with their submodules.
        optimizers: Hashed with their state.
        others: Hashed by their state dicts.
        random_states: Where the random number generators are; None reads it.
        functions: What the loss comes from.
    """
    named = [[*module.named_modules()] for module in modules]
    digest = Digest([*optimizers, *(part for parts in named for _, part in parts)])
    found = dict(_of_generators(random_states or RandomStates(), digest))
    for number, parts in enumerate(named):
        found.update(_numbered(number, _of_module(parts, digest)))
    for number, optimizer in enumerate(optimizers):
        found.update(_numbered(number, _of_optimizer(optimizer, digest)))
    for number, other in enumerate(others):
        name = f"state of stateful {type(other).__name__} ({number})"
        found[name] = whole_digest(other.state_dict())
    for function in functions:
        found.update(function.hashes())
    return Fingerprint(found, [*digest.partly, *(n for part in functions for n in part.partly)])


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Names of what has changed, come or gone."""
    return changed(before.hashes, after.hashes)


def _numbered(number: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Only the first, which is nearly always the only one, goes without a number."""
    if not number:
        return entries
    return ((f"{name} [{number}]", value) for name, value in entries)


def _of_module(parts: Iterable[tuple[str, nn.Module]], digest: Digest) -> Iterator[Entry]:
    for name, part in parts:
        path = f"{name}." if name else ""
        for key, parameter in part._parameters.items():
            if parameter is not None:
                yield f"parameter {path}{key}", hash((id(parameter), digest.of(parameter)))
                yield f"gradient of {path}{key}", digest.of(parameter.grad)
                yield f"requires_grad of {path}{key}", parameter.requires_grad
                added = _attributes.of_parameter(parameter)
                if added:
                    yield digest.entry(f"attributes of {path}{key}", added)
        for key, buffer in part._buffers.items():
            if buffer is not None:
                yield f"buffer {path}{key}", hash((id(buffer), digest.of(buffer)))
        yield f"train mode of {name or 'the model'}", part.training
        attributes = _attributes.of_module(part)
        if not _attributes.has_own_attributes(part):
            settings = {
                key: value for key, value in attributes.items() if kind_of(value) is Kind.PLAIN
            }
            yield f"settings of {name or 'the model'}", hash(repr(settings))
            attributes = {key: attributes[key] for key in attributes.keys() - settings.keys()}
        for key, value in attributes.items():
            yield digest.entry(f"attribute {path}{key}", value)
        yield f"hooks of {name or 'the model'}", _of_hooks(part, digest)


def _of_hooks(part: nn.Module | Optimizer, digest: Digest) -> int:
    """Hash of which hooks there are, and of the objects that they belong to."""
    tables = filter(None, _attributes.hooks_of(part))
    hooks = [hook for table in tables for hook in table.values()]
    return hash((*map(id, hooks), *map(digest.of, _attributes.owners_of(hooks))))


def _of_optimizer(optimizer: Optimizer, digest: Digest) -> Iterator[Entry]:
    for index, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            if name == "params":
                yield f"parameters of group {index}", hash(tuple(map(id, value)))
            else:
                # An object stays the same one, for what refers to it.
                which = 0 if size_of(value) < math.inf else id(value)
                yield f"{name} of group {index}", hash((which, digest.of(value)))
    for index, state in enumerate(optimizer.state.values()):
        yield f"optimizer state {index}", digest.of(state)
    yield "number of optimizer states", len(optimizer.state)
    for name, value in _attributes.of_optimizer(optimizer).items():
        if size_of(value) < math.inf or kind_of(value) is Kind.CONTAINER:
            yield digest.entry(f"attribute {name} of the optimizer", value)
    yield "hooks of the optimizer", _of_hooks(optimizer, digest)


def _of_generators(states: RandomStates, digest: Digest) -> Iterator[Entry]:
    yield "random state of Python", hash(states.python)
    _, keys, *rest = states.numpy
    yield "random state of NumPy", hash((digest.of(keys), *rest))
    yield "random state of torch", digest.of(states.torch)
    for index, state in enumerate(states.cuda):
        yield f"random state of CUDA device {index}", digest.of(state)
