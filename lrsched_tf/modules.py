"""Classes of modules that may not have been imported."""

from __future__ import annotations

import sys
from functools import lru_cache
from operator import attrgetter
from typing import Any

# Of which it is remembered what they are.
MAX_TYPES = 4096
FRAMEWORKS = frozenset(
    {*sys.stdlib_module_names, "flax", "h5py", "jax", "jaxlib", "keras", "ml_dtypes", "numpy"}
    | {"optree", "pandas", "scipy", "tensorflow", "torch"}
)


def is_of_framework(module: str | None) -> bool:
    """Whether a module is of Python, of what Cython compiles, or of a framework."""
    package = str(module).partition(".")[0]
    return package in FRAMEWORKS or package.startswith("_cython_")


@lru_cache(maxsize=MAX_TYPES)
def derives(kind: Any, module: str, name: str) -> bool:
    """Whether a type is a class of a module, or derived of it."""
    found = sys.modules.get(module)
    return found is not None and issubclass(kind, attrgetter(name)(found))


def is_of(module: str, name: str, value: Any) -> bool:
    """Whether a value is an instance of a class of a module."""
    kind: Any = type(value)
    return derives(kind, module, name)


def is_torch_tensor(value: Any) -> bool:
    """Whether a value is a tensor; parameters are variables of Keras, and held as such."""
    return is_of("torch", "Tensor", value) and not is_of("torch", "nn.Parameter", value)
