"""What is restored by its state dict."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from lrsched.rewind.kinds import Restore


class ByStateDict:
    """Something that is restored by its state dict; made for each entry of `stateful`.

    Args:
        part: Has `state_dict` and `load_state_dict`.

    Raises:
        TypeError: it has none.
    """

    def __init__(self, part: Any) -> None:
        if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
            raise TypeError(
                "stateful must hold objects with state_dict and load_state_dict, "
                f"got {type(part).__name__} (what model, optimizer, loss or loader keep in "
                "attributes is restored anyway: leave it out)"
            )
        self.part = StatefulLoaderAdapter(part) if isinstance(part, DataLoader) else part

    def capture(self) -> Restore:
        """Copy the state dict; returns what loads it."""
        return partial(self._load, copy.deepcopy(self.part.state_dict()))

    def _load(self, state: Any) -> None:
        self.part.load_state_dict(copy.deepcopy(state))


class StatefulLoaderAdapter:
    """State of a StatefulDataLoader: where it is in its epoch.

    To read its state begins an epoch where none is under way, and to load one ends that which is:
    neither is done where it is not needed.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._attributes = dict(vars(loader))

    def state_dict(self) -> Any:
        """Return the state of the epoch that is under way, if one is."""
        under_way = vars(self._loader).get("_iterator") is not None
        return self._loader.state_dict() if under_way else {}

    def load_state_dict(self, state: Any) -> None:
        """Go on with that epoch."""
        vars(self._loader).update(self._attributes)
        if state and repr(self.state_dict()) != repr(state):
            self._loader.load_state_dict(state)
