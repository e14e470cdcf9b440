"""Objects: their attributes, in a dict and in slots."""

from __future__ import annotations

import argparse
from collections import UserDict, UserList
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import Any

from lrsched.rewind.kinds import MAX_TYPES, Kind, is_a
from lrsched.rewind.libraries import is_of_library

OPTIMIZERS = ("torch.optim:Optimizer", "keras:Optimizer")
# Of Python, and made for users to keep things in.
OF_PYTHON = (SimpleNamespace, argparse.Namespace, UserDict, UserList)
Attributes = Callable[[Any], dict[str, Any]]


@lru_cache(MAX_TYPES)
def slots_of(of: Any) -> dict[str, Any]:
    """Return what reads and writes the attributes that `__slots__` declares, by name."""
    return {
        name: member
        for base in reversed(of.__mro__)
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    }


def attributes_of(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object, in its dict and in slots."""
    found = dict(getattr(owner, "__dict__", {}))
    of: Any = type(owner)
    for name, slot in slots_of(of).items():
        try:
            found[name] = slot.__get__(owner)
        except AttributeError:  # an empty one
            continue
    return found


def without(*names: str) -> Attributes:
    """Return a function that reads the attributes of an object but for some."""

    def attributes(owner: Any) -> dict[str, Any]:
        return {name: v for name, v in attributes_of(owner).items() if name not in names}

    return attributes


def restore_attributes(owner: Any, attributes: Attributes, content: Mapping[str, Any]) -> None:
    """Give an object just these attributes, past a `__setattr__` of its own."""
    of: Any = type(owner)
    present, slots = attributes(owner), slots_of(of)
    for name in present.keys() - content.keys():
        if name in slots:
            slots[name].__delete__(owner)
        else:
            del vars(owner)[name]
    for name, value in content.items():
        if name in present and present[name] is value:
            continue
        if name in slots:
            slots[name].__set__(owner, value)
        else:
            vars(owner)[name] = value


def is_owner(of: Any) -> bool:
    """Return whether objects of a type keep attributes that are state, and not a library's."""
    if issubclass(of, OF_PYTHON):
        return True
    if issubclass(of, (type, FunctionType)) or not (of.__dictoffset__ or slots_of(of)):
        return False
    return not is_of_library(of.__module__)


def is_training_loop(attributes: Mapping[str, Any]) -> bool:
    """Return whether an object that has these attributes trains: it keeps notes for the user."""
    return any(is_a(value, *OPTIMIZERS) for value in attributes.values())


OBJECT = Kind(attributes=attributes_of, counts=True)
