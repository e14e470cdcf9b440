"""The kinds of Python and NumPy, to which the adapters add those of their framework."""

from __future__ import annotations

from dataclasses import replace

from lrsched.rewind import arrays, callables, containers, generators, torch_values
from lrsched.rewind.iterators import ITERATOR, is_iterator
from lrsched.rewind.kinds import Kind, Registry
from lrsched.rewind.objects import OBJECT, attributes_of, is_owner


def new_registry() -> Registry:
    """Return a registry of the kinds that need no framework."""
    registry = Registry(_with_attributes)
    for module in (containers, arrays, generators, callables, torch_values):
        module.add_to(registry)
    return registry


def _with_attributes(of: type, found: Kind | None) -> Kind | None:
    """Return the kind of a type, with the attributes of objects of the user's."""
    if found is None:
        if is_iterator(of):
            return ITERATOR
        return OBJECT if is_owner(of) else None
    if found.attributes is None and is_owner(of):
        return replace(found, attributes=attributes_of)
    return found
