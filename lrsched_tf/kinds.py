"""Python values put back in place, and told apart, each kind in its own way."""

from __future__ import annotations

import array
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sized
from functools import partial
from types import GeneratorType
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from lrsched_tf.attributes import (
    MAX_BYTES,
    MAX_ENTRIES,
    PLAIN,
    attributes,
    is_owner,
    kept_apart,
    labelled,
    slots_of,
)
from lrsched_tf.modules import is_of, is_torch_tensor
from lrsched_tf.random_states import checksum, checksum_of_state, random_state, set_random_state

Restore = Callable[[], object]


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
    slots = slots_of(kind)
    for name, slot in slots.items():
        if name in content:
            slot.__set__(owner, content[name])
        elif hasattr(owner, name):
            slot.__delete__(owner)
    if hasattr(owner, "__dict__"):
        named = {name: value for name, value in content.items() if name not in slots}
        # Past __setattr__, which tracks what it is given.
        _refill_dict(vars(owner), named, kept_apart(kind))


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
    return tuple((label, _identity(value)) for label, value in labelled("{}", items))


def _identity(value: Any) -> Hashable:
    return repr(value) if isinstance(value, PLAIN) else id(value)


def _progress(generator: Any) -> Hashable:
    frame = generator.gi_frame
    return None if frame is None else (frame.f_lasti, _outline(dict(frame.f_locals)))


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools")


def _is_epoch(value: Any) -> bool:
    """Whether a value is an iterator of a DataLoader."""
    return is_of("torch", "utils.data.dataloader._BaseDataLoaderIter", value)


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


def parts(variable: keras.Variable) -> list[Any]:
    """The variables of TensorFlow behind one of Keras, one for each replica; else the variable."""
    if keras.backend.backend() == "tensorflow":
        return list(getattr(variable.value, "values", [variable]))
    return [variable]


def read_parts(variable: keras.Variable) -> list[Any]:
    """Copies on the host of the `parts`."""
    values = (part.value if isinstance(part, keras.Variable) else part for part in parts(variable))
    return [np.array(ops.convert_to_numpy(value)) for value in values]


def _is_random(value: Any) -> bool:
    return random_state(value) is not None


def _is_plain_tensor(value: Any) -> bool:
    """Whether the elements of a tensor of torch can be read and written."""
    return (
        is_torch_tensor(value)
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
    Kind(_is_epoch, lambda epoch: epoch._num_yielded, None, hash),
    Kind(_is_random, random_state, set_random_state, checksum_of_state),
    Kind(_is_small_buffer, lambda value: value[:], _refill_bytes, zlib.crc32),
    Kind(
        lambda value: _is_small_array(value) and value.flags.writeable, np.copy, np.copyto, checksum
    ),
    Kind(_is_small_array, lambda value: value, None, checksum),
    Kind(_is_plain_tensor, _copy_of_tensor, _refill_tensor, _checksum_of_tensor),
    Kind(is_torch_tensor, _version, None, hash),
    Kind(
        partial(is_of, "tensorflow", "Variable"),
        lambda variable: variable.numpy(),
        lambda variable, content: variable.assign(content),
        checksum,
    ),
)
