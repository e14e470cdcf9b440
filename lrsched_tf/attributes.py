"""Python values that hang on a model: found, put back in place, and told apart.

A step may count in a list, cache in a dict or draw from a generator of its own. From a model one
gets to all of these through attributes and entries. Objects of frameworks, other than layers and
their like, are taken as they are.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from itertools import islice
from types import FunctionType, GeneratorType, SimpleNamespace
from typing import Any

import keras
import numpy as np
from keras import ops

Restore = Callable[[], object]

PLAIN = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
# Longer containers and larger arrays are data rather than state.
MAX_ENTRIES, MAX_BYTES = 10_000, 2**24
# What `fit` and the JAX trainer keep in a model for themselves.
OF_FIT = frozenset({"history", "_eval_epoch_iterator", "_jax_state", "_jax_state_synced"})
OWNERS = (
    keras.Layer,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.random.SeedGenerator,
    keras.utils.PyDataset,
    SimpleNamespace,
)
FRAMEWORKS = frozenset(
    {*sys.stdlib_module_names, "flax", "h5py", "jax", "jaxlib", "keras", "ml_dtypes", "numpy"}
    | {"optree", "pandas", "scipy", "tensorflow", "torch"}
)


def walk(roots: Iterable[tuple[str, Any]], beyond: Any = None) -> Iterator[tuple[str, Any]]:
    """Everything that is no plain value, with the way to it, each object once.

    What lies behind the object `beyond` is left out, unless it is among the roots.
    """
    queue, seen = deque(roots), {id(beyond)}
    while queue:
        path, value = queue.popleft()
        if isinstance(value, PLAIN) or id(value) in seen or _is_our_own(value):
            continue
        seen.add(id(value))
        yield path, value
        queue.extend((path + label, child) for label, child in _children(value))


def _is_our_own(value: Any) -> bool:
    """What drives another `fit`, which puts it back by itself when that ends."""
    return type(value).__module__.partition(".")[0] == __name__.partition(".")[0]


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        yield from () if frame is None else _labelled("{}", frame.f_locals.items())
    if is_owner(value):
        yield from _labelled(".{}", attributes(value).items())
    if isinstance(value, CONTAINERS) and len(value) <= MAX_ENTRIES:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from _labelled("[{!r}]", items)


def _labelled(form: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    # A copy, since another thread may write to what is read here.
    for key, value in list(items):
        yield form.format(key if isinstance(key, PLAIN) else type(key).__name__), value


def is_owner(value: Any) -> bool:
    """Whether the attributes of an object are state of the model."""
    if isinstance(value, OWNERS) or _is_torch_owner(value):
        return True
    if isinstance(value, (type, FunctionType)) or not hasattr(value, "__dict__"):
        return False
    return type(value).__module__.partition(".")[0] not in FRAMEWORKS


def attributes(owner: Any) -> dict[str, Any]:
    """The attributes of an object, without what `fit` keeps in it."""
    return {name: value for name, value in vars(owner).items() if name not in OF_FIT}


def hold(value: Any) -> Iterator[Restore]:
    """Functions that give a mutable object its present content back; none for any other."""
    if is_owner(value):
        yield partial(_refill_attributes, value, attributes(value))
    if isinstance(value, keras.Variable):
        for part, content in zip(parts(value), read_parts(value), strict=True):
            yield partial(part.assign, content)
    elif isinstance(value, dict) and len(value) <= MAX_ENTRIES:
        yield partial(_refill_dict, value, dict(value))
    elif isinstance(value, set) and len(value) <= MAX_ENTRIES:
        yield partial(_refill_set, value, set(value))
    elif isinstance(value, (list, deque)) and len(value) <= MAX_ENTRIES:
        yield partial(_refill_sequence, value, list(value))
    elif (state := random_state(value)) is not None:
        yield partial(set_random_state, value, state)
    elif isinstance(value, np.ndarray) and value.nbytes <= MAX_BYTES and value.flags.writeable:
        yield partial(np.copyto, value, value.copy())
    elif _is_torch_tensor(value) and value.nbytes <= MAX_BYTES:
        yield partial(value.detach().copy_, value.detach().clone())
    elif _is_tensorflow_variable(value):
        yield partial(value.assign, value.numpy())


def _refill_attributes(owner: Any, content: dict[str, Any]) -> None:
    # Past __setattr__, which tracks what it is given.
    _refill_dict(vars(owner), content, OF_FIT)


def _refill_dict(table: Any, content: dict[Any, Any], kept: frozenset[str] = frozenset()) -> None:
    for key in [key for key in table if key not in content and key not in kept]:
        del table[key]
    for key, value in content.items():
        if key not in table or table[key] is not value:
            table[key] = value


def _refill_set(entries: set[Any], content: set[Any]) -> None:
    if entries != content:
        entries.clear()
        entries.update(content)


def _refill_sequence(entries: Any, content: list[Any]) -> None:
    if len(entries) != len(content) or any(
        new is not old for new, old in zip(entries, content, strict=True)
    ):
        entries.clear()
        entries.extend(content)


def is_order(value: Any) -> bool:
    """Whether data may be gone through in the order of this: indices, or random numbers."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    if isinstance(value, (list, deque)):
        return all(isinstance(entry, int) for entry in islice(value, MAX_ENTRIES))
    return random_state(value) is not None


