"""Hooks of ours that a subclass of the user's overrides."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from lrsched_tf.compiled.optimizers import check_keras_3

Hook = TypeVar("Hook", bound=Callable[..., Any])


def needed(hook: Hook) -> Hook:
    """Decorate a hook of ours that has to run, also where a subclass overrides it."""

    @functools.wraps(hook)
    def reached(self: Any, *arguments: Any, **named: Any) -> Any:
        vars(self).setdefault("_hooks_reached", set()).add(hook.__name__)
        return hook(self, *arguments, **named)

    reached.is_needed = True  # type: ignore[attr-defined]
    return reached  # type: ignore[return-value]


class SubclassHooks(keras.callbacks.Callback):  # type: ignore[misc]
    """Base of callbacks: a subclass that leaves out a call of a needed hook is told so.

    Without the call nothing would be scheduled, or a schedule would stay after the end.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, own in list(vars(cls).items()):
            inherited = (vars(base).get(name) for base in cls.__mro__[1:])
            is_ours = getattr(own, "is_needed", False)
            if not is_ours and any(getattr(hook, "is_needed", False) for hook in inherited):
                setattr(cls, name, _checked(name, own))

    def set_model(self, model: Any) -> None:
        check_keras_3(model)
        super().set_model(model)


def _checked(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def hook(self: Any, *arguments: Any, **named: Any) -> Any:
        reached = vars(self).setdefault("_hooks_reached", set())
        reached.discard(name)
        result = own(self, *arguments, **named)
        if name not in reached:
            raise TypeError(
                f"{name} of {type(self).__name__} must call super().{name}(...), got one that "
                "does not, so the callback could not do its work"
            )
        return result

    return hook
