"""Nested values that can be given their present content back, in place.

Tensors, arrays and containers are refilled, so compiled functions, captured graphs and views that
somebody holds stay valid; what was born in between is dropped.
"""

from __future__ import annotations

import copy
import ctypes
import math
import random
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrsched_torch._kinds import (
    Kind,
    attributes_of,
    entries_of,
    is_flat,
    is_open,
    kind_of,
    memory_of,
    size_of,
    slots_of,
)
from lrsched_torch._tensors import hold_values

# What containers are refilled by, since a subclass may refuse or do more: the first that fits.
BASES: Any = (OrderedDict, dict, list, deque, set)


class Keeper:
    """Holds the present content of values; each tensor, container and object once.

    Args:
        device: Where the copies of tensors live; None leaves each on its own device.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        # The values themselves, whose ids must not become those of others.
        self._held: dict[int, Any] = {}
        self._restores: list[tuple[str, Callable[[], Any]]] = []
        self._name = ""

    def restore(self) -> list[str]:
        """Put everything back; may be called again.

        Returns:
            Names of the attributes in which something could not be put back.

        Raises:
            BaseException: the first that came from elsewhere; the rest is put back all the same.
        """
        names: list[str] = []
        errors: list[BaseException] = []
        for name, restore in self._restores:
            try:
                restore()
            except BaseException as error:
                if name and isinstance(error, Exception):
                    names.append(name)
                else:
                    errors.append(error)
        if errors:
            raise errors[0]
        return names

    def add(self, restore: Callable[[], Any]) -> None:
        """Have a function called too."""
        self._restores.append((self._name, restore))

    def hold(self, value: Any) -> None:
        """Hold a value, and what is in containers and objects.

        Modules, optimizers, functions and objects of libraries are left as they are.
        """
        kind = kind_of(value)
        if kind is Kind.PLAIN or id(value) in self._held:
            return
        self._held[id(value)] = value
        match kind:
            case Kind.TENSOR:
                self._hold_tensor(value)
            case Kind.CONTAINER | Kind.FIXED:
                if kind is Kind.CONTAINER:
                    self.hold_entries(value)
                if not is_flat(value):
                    for entry in entries_of(value):
                        self.hold(entry)
            case Kind.OBJECT | Kind.MAPPING if is_open(value):
                self.hold_attributes(value, attributes_of, self.hold, self._name)
            case Kind.ARRAY:
                self.add(_refilling_array(value))
            case Kind.BUFFER:
                self.add(_refilling_buffer(value))
            case Kind.GENERATOR:
                self.add(_resetting(value))

    def _hold_tensor(self, tensor: torch.Tensor) -> None:
        self.add(hold_values(tensor, self._device))
        if tensor.is_leaf:
            gradient = tensor.grad
            self.hold(gradient)
            self.add(partial(_set_gradient, tensor, gradient, tensor.requires_grad))

    def hold_state(self, value: Any) -> None:
        """As `hold`, with only the order of what is long or holds objects; objects are left."""
        if size_of(value) < math.inf:
            self.hold(value)
        else:
            self.hold_entries(value)

    def hold_entries(self, *values: Any) -> None:
        """Hold which entries containers have, and in which order; they are left as they are."""
        empty, rest = [], []
        for value in values:
            # Most are empty, as tables of hooks. Other classes may say so of themselves falsely.
            if type(value) in BASES and not value:
                empty.append(value)
            elif kind_of(value) is Kind.CONTAINER:
                rest.append((value, _entries(value)))
        if empty:
            self.add(partial(_clear_all, empty))
        if rest:
            self.add(partial(_refill_all, rest))

    def hold_attributes(
        self,
        owner: Any,
        select: Callable[[Any], Mapping[str, Any]],
        hold: Callable[[Any], None],
        label: str = "",
    ) -> None:
        """Hold the attributes of an object; those that it gets later are dropped.

        Args:
            owner: Has the attributes, in its dict or in slots.
            select: Gives those of `owner` that count.
            hold: Holds what is in one of them.
            label: What an attribute is called, with {} for its name.
        """
        attributes, outer = dict(select(owner)), self._name
        for name, value in attributes.items():
            self._name = label.replace("{}", name)
            hold(value)
        self._name = label.replace("{}", "")
        self.add(partial(_reset_attributes, owner, select, attributes))
        self._name = outer


def _reset_attributes(
    owner: Any, select: Callable[[Any], Mapping[str, Any]], attributes: Mapping[str, Any]
) -> None:
    present = select(owner)
    # All of them: what is set up on first use, is so as a whole.
    for name in present.keys() - attributes.keys():
        _drop(owner, name)
    for name, value in attributes.items():
        if name not in present or present[name] is not value:
            _write(owner, name, value)


def _write(owner: Any, name: str, value: Any) -> None:
    slot = slots_of(owner).get(name)
    if slot is None:
        vars(owner)[name] = value
    else:
        slot.__set__(owner, value)


def _drop(owner: Any, name: str) -> None:
    slot = slots_of(owner).get(name)
    if slot is None:
        del vars(owner)[name]
    else:
        slot.__delete__(owner)


def _entries(container: Any) -> Any:
    """What is in a container now, in one of a plain kind: its own copy() may give itself."""
    base = _base_of(container)
    if issubclass(base, dict):
        return dict(base.items(container))
    return (set if base is set else list)(base.__iter__(container))


def _clear_all(containers: Iterable[Any]) -> None:
    for container in containers:
        if container:
            container.clear()


def _refill_all(held: Iterable[tuple[Any, Any]]) -> None:
    for container, content in held:
        _refill(container, content)


def _refill(container: Any, content: Any) -> None:
    """Give a container just these entries, by methods that its class cannot refuse."""
    base = _base_of(container)
    if not (content or base.__len__(container)) or _is_same(_entries(container), content):
        return
    base.clear(container)
    if isinstance(content, dict):
        for key, value in content.items():
            base.__setitem__(container, key, value)
    else:
        (base.update if base is set else base.extend)(container, content)


def _base_of(container: Any) -> Any:
    kind: Any = type(container)
    return kind if kind in BASES else next(base for base in BASES if issubclass(kind, base))


def _is_same(entries: Any, others: Any) -> bool:
    """Whether two containers have the same objects in the same order."""
    if isinstance(entries, set):
        # Those of the same entries may differ in the order in which they are read.
        return bool(entries == others)
    same = len(entries) == len(others) and all(map(is_, entries, others))
    return same and (
        not isinstance(entries, dict) or all(map(is_, entries.values(), others.values()))
    )


def _set_gradient(tensor: torch.Tensor, gradient: torch.Tensor | None, needed: bool) -> None:
    if not tensor.is_leaf:
        return
    if tensor.grad is not gradient:
        tensor.grad = gradient
    if tensor.requires_grad is not needed:
        tensor.requires_grad_(needed)


def _refilling_array(values: NDArray[Any]) -> Callable[[], Any]:
    if not values.flags.writeable:
        return lambda: None
    return partial(np.copyto, values, values.copy())


def _refilling_buffer(buffer: Any) -> Callable[[], Any]:
    memory = memory_of(buffer)
    if isinstance(memory, (bytearray, array)):
        return partial(memory.__setitem__, slice(None), memory[:])
    content = bytes(memory)
    return lambda: ctypes.memmove(ctypes.addressof(memory), content, len(content))


def generator_state(generator: Any) -> Any:
    """The state of a random number generator."""
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    if isinstance(generator, np.random.BitGenerator):
        return generator.state, _spawned(generator)
    return (generator.getstate if isinstance(generator, random.Random) else generator.get_state)()


def _spawned(bits: Any) -> Any:
    """How many others have been made of a generator of NumPy; before 1.25, none can be."""
    return getattr(getattr(bits, "seed_seq", None), "state", None)


def _resetting(generator: Any) -> Callable[[], Any]:
    """A function that gives a random number generator its present state back."""
    if isinstance(generator, np.random.Generator):
        return _resetting(generator.bit_generator)
    if isinstance(generator, np.random.BitGenerator):
        return _resetting_bits(generator)
    put = generator.setstate if isinstance(generator, random.Random) else generator.set_state
    return partial(put, generator_state(generator))


def _resetting_bits(bits: Any) -> Callable[[], None]:
    state, spawned, whole = bits.state, _spawned(bits), copy.deepcopy(bits.__reduce__()[-1])

    def restore() -> None:
        if _spawned(bits) != spawned:
            # The seeds cannot be written to, so they become others.
            bits.__setstate__(copy.deepcopy(whole))
        bits.state = state

    return restore
