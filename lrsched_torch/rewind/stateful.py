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
        self._part = part
        self._attributes = dict(vars(part)) if isinstance(part, DataLoader) else None

    def capture(self) -> Restore:
        """Copy the state dict; returns what loads it."""
        return partial(self._load, copy.deepcopy(self._state()))

    def _state(self) -> Any:
        """Return the state; of a StatefulDataLoader, that of the epoch under way, if one is.

        To read it would begin an epoch, and to load one ends that which is under way.
        """
        idle = self._attributes is not None and vars(self._part).get("_iterator") is None
        return {} if idle else self._part.state_dict()

    def _load(self, state: Any) -> None:
        if self._attributes is not None:
            vars(self._part).update(self._attributes)
            if not state or repr(self._state()) == repr(state):
                return
        self._part.load_state_dict(copy.deepcopy(state))
