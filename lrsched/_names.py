"""What functions name in the module that they are in, such as the generator of a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

# Not the user's, also where they are not installed.
OURS = ("lrsched", "lrsched_tf", "lrsched_torch")


def named_by(function: FunctionType) -> Iterator[Any]:
    """The global values that a function of the user's names, itself or in functions inside."""
    yield from globals_named_by(function).values()


def globals_named_by(function: FunctionType) -> dict[str, Any]:
    """The same by their names."""
    if not _is_yours(function.__module__):
        return {}
    known = function.__globals__
    return {name: known[name] for name in _names_in(function.__code__) if name in known}


def methods_of(kind: type) -> list[FunctionType]:
    """The functions in a class of the user's, and in those that it is derived from."""
    own = (base for base in kind.__mro__ if _is_yours(base.__module__))
    return [value for base in own for value in vars(base).values() if type(value) is FunctionType]


@lru_cache(1024)
def _names_in(code: CodeType) -> tuple[str, ...]:
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return (*code.co_names, *chain.from_iterable(map(_names_in, inner)))


@lru_cache(1024)
def _is_yours(module: str | None) -> bool:
    """Whether a module is neither of Python nor installed nor ours."""
    name = str(module)
    place = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    package = name.partition(".")[0]
    installed = {"site-packages", "dist-packages"} & {*place.parts}
    return not (installed or package in sys.stdlib_module_names or package in OURS)
