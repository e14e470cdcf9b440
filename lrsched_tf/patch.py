"""Methods of one instance replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def patch_methods(owner: Any, functions: Mapping[str, Callable[..., Any]]) -> Callable[[], None]:
    """Replace methods of an instance by functions; returns what restores them."""
    # Past __setattr__, which tracks what it is given.
    attributes = owner.__dict__
    own = {name: attributes[name] for name in functions if name in attributes}
    attributes.update(functions)

    def restore() -> None:
        for name in functions:
            attributes.pop(name, None)
        attributes.update(own)

    return restore
