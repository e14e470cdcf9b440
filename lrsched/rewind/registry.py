"""The kinds of Python and NumPy, to which the adapters add those of their framework."""

from __future__ import annotations

from dataclasses import replace

from lrsched.rewind import callables, torch_values, values
from lrsched.rewind.kinds import Kind, Registry
from lrsched.rewind.objects import attributes_of, is_owner


def new_registry() -> Registry:
    """Return a registry of the kinds that need no framework."""
    registry = Registry(_with_attributes)
    for module in (values, callables, torch_values):
        module.add_to(registry)
    return registry


def _with_attributes(of: type, found: Kind | None) -> Kind | None:
    """Return the kind of a type, with the attributes of objects of the user's."""
    if found is None and values.is_iterator(of):
        return values.ITERATOR
    if not is_owner(of) or (found is not None and found.attributes is not None):
        return found
    return replace(found or Kind(), attributes=attributes_of)
