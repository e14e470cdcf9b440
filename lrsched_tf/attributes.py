"""Python values that hang on a model: found, put back in place, and told apart.

A step may count in a list, cache in a dict or draw from a generator of its own. From a model one
gets to all of these through attributes and entries. Objects of frameworks, other than layers and
their like, are taken as they are.
"""

from __future__ import annotations

import argparse
import array
import random
import sys
import types
import warnings
import zlib
from collections import UserDict, UserList, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from functools import lru_cache, partial
from operator import attrgetter
from types import FunctionType, GeneratorType, SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

Restore = Callable[[], object]

PLAIN = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
# Longer containers and larger arrays are data rather than state: of containers, only the order of
# the entries is held then, and not what is in them.
MAX_ENTRIES, MAX_BYTES = 10_000, 2**24
# Of which it is remembered what they are.
MAX_TYPES = 4096
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
OF_TORCH = ("nn.Module", "utils.data.Sampler", "utils.data.Dataset")
FRAMEWORKS = frozenset(
    {*sys.stdlib_module_names, "flax", "h5py", "jax", "jaxlib", "keras", "ml_dtypes", "numpy"}
    | {"optree", "pandas", "scipy", "tensorflow", "torch"}
)


def walk(roots: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Everything that is no plain value, with the way to it, each object once."""
    queue, seen = deque(roots), set()
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
    if isinstance(value, CONTAINERS) and is_state(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from _labelled("[{!r}]", items)


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
        elif isinstance(value, np.ndarray) or _is_torch_tensor(value):
            size += value.nbytes
        elif is_owner(value) and not isinstance(value, OF_KERAS):
            pending.extend(attributes(value).values())
        if entries > MAX_ENTRIES or size > MAX_BYTES:
            return False
    return True


def _labelled(form: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
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
    if any(_derives(kind, "torch", name) for name in OF_TORCH):
        return True
    if issubclass(kind, (type, FunctionType)) or not (kind.__dictoffset__ or _slots(kind)):
        return False
    return kind.__module__.partition(".")[0] not in FRAMEWORKS


@lru_cache(maxsize=MAX_TYPES)
def _derives(kind: Any, module: str, name: str) -> bool:
    """Whether a type is a class of a module, which may not have been imported, or derived of it."""
    found = sys.modules.get(module)
    return found is not None and issubclass(kind, attrgetter(name)(found))


@lru_cache(maxsize=MAX_TYPES)
def _slots(kind: Any) -> dict[str, Any]:
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
    found = {name: getattr(owner, name) for name in _slots(kind) if hasattr(owner, name)}
    return found | {n: v for n, v in getattr(owner, "__dict__", {}).items() if n not in OF_FIT}


class Kind(NamedTuple):
    """How values of a kind are read, written in place, and told apart.

    Attributes:
        fits: Whether a value is of the kind.
        read: Copies what a value holds.
        write: Gives a value what `read` had copied; None where nothing can.
        digest: What `read` has copied, in short.
    """

    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], object] | None
    digest: Callable[[Any], Hashable]


def hold(value: Any) -> Iterator[Restore]:
    """Functions that give a mutable object its present content back; none for any other."""
    if is_owner(value):
        yield partial(_refill_attributes, value, attributes(value))
    kind = _kind(value)
    if kind is not None and kind.write is not None:
        yield partial(kind.write, value, kind.read(value))


def digest(value: Any) -> Hashable:
    """What an object holds, in short; of what it refers to only the identity."""
    kind = _kind(value)
    content = None if kind is None else kind.digest(kind.read(value))
    # Attributes have no order that anyone would go by.
    return content, frozenset(_outline(attributes(value))) if is_owner(value) else None


def _kind(value: Any) -> Kind | None:
    return next((kind for kind in KINDS if kind.fits(value)), None)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _refill_attributes(owner: Any, content: dict[str, Any]) -> None:
    kind: Any = type(owner)
    slots = _slots(kind)
    for name, slot in slots.items():
        if name in content:
            slot.__set__(owner, content[name])
        elif hasattr(owner, name):
            slot.__delete__(owner)
    if hasattr(owner, "__dict__"):
        named = {name: value for name, value in content.items() if name not in slots}
        # Past __setattr__, which tracks what it is given.
        _refill_dict(vars(owner), named, OF_FIT)


def _refill_dict(table: Any, content: dict[Any, Any], kept: frozenset[str] = frozenset()) -> None:
    for key in [key for key in table if key not in content and key not in kept]:
        del table[key]
    for key, value in content.items():
        if key not in table or table[key] is not value:
            table[key] = value
    if not kept and list(table) != list(content):
        for key in content:
            table[key] = table.pop(key)


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


def _refill_bytes(buffer: Any, content: Any) -> None:
    buffer[:] = content


def _refill_tensor(tensor: Any, content: Any) -> None:
    _without_repeats(tensor).copy_(content)


def _assign_parts(variable: keras.Variable, content: list[Any]) -> None:
    for part, value in zip(parts(variable), content, strict=True):
        part.assign(value)


def _outline(content: Any) -> Any:
    """The entries by identity, in their order if they have one."""
    if len(content) > MAX_ENTRIES:
        # Put back, they are the same objects, and texts of so many would take long.
        parts = content.items() if isinstance(content, dict) else ((entry,) for entry in content)
        ids = [tuple(map(id, part)) for part in parts]
        return hash(frozenset(ids) if isinstance(content, (set, frozenset)) else tuple(ids))
    if isinstance(content, (set, frozenset)):
        return frozenset(map(_identity, content))
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return tuple((label, _identity(value)) for label, value in _labelled("{}", items))


def _identity(value: Any) -> Hashable:
    return repr(value) if isinstance(value, PLAIN) else id(value)


def _progress(generator: Any) -> Hashable:
    frame = generator.gi_frame
    return None if frame is None else (frame.f_lasti, _outline(dict(frame.f_locals)))


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools")


def _position(part: Any) -> Hashable:
    """How far an iterator, or what it is pickled as, has got."""
    if isinstance(part, tuple):
        return tuple(map(_position, part))
    if isinstance(part, PLAIN):
        return part
    if isinstance(part, GeneratorType):
        return _progress(part)
    if _is_iterator(part):
        try:
            with warnings.catch_warnings():
                # Python 3.14 does without, and only some of itertools then say where they are.
                warnings.simplefilter("ignore", DeprecationWarning)
                return _position(part.__reduce__())
        except TypeError:
            return repr(part)
    return len(part) if isinstance(part, Sized) else None


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
    if isinstance(generator, np.random.BitGenerator):
        return generator.state
    if _is_of("torch", "Generator", generator):
        return generator.get_state()
    if _is_of("tensorflow", "random.Generator", generator):
        return generator.state.numpy()
    return None


def _is_random(value: Any) -> bool:
    return random_state(value) is not None


def set_random_state(generator: Any, state: Any) -> None:
    """Put a state from `random_state` back."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.BitGenerator):
        generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.state.assign(state)


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


def _is_of(module: str, name: str, value: Any) -> bool:
    kind: Any = type(value)
    return _derives(kind, module, name)


def _is_torch_tensor(value: Any) -> bool:
    """Parameters are variables of Keras, and held as such."""
    return _is_of("torch", "Tensor", value) and not _is_of("torch", "nn.Parameter", value)


def _is_plain_tensor(value: Any) -> bool:
    """Whether the elements of a tensor of torch can be read and written."""
    return (
        _is_torch_tensor(value)
        and str(value.layout) == "torch.strided"
        and not (value.is_meta or value.is_quantized)
        and value.nbytes <= MAX_BYTES
    )


def _copy_of_tensor(tensor: Any) -> Any:
    import torch

    return _without_repeats(tensor).clone(memory_format=torch.contiguous_format)


def _without_repeats(tensor: Any) -> Any:
    """A tensor without the dimensions along which `expand` repeats one element in memory."""
    tensor = tensor.detach()
    for dim, stride in enumerate(tensor.stride()):
        tensor = tensor.narrow(dim, 0, 1) if stride == 0 and tensor.shape[dim] > 1 else tensor
    return tensor


def _checksum_of_tensor(tensor: Any) -> int:
    import torch

    flat = tensor.resolve_conj().resolve_neg().reshape(-1)
    return checksum(flat.view(torch.uint8).cpu().numpy())


def _version(tensor: Any) -> int:
    """How often a tensor has been written to."""
    return 0 if tensor.is_inference() else tensor._version


def _is_small_buffer(value: Any) -> bool:
    return isinstance(value, (bytearray, array.array)) and memoryview(value).nbytes <= MAX_BYTES


def _is_small_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.nbytes <= MAX_BYTES


def _is_open_array(value: Any) -> bool:
    return _is_small_array(value) and bool(value.flags.writeable)


# Of several that fit, the first one counts.
KINDS = (
    Kind(_is(keras.Variable), read_parts, _assign_parts, lambda parts: tuple(map(checksum, parts))),
    Kind(_is(dict), dict, _refill_dict, _outline),
    Kind(_is(set), set, _refill_set, _outline),
    Kind(_is(list, deque), list, _refill_sequence, _outline),
    Kind(_is(tuple, frozenset), lambda value: value, None, _outline),
    Kind(_is(GeneratorType), _progress, None, hash),
    Kind(_is_iterator, _position, None, hash),
    Kind(_is_random, random_state, set_random_state, checksum_of_state),
    Kind(_is_small_buffer, lambda value: value[:], _refill_bytes, zlib.crc32),
    Kind(
        lambda value: _is_small_array(value) and value.flags.writeable, np.copy, np.copyto, checksum
    ),
    Kind(_is_small_array, lambda value: value, None, checksum),
    Kind(_is_plain_tensor, _copy_of_tensor, _refill_tensor, _checksum_of_tensor),
    Kind(_is_torch_tensor, _version, None, hash),
    Kind(
        partial(_is_of, "tensorflow", "Variable"),
        lambda variable: variable.numpy(),
        lambda variable, content: variable.assign(content),
        checksum,
    ),
)
