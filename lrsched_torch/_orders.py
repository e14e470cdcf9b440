"""What decides the order of batches, in a loader and in everything that it is made of."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import (
    BuiltinMethodType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any
from weakref import ref

from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _BaseDataLoaderIter

from lrsched._names import methods_of, named_by
from lrsched_torch._attributes import UNDER_WAY, of_loader, of_part, trains
from lrsched_torch._digest import DEPTH, Digest, digest_order
from lrsched_torch._hold import Keeper
from lrsched_torch._kinds import (
    MAX_ENTRIES,
    Kind,
    attributes_of,
    entries_of,
    holds_only,
    is_open,
    kind_of,
    kinds_in,
    size_of,
    slots_of,
)

# Arrays of more elements, also if in a container together, are data rather than an order; of the
# others, so many elements are kept in all, the smallest first.
MAX_SIZE, MAX_TOTAL = 2**20, 2**22
# Of larger arrays in what is data, a sample is hashed.
MAX_HASHED = 2**12
MAX_PARTS = 10_000
# Of libraries, whose other objects keep what is none of a loader's business.
PARTS = (DataLoader, Dataset, Sampler, nn.Module)
LEAVES = {Kind.TENSOR, Kind.PLAIN, Kind.ARRAY, Kind.BUFFER, Kind.LOGGING}


class Parts:
    """A loader, its samplers, data sets, transforms and collating, and what these lead to.

    Or the same of a function that gives the loss.

    Args:
        root: The loader, or the function.
        name: What messages call it.
        apart: Kinds of objects that are not opened, but listed in `found_apart`.

    Attributes:
        holds_iterator: What is read from the loader may come from an iterator that it keeps.
        partly: Names of what is too large to be put back and checked whole.
        failed: Names of what the last `restore` could not put back.
    """

    def __init__(self, root: Any, name: str, apart: tuple[type, ...] = ()) -> None:
        found = list(_walk(root, apart))
        self._name = name
        self.found_apart: list[Any] = [part for part in found if isinstance(part, apart)]
        found = [part for part in found if not isinstance(part, apart)]
        self._generators = [part for part in found if kind_of(part) is Kind.GENERATOR]
        self._parts = [part for part in found if kind_of(part) is not Kind.GENERATOR]
        self._batches = root if isinstance(root, (list, tuple)) else ()
        self.partly = [name] if len(self._parts) == MAX_PARTS else []
        values = [value for part in self._parts for value in of_part(part).values()]
        self.holds_iterator = any(map(is_iterator, values))
        self._whole = _what_fits(values)
        self._keep = Keeper()
        for part in self._parts:
            self._keep.hold_attributes(part, of_part, self._hold, self._label(part))
        for generator in self._generators:
            self._keep.hold(generator)
        self._aside: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.failed: list[str] = []

    def _label(self, part: Any) -> str:
        return f"attribute {{}} of the {type(part).__name__} in {self._name}"

    def _hold(self, value: Any) -> None:
        """Hold what may decide the order of batches; of data, only its own order."""
        if id(value) in self._whole:
            self._keep.hold(value)
        else:
            self._keep.hold_entries(value)

    def set_aside(self) -> None:
        """Have DataLoaders begin anew with workers of their own, until `restore`.

        Workers that persist, and an epoch that is under way, are not disturbed.
        """
        if self._aside:
            return
        for attributes in (vars(part) for part in self._parts if isinstance(part, DataLoader)):
            kept = {name: attributes[name] for name in UNDER_WAY if name in attributes}
            self._aside.append((attributes, kept))
            attributes.update({name: UNDER_WAY[name] for name in kept})

    def restore(self) -> None:
        """Put everything back; may be called again."""
        try:
            self.failed = self._keep.restore()
        finally:
            for attributes, kept in self._aside:
                attributes.update(kept)
            self._aside.clear()

    def hashes(self) -> dict[str, int]:
        """Hashes of the attributes of parts, by the kind of part and the name."""
        known = (*self._parts, *self.found_apart)
        exact, rough = Digest(known), Digest(known, largest=MAX_HASHED)
        found = {f"random numbers in {self._name}": [exact.of(part) for part in self._generators]}
        for part in self._parts:
            label = self._label(part)
            for name, value in of_part(part).items():
                hashes = found.setdefault(label.replace("{}", name), [])
                hashes.append(self._hash(label.replace("{}", name), value, exact, rough))
        # What changes batches in place, changes the first one too.
        found[f"batches in {self._name}"] = [*map(exact.of, self._batches[:1])]
        self.partly += rough.partly
        return {name: hash(tuple(hashes)) for name, hashes in found.items()}

    def _hash(self, name: str, value: Any, exact: Digest, rough: Digest) -> int:
        kind = kind_of(value)
        if kind is Kind.PLAIN or id(value) in self._whole:
            return exact.of(value)
        if kind in (Kind.CONTAINER, Kind.FIXED):
            order = digest_order(value)
            if len(value) <= MAX_ENTRIES and kinds_in(value) <= {Kind.OBJECT, Kind.MODULE}:
                return order  # parts, which are hashed by themselves
            return hash((order, rough.entry(name, value, DEPTH - 1)))
        if kind in (Kind.TENSOR, Kind.ARRAY):
            return rough.of(value)
        return exact.of(value, 0)


def _what_fits(values: Iterable[Any]) -> dict[int, Any]:
    """The values that are kept whole, by their ids."""
    known = {id(value): value for value in values}
    fitting, left = {}, MAX_TOTAL
    for size, key in sorted((size_of(value), key) for key, value in known.items()):
        if size > min(MAX_SIZE, left):
            break
        fitting[key] = known[key]
        left -= int(size)
    return fitting


def _walk(root: Any, apart: tuple[type, ...]) -> Iterator[Any]:
    """A loader and the objects on the way from it whose attributes count, and generators."""
    # The objects too, whose ids must not become those of others.
    waiting, seen, number = [root], dict[int, Any](), 0
    for value in waiting:
        kind = kind_of(value)
        if kind in LEAVES or id(value) in seen:
            continue
        seen[id(value)] = value
        if kind is Kind.CONTAINER or kind is Kind.FIXED:
            if len(value) <= MAX_ENTRIES and not holds_only(value, LEAVES):
                waiting += entries_of(value)
        elif kind is Kind.GENERATOR or isinstance(value, apart):
            yield value
        elif _is_part(value):
            if value is not root and trains(value):
                waiting += filter(_decides, attributes_of(value).values())
                continue
            yield value
            number += 1
            if number == MAX_PARTS:
                return
            waiting += of_loader(value).values()
            waiting += methods_of(type(value))
        else:
            waiting += _behind(value)


def _decides(value: Any) -> bool:
    """Whether what a training loop keeps decides its batches, and is none of its notes."""
    return kind_of(value) is Kind.GENERATOR or isinstance(value, (DataLoader, Dataset, Sampler))


def _is_part(value: Any) -> bool:
    has_attributes = hasattr(value, "__dict__") or bool(slots_of(value))
    return has_attributes and (is_open(value) or isinstance(value, PARTS))


def _behind(value: Any) -> Iterable[Any]:
    """What a function or an iterator leads to."""
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, (MethodType, BuiltinMethodType)):
        return (value.__self__,)
    if isinstance(value, FunctionType):
        return _bound(value)
    if isinstance(value, ref):
        return (value(),)
    if isinstance(value, GeneratorType):
        return inspect.getgeneratorlocals(value).values()
    if isinstance(value, _BaseDataLoaderIter):
        return vars(value).values()
    return _sources(value) if isinstance(value, Iterator) else ()


def _bound(function: FunctionType) -> Iterator[Any]:
    """What a function has taken along from where it was defined."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty one
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for value in named_by(function):
        # Other variables are where you note what you see.
        if kind_of(value) is Kind.GENERATOR or is_function(value):
            yield value


def is_function(value: Any) -> bool:
    """Whether a value can be called, and is no class."""
    return callable(value) and not isinstance(value, type)


def _sources(iterator: Any) -> Iterable[Any]:
    """What an iterator of Python itself, such as a zip, reads from."""
    if type(iterator).__module__ not in ("builtins", "itertools"):
        return ()
    with warnings.catch_warnings(), suppress(TypeError):
        # Of itertools, which from Python 3.14 on do not tell.
        warnings.simplefilter("ignore", DeprecationWarning)
        sources: tuple[Any, ...] = iterator.__reduce__()[1:]
        return sources
    return ()


def is_iterator(value: Any) -> bool:
    """Whether what has been read from something is gone; a file can be put back by its owner."""
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase)
