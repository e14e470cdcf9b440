"""Hashes of everything that a training consists of, by name, to tell what has changed.

Taken from the objects themselves and not from what a snapshot holds, so that what a snapshot
forgets shows too.
"""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from lrsched_torch._hold import MAX_ENTRIES, PLAIN, solid

# What every module has, beside parameters and buffers.
MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
# Where torch keeps what fully_shard and the like have set up, some of it at the first forward pass.
COMPOSED = "__composable_api_state_key"
# Odd, so that a change of one word always shows.
MULTIPLIERS = np.random.default_rng(0).integers(2**63, size=1024, dtype=np.uint64) * 2 + 1
Entry = tuple[str, int]


def fingerprint(
    modules: Sequence[nn.Module], optimizers: Sequence[Optimizer], others: Sequence[Any] = ()
) -> dict[str, int]:
    """Hashes by name; tensors count with their identity, so that a replaced one differs."""
    found: dict[str, int] = dict(_random_states())
    for number, module in enumerate(modules):
        found.update(_numbered(number, _of_module(module)))
    for number, optimizer in enumerate(optimizers):
        found.update(_numbered(number, _of_optimizer(optimizer)))
    for number, other in enumerate(others):
        name = f"state of stateful {type(other).__name__} ({number})"
        found[name] = _digest(other.state_dict())
    return found


def differences(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Names of what has changed, come or gone."""
    names = dict.fromkeys((*before, *after))
    return [name for name in names if before.get(name) != after.get(name)]


def _numbered(number: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Only the first, which is nearly always the only one, goes without a number."""
    for name, value in entries:
        yield (f"{name} [{number}]" if number else name), value


def _of_module(module: nn.Module) -> Iterator[Entry]:
    for name, parameter in module.named_parameters(remove_duplicate=False):
        yield f"parameter {name}", hash((id(parameter), _digest(parameter)))
        yield f"gradient of {name}", _digest(parameter.grad)
        yield f"requires_grad of {name}", hash(parameter.requires_grad)
    for name, buffer in module.named_buffers(remove_duplicate=False):
        yield f"buffer {name}", hash((id(buffer), _digest(buffer)))
    for name, part in module.named_modules():
        yield f"train mode of {name or 'the model'}", hash(part.training)
        if has_own_attributes(part):
            for attribute, value in vars(part).items():
                if attribute not in MODULE_ATTRIBUTES and not attribute.startswith(COMPOSED):
                    yield f"attribute {name}.{attribute}".replace(" .", " "), _digest(value)


def has_own_attributes(module: nn.Module) -> bool:
    """Whether a module may count or cache something; the layers of torch itself do not.

    fully_shard makes a class of its own, in torch, out of yours.
    """
    return not all(
        f"{kind.__module__}.".startswith(("torch.", "builtins.")) for kind in type(module).__mro__
    )


def _of_optimizer(optimizer: Optimizer) -> Iterator[Entry]:
    for index, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            if name == "params":
                yield f"parameters of group {index}", hash(tuple(map(id, value)))
            else:
                yield f"{name} of group {index}", _digest(value)
    for index, state in enumerate(optimizer.state.values()):
        yield f"optimizer state {index}", _digest(state)
    yield "number of optimizer states", len(optimizer.state)


def _random_states() -> Iterator[Entry]:
    yield "random state of Python", hash(random.getstate())
    _, keys, *rest = np.random.get_state()
    yield "random state of NumPy", hash((_digest(keys), *rest))
    yield "random state of torch", _digest(torch.get_rng_state())
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            yield f"random state of CUDA device {index}", _digest(state)


def _digest(value: Any, inside: bool = False) -> int:
    """Hash of a nested value; of an object only what its attributes hold themselves."""
    if isinstance(value, torch.Tensor):
        memory = solid(value).cpu().contiguous().reshape(-1)
        return hash((value.dtype, value.shape, _checksum(memory.view(torch.uint8).numpy())))
    if isinstance(value, np.ndarray):
        return hash((value.dtype.str, value.shape, _checksum(np.ascontiguousarray(value))))
    if isinstance(value, PLAIN):
        return hash((type(value), repr(value)))
    if isinstance(value, Mapping):
        if len(value) > MAX_ENTRIES:
            return len(value)
        return hash(tuple((str(key), _digest(item, inside)) for key, item in value.items()))
    if isinstance(value, (list, tuple, deque)):
        if len(value) > MAX_ENTRIES:
            return len(value)
        return hash(tuple(_digest(item, inside) for item in value))
    if isinstance(value, (set, frozenset)):
        return hash(frozenset(map(_digest, value)))
    if inside or isinstance(value, type) or not hasattr(value, "__dict__"):
        return hash(type(value))
    return _digest(vars(value), inside=True)


def _checksum(values: NDArray[Any]) -> int:
    """A multilinear hash of rows of words (Lemire and Kaser 2014), at several times a CRC's speed.

    Rows are told apart by a CRC of their hashes, which takes in what is left of the last row too.
    """
    octets = values.reshape(-1).view(np.uint8)
    end = octets.size - octets.size % MULTIPLIERS.nbytes
    if not end:
        return zlib.crc32(octets.data)
    rows = octets[:end].view(np.uint64).reshape(-1, len(MULTIPLIERS))
    hashes = np.einsum("ij,j->i", rows, MULTIPLIERS)
    return zlib.crc32(octets[end:].data, zlib.crc32(hashes.data))
