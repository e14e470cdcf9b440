"""Python values that hang on a model: found.

A step may count in a list, cache in a dict or draw from a generator of its own. From a model one
gets to all of these through attributes and entries, and through what functions have taken along.
Objects of frameworks, other than layers and their like, are taken as they are.
"""

from __future__ import annotations

import argparse
import types
from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import FunctionType, GeneratorType, SimpleNamespace
from typing import Any

import keras
import numpy as np

from lrsched_tf.functions import behind
from lrsched_tf.loaders import LOADER, UNDER_WAY
from lrsched_tf.modules import MAX_TYPES, derives, is_of_framework, is_torch_tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
# Longer containers and larger arrays are data rather than state: of containers, only the order of
# the entries is held then, and not what is in them.
MAX_ENTRIES, MAX_BYTES = 10_000, 2**24
# What `fit` and the JAX trainer keep in a model for themselves.
OF_FIT = frozenset({"history", "_eval_epoch_iterator", "_jax_state", "_jax_state_synced"})
OF_KERAS = (
    keras.Layer,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.random.SeedGenerator,
    keras.utils.PyDataset,
)
OF_PYTHON = (SimpleNamespace, argparse.Namespace, UserDict, UserList)
OF_TORCH = ("nn.Module", "utils.data.Sampler", "utils.data.Dataset", LOADER)


def walk(roots: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Everything that is no plain value, with the way to it, each object once."""
    # The objects too, whose ids must not become those of others.
    queue, seen = deque(roots), dict[int, Any]()
    while queue:
        path, value = queue.popleft()
        if isinstance(value, PLAIN) or id(value) in seen or _is_our_own(value):
            continue
        seen[id(value)] = value
        yield path, value
        queue.extend((path + label, child) for label, child in _children(value))


def _is_our_own(value: Any) -> bool:
    """What drives another `fit`, which puts it back by itself when that ends."""
    return str(type(value).__module__).partition(".")[0] == __name__.partition(".")[0]


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    yield from behind(value)
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        yield from () if frame is None else labelled("{}", frame.f_locals.items())
    if is_owner(value):
        yield from labelled(".{}", attributes(value).items())
        yield ".__class__", type(value)
    if isinstance(value, CONTAINERS) and is_state(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from labelled("[{!r}]", items)


def is_state(container: Any) -> bool:
    """Whether a container is small enough for that, with all that it leads to."""
    entries, size, pending, seen = 0, 0, [container], set()
    for value in pending:
        if id(value) in seen or isinstance(value, PLAIN):
            continue
        seen.add(id(value))
        if isinstance(value, CONTAINERS):
            entries += len(value)
            # Not by +=, which the lists of TensorFlow answer for themselves.
            pending.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, np.ndarray) or is_torch_tensor(value):
            size += value.nbytes
        elif is_owner(value) and not isinstance(value, OF_KERAS):
            pending.extend(attributes(value).values())
        if entries > MAX_ENTRIES or size > MAX_BYTES:
            return False
    return True


def labelled(form: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Entries by name, or those of an object by attribute."""
    # A copy, since another thread may write to what is read here.
    for key, value in list(items):
        yield form.format(key if isinstance(key, PLAIN) else type(key).__name__), value


def is_owner(value: Any) -> bool:
    """Whether the attributes of an object are state of the model."""
    kind: Any = type(value)
    return _owns(kind)


@lru_cache(maxsize=MAX_TYPES)
def _owns(kind: Any) -> bool:
    if issubclass(kind, (*OF_KERAS, *OF_PYTHON)):
        return True
    if any(derives(kind, "torch", name) for name in OF_TORCH):
        return True
    if issubclass(kind, (type, FunctionType)) or not (kind.__dictoffset__ or slots_of(kind)):
        return False
    return not is_of_framework(kind.__module__)


@lru_cache(maxsize=MAX_TYPES)
def slots_of(kind: Any) -> dict[str, Any]:
    """What reads and writes the attributes that `__slots__` declares, by name."""
    return {
        name: member
        for base in kind.__mro__
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType)
    }


def attributes(owner: Any) -> dict[str, Any]:
    """The attributes of an object, without what `fit` keeps in it."""
    kind: Any = type(owner)
    found = {name: getattr(owner, name) for name in slots_of(kind) if hasattr(owner, name)}
    apart = kept_apart(kind)
    return found | {n: v for n, v in getattr(owner, "__dict__", {}).items() if n not in apart}


@lru_cache(maxsize=MAX_TYPES)
def kept_apart(kind: Any) -> frozenset[str]:
    """Names of attributes that are no state of an object of the kind."""
    return OF_FIT | UNDER_WAY.keys() if derives(kind, "torch", LOADER) else OF_FIT
