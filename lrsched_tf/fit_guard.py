"""The end of a `fit` that an exception or Ctrl-C ends, of which Keras tells no callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrsched_tf.patch import patch_methods

# Errors by which a training function tells `fit` that an epoch has ended.
END_OF_DATA = ("StopIteration", "OutOfRangeError")


class FitGuard:
    """Context manager that cleans up after a `fit` where an exception comes out of its block.

    Entered around the training function of a `fit`, and by callbacks around what they do. After an
    exception from elsewhere, the next `fit`, `train_on_batch` or `compile` calls a method that the
    guard replaces, and it cleans up first; within the `fit` too, since nothing tells a running one
    from a broken one.

    Args:
        model: Its `fit` is running.
        clean_up: May be called again; calls `remove`.
        retrace: Has the next step traced anew.
        late: Cleans up at the next use of the model, for a range test; None stands for `clean_up`.

    Attributes:
        is_alone: Nothing else may watch the same `fit`.
        has_trained: The training function has been called.
    """

    def __init__(
        self,
        model: Any,
        clean_up: Callable[[], object],
        retrace: Callable[[], object],
        late: Callable[[], object] | None = None,
    ) -> None:
        self._model, self.clean_up, self._retrace = model, clean_up, retrace
        self.clean_up_late = late or clean_up
        self.is_alone, self.has_trained = late is not None, False
        self._restore: Callable[[], object] = lambda: None

    def install(self) -> None:
        """Begin to watch the training function, and to wait for the next use of the model."""
        methods: dict[str, Any] = {"make_train_function": self, "compile": self._compile}
        self._restore = patch_methods(self._model, methods)
        self._watch()

    def remove(self) -> None:
        """Give the model its own methods back."""
        self._restore()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and kind.__name__ not in END_OF_DATA:
            self.clean_up()

    def __call__(self, force: bool = False) -> None:
        """Make the training function, in the place of the method of the model."""
        if force:  # by a callback that unfreezes layers, say, and goes on training
            self._retrace()
            self._watch()
            return
        self.clean_up_late()
        # Whatever has put it there again, it must not call itself. That of another callback stays.
        if self._model.__dict__.get("make_train_function") is self:
            del self._model.__dict__["make_train_function"]
        self._model.make_train_function()

    def _compile(self, *args: Any, **kwargs: Any) -> Any:
        self.clean_up_late()
        return self._model.compile(*args, **kwargs)

    def _watch(self) -> None:
        step = self._model.train_function

        def watched(*args: Any) -> Any:
            self.has_trained = True
            with self:
                return step(*args)

        self._model.train_function = watched


def guard_of(model: Any) -> FitGuard | None:
    """Return the last guard of a `fit` that runs or that an exception has ended, if any."""
    guard = getattr(model, "__dict__", {}).get("make_train_function")
    return guard if isinstance(guard, FitGuard) else None


def clean_up_fit(model: Any, *, running: bool = False) -> None:
    """Clean up after a `fit` that an exception has ended, or in one that is about to raise."""
    last = None
    while (guard := guard_of(model)) is not None and guard is not last:
        last = guard  # which removes itself
        (guard.clean_up if running else guard.clean_up_late)()
