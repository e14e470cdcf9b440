"""What functions and methods lead to: what they are bound to, closed over, and name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

from lrsched._names import OURS, globals_named_by, methods_of
from lrsched_tf.modules import is_of_framework
from lrsched_tf.random_states import random_state


def behind(value: Any) -> Iterator[tuple[str, Any]]:
    """What something that can be called leads to, with the way there; of a class, its methods."""
    if isinstance(value, partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, BuiltinMethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, MethodType):
        yield from ((".__self__", value.__self__), (".__func__", value.__func__))
    elif isinstance(value, type):
        yield from ((f".{method.__name__}", method) for method in methods_of(value))
    elif isinstance(value, FunctionType) and _is_open(value):
        yield from _taken_along(value)


def _is_open(function: FunctionType) -> bool:
    module = str(function.__module__)
    return not (is_of_framework(module) or module.partition(".")[0] in OURS)


def _taken_along(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function has taken along from where it was defined."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:  # an empty one
            continue
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    for name, value in globals_named_by(function).items():
        # Other variables are where you note what you see.
        can_be_called = callable(value) and not isinstance(value, type)
        if can_be_called or random_state(value) is not None:
            yield f".__globals__[{name!r}]", value
