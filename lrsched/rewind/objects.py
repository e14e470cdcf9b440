"""Objects of the user's: their attributes, in a dict and in slots."""

from __future__ import annotations

import argparse
import os
import sys
from collections import UserDict, UserList
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import Any

from lrsched.rewind.kinds import MAX_TYPES

# Of Python, and made for users to keep things in.
OF_PYTHON = (SimpleNamespace, argparse.Namespace, UserDict, UserList)
# Their objects are not opened, and those of Python neither: what they keep is none of a training's
# business, or restored by the kinds that the adapters add.
LIBRARIES = (
    {"accelerate", "flax", "h5py", "jax", "jaxlib", "keras", "lightning", "lrsched", "lrsched_tf"}
    | {"lrsched_torch", "ml_dtypes", "numpy", "optree", "pandas", "pytorch_lightning", "scipy"}
    | {"tensorflow", "torch"}
)
Attributes = Callable[[Any], dict[str, Any]]


def is_of_library(module: str | None) -> bool:
    """Return whether a module is of Python, of what Cython compiles, or of a framework."""
    package = str(module).partition(".")[0]
    if package in sys.stdlib_module_names:
        # A file of the user's may have the name of one of them, such as code.py.
        file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
        return not file.endswith(".py") or file.startswith(os.path.dirname(os.__file__))
    return package in LIBRARIES or package.startswith("_cython_")


def is_users_own(module: str | None) -> bool:
    """Return whether a module is neither of a library nor installed."""
    file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return not (installed or is_of_library(module))


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
    return lambda owner: {n: v for n, v in attributes_of(owner).items() if n not in names}


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
