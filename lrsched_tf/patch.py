"""Methods of one instance replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Of an instance: the replacements that are in place, in the order in which they came.
PATCHES = "_lrsched_patches"


def patch_methods(owner: Any, functions: Mapping[str, Callable[..., Any]]) -> Callable[[], None]:
    """Replace methods of an instance by functions; returns what restores them, in any order."""
    # Past __setattr__, which tracks what it is given.
    attributes = owner.__dict__
    own = {name: attributes[name] for name in functions if name in attributes}
    attributes.update(functions)
    patches = attributes.setdefault(PATCHES, [])
    patches.append(own)

    def restore() -> None:
        index = next((i for i, patch in enumerate(patches) if patch is own), None)
        if index is None:
            return
        del patches[index]
        for name in functions:
            # What came later has replaced this one: it is to put back what this one found.
            later = next((patch for patch in patches[index:] if name in patch), None)
            place = attributes if later is None else later
            place.pop(name, None)
            if name in own:
                place[name] = own[name]
        if not patches:
            attributes.pop(PATCHES, None)

    return restore