def digest(value: Any) -> Hashable:
    """What an object holds, in short; of what it refers to only the identity."""
    if isinstance(value, keras.Variable):
        return tuple(checksum(part) for part in read_parts(value))
    if isinstance(value, np.ndarray):
        return checksum(value) if value.nbytes <= MAX_BYTES else id(value)
    if _is_torch_tensor(value):
        return checksum(ops.convert_to_numpy(value)) if value.nbytes <= MAX_BYTES else id(value)
    if _is_tensorflow_variable(value):
        return checksum(value.numpy())
    if (state := random_state(value)) is not None:
        return checksum_of_state(state)
    if type(value).__module__ == "itertools":
        return repr(value)
    if isinstance(value, GeneratorType):
        progress = -2 if value.gi_frame is None else value.gi_frame.f_lasti
        return progress, *_outline(value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_identity(entry) for entry in islice(value, MAX_ENTRIES))
    return tuple(_outline(value))


def _outline(value: Any) -> Iterator[Hashable]:
    return ((label, _identity(child)) for label, child in _children(value))


def _identity(value: Any) -> Hashable:
    return repr(value) if isinstance(value, PLAIN) else id(value)


def checksum(array: Any) -> int:
    """CRC of the bytes of an array."""
    array = np.ascontiguousarray(array)
    return zlib.crc32(repr(array).encode() if array.dtype.hasobject else array.view(np.uint8))


def parts(variable: keras.Variable) -> list[Any]:
    """The variables of TensorFlow behind one of Keras, one for each replica; else the variable."""
    if keras.backend.backend() == "tensorflow":
        return list(getattr(variable.value, "values", [variable]))
    return [variable]


def read_parts(variable: keras.Variable) -> list[Any]:
    """Copies on the host of the `parts`."""
    values = (part.value if isinstance(part, keras.Variable) else part for part in parts(variable))
    return [np.array(ops.convert_to_numpy(value)) for value in values]


def random_state(generator: Any) -> Any:
    """The state of a random number generator; None for anything else."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(generator, torch.Generator):
        return generator.get_state()
    return None


def set_random_state(generator: Any, state: Any) -> None:
    """Put a state from `random_state` back."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)


def checksum_of_state(state: Any) -> int:
    """CRC of what `random_state` gives."""
    if hasattr(state, "numpy"):
        return checksum(state.numpy())
    if isinstance(state, np.ndarray):
        return checksum(state)
    if isinstance(state, dict):
        state = tuple(state.items())
    if isinstance(state, tuple) and any(
        isinstance(part, (*CONTAINERS, np.ndarray)) for part in state
    ):
        return hash(tuple(map(checksum_of_state, state)))
    return zlib.crc32(repr(state).encode())


def _is_torch_owner(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, (torch.nn.Module, torch.utils.data.Sampler))


def _is_torch_tensor(value: Any) -> bool:
    """Parameters are variables of Keras, and held as such."""
    torch = sys.modules.get("torch")
    return (
        torch is not None
        and isinstance(value, torch.Tensor)
        and not isinstance(value, torch.nn.Parameter)
    )


def _is_tensorflow_variable(value: Any) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(value, tensorflow.Variable)
