"""Functions and methods: what they are bound to, closed over, and name in their module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import chain
from types import BuiltinMethodType, CodeType, FunctionType, MethodType
from typing import Any

from lrsched.rewind.kinds import MAX_ENTRIES, Child, Kind, Registry
from lrsched.rewind.objects import is_of_library, is_users_own


def _of_method(method: Any) -> Iterable[Child]:
    yield ".__self__", method.__self__
    if isinstance(method, MethodType):
        yield ".__func__", method.__func__


def _of_class(of: type) -> Iterable[Child]:
    """Return the methods of a class of the user's, and of those that it is derived from."""
    for base in of.__mro__:
        if is_users_own(base.__module__):
            for name, value in list(vars(base).items()):
                if type(value) is FunctionType:
                    yield f".{name}", value


def _of_partial(registry: Registry, function: partial[Any]) -> Iterable[Child]:
    taken = {".func": function.func, ".args": function.args, ".keywords": function.keywords}
    return _around(registry, taken)


def _of_function(registry: Registry, function: FunctionType) -> Iterable[Child]:
    """Return what a function has taken along from where it was defined, and names there."""
    if is_of_library(function.__module__):
        return
    taken = {".__defaults__": function.__defaults__, ".__kwdefaults__": function.__kwdefaults__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            taken[f".{name}"] = cell.cell_contents
        except ValueError:  # an empty one
            continue
    yield from _around(registry, taken)
    if is_users_own(function.__module__):
        for name in _names_in(function.__code__):
            value = function.__globals__.get(name)
            kind = registry.of(value)
            # Other variables of a module are where you note what you see.
            is_function = callable(value) and not isinstance(value, type)
            if kind is not None and (kind.draws or is_function):
                yield f".__globals__[{name!r}]", value


def _around(registry: Registry, variables: dict[str, Any]) -> Iterable[Child]:
    """Return the objects in variables of the code around, but not their lists and arrays.

    These are where you note what you see; what is in small ones is looked for.
    """
    pending = list(variables.items())
    for path, value in pending:
        kind = registry.of(value)
        if kind is None or kind.size is not None:
            continue
        if kind.entries is None:
            yield path, value
        elif len(pending) + kind.entries(value) <= MAX_ENTRIES:
            pending += [(path + label, child) for label, child, *_ in kind.children(value)]


@lru_cache(1024)
def _names_in(code: CodeType) -> tuple[str, ...]:
    """Return the global names in a function and in those inside."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return (*code.co_names, *chain.from_iterable(map(_names_in, inner)))


def add_to(registry: Registry) -> None:
    """Add the kinds of what can be called."""
    of_function: Callable[[Any], Iterable[Child]] = partial(_of_function, registry)
    registry.add(Kind(_of_class), type)
    registry.add(Kind(of_function), FunctionType)
    registry.add(Kind(_of_method), MethodType, BuiltinMethodType)
    registry.add(Kind(partial(_of_partial, registry)), partial)
