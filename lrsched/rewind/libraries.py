"""Whose code something is: Python's, a framework's, installed, or the user's own."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

OURS = frozenset({"lrsched", "lrsched_tf", "lrsched_torch"})
# Their objects are not opened: what they keep is none of a training's business, or restored by
# the kinds that the adapters add.
LIBRARIES = (
    sys.stdlib_module_names
    | OURS
    | {"accelerate", "flax", "h5py", "jax", "jaxlib", "keras", "lightning", "ml_dtypes", "numpy"}
    | {"optree", "pandas", "pytorch_lightning", "scipy", "tensorflow", "torch"}
)


def package_of(module: str | None) -> str:
    """Return the name of the package that a module belongs to."""
    return str(module).partition(".")[0]


def is_of_library(module: str | None) -> bool:
    """Return whether a module is of Python, of what Cython compiles, or of a framework."""
    package = package_of(module)
    return package in LIBRARIES or package.startswith("_cython_")


@lru_cache(1024)
def is_users_own(module: str | None) -> bool:
    """Return whether a module is neither of a library nor installed."""
    name = str(module)
    place = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    installed = {"site-packages", "dist-packages"} & {*place.parts}
    return not (installed or is_of_library(name))
