"""The end of a `fit` that an exception or Ctrl-C ends, of which Keras tells no callback."""

from __future__ import annotations

import functools
import queue
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import GeneratorType, TracebackType
from typing import Any

import keras

from lrsched_tf.frames import outwards, running_fit

# What reads or writes a model, past its training step.
USES_OF_MODEL = (
    *("compile", "evaluate", "predict", "test_on_batch", "predict_on_batch", "save", "export"),
    *("get_weights", "set_weights", "load_weights", "save_weights"),
)
# Of a list of callbacks; those of batches for torch, where `fit` has nothing around its loop.
CALLS = ("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end")


class Guard:
    """Calls `clean_up` once the `fit` that it was made in has ended by an exception.

    At once, where the exception comes out of a step, the data or a callback, or on JAX out of
    anything in `fit`. Else it is made up for by the next `fit`, which begins with
    `make_train_function`, for which this stands in; by the methods that it was told to stand
    before; and wherever somebody asks whether the `fit` is over.

    Args:
        model: Its `fit` is running.
        clean_up: May be called again; calls `remove`.
        retrace: Has the next step traced anew.

    Attributes:
        fit: The running call of `fit`; None in a loop that calls its callbacks by itself.
    """

    def __init__(
        self, model: Any, clean_up: Callable[[], object], retrace: Callable[[], object]
    ) -> None:
        self._model, self.clean_up, self._retrace = model, clean_up, retrace
        self.fit = running_fit()
        self._ends: list[Callable[[], None]] = []

    def install(self, uses: tuple[str, ...] = ()) -> None:
        """Begin; `uses` are the methods of the model that clean up first."""
        stand_ins = {name: self._before(getattr(self._model, name)) for name in uses}
        self._ends.append(stand_in(self._model, {**stand_ins, "make_train_function": self}))
        if keras.backend.backend() == "jax":
            self._watch(self._model.optimizer, self._finalizing, "finalize_variable_values")
            return
        self._watch(self.of_fit("epoch_iterator"), self._catching, "catch_stop_iteration")
        self._watch(self.of_fit("callbacks"), self._calling, *CALLS)
        self._watch_step()

    def of_fit(self, name: str) -> Any:
        """A local variable of the running `fit`, if it has it."""
        return None if self.fit is None else self.fit.f_locals.get(name)

    def _watch(self, owner: Any, wrap: Callable[..., Callable[..., Any]], *names: str) -> None:
        functions = {name: wrap(getattr(owner, name)) for name in names if hasattr(owner, name)}
        if self.fit is not None and functions:
            self._ends.append(stand_in(owner, functions))

    def remove(self) -> None:
        """Take out everything that stands in for something, and let go of the `fit`."""
        while self._ends:
            self._ends.pop()()
        self.fit = None

    def call_around(self, first: keras.callbacks.Callback, last: keras.callbacks.Callback) -> bool:
        """Have `fit` call one of its callbacks before the others, and one more after them."""
        found = self.of_fit("callbacks")
        if not isinstance(found, keras.callbacks.CallbackList):
            return False
        others = [callback for callback in found.callbacks if callback is not first]
        # A new list: the old one is being gone through.
        found.callbacks = [first, *others, last]
        return True

    def stop_reading(self) -> None:
        """Stop what reads data ahead, and would go on in the middle of an epoch."""
        epochs = self.of_fit("epoch_iterator")
        enqueuer = getattr(getattr(epochs, "data_adapter", None), "enqueuer", None)
        if enqueuer is not None:
            _end_workers(enqueuer)
        error = sys.exc_info()[2]
        if epochs is not None and (self._model.stop_training or error is not None):
            # A generator of its own, which would keep the data until the garbage is collected.
            epochs._epoch_iterator = epochs._current_iterator = None
        # A prefetching iterator of tf.data ends, after waiting for its thread, with the last that
        # holds it: `fit`, which leaves it to the garbage collector, or the traceback of an error.
        iterator = self.of_fit("iterator")
        _clear_frames(error)
        if isinstance(iterator, GeneratorType):
            iterator.close()
        if keras.backend.backend() == "tensorflow" and iterator is not None:
            vars(iterator).clear()

    def is_over(self) -> bool:
        """Whether the `fit` has ended, on whatever thread the question is asked."""
        if self.fit is None or self.fit in outwards(sys._getframe(1)):
            return False
        return not any(self.fit in outwards(top) for top in sys._current_frames().values())

    def __call__(self, force: bool = False) -> None:
        if force:  # a callback that unfreezes layers, say, and goes on training
            self._retrace()
            self._watch_step()
        elif self.fit is None or self.is_over():
            self.clean_up()
            if self._model.__dict__.get("make_train_function") is self:
                # Whatever put it back there, it must not call itself.
                del self._model.__dict__["make_train_function"]
            self._model.make_train_function()

    def _before(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def cleaned(*args: Any, **kwargs: Any) -> Any:
            if self.is_over():
                self.clean_up()
            return method(*args, **kwargs)

        return cleaned

    def _watch_step(self) -> None:
        """With torch, each step by itself."""
        if self.fit is not None and keras.backend.backend() == "torch":
            self._model.train_function = self._calling(self._model.train_function)

    def _calling(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self._at_once():
                return function(*args, **kwargs)

        return watched

    def _catching(self, catch: Callable[[], Any]) -> Callable[[], Any]:
        """What `fit` has around its loop over the batches, and around the reading of each."""

        @contextmanager
        def watched() -> Iterator[None]:
            with self._at_once(), catch():
                yield

        return watched

    def _finalizing(self, finalize: Callable[[Any], object]) -> Callable[[Any], None]:
        """What `fit` calls at any end of its own on JAX."""

        def watched(variables: Any) -> None:
            finalize(variables)
            if self.of_fit("training_finished") is False:
                self.clean_up()

        return watched

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.clean_up()
            raise


def _end_workers(enqueuer: Any) -> None:
    """End the workers of a PyDataset, and wait for them.

    Keras's own `stop` leaves off at the first read that failed, and does nothing the next time.
    """
    with suppress(Exception):  # of a batch that is not trained on
        enqueuer.stop()
    thread, pending = enqueuer.run_thread, enqueuer.future_queue
    while thread is not None and (thread.is_alive() or not pending.empty()):
        with suppress(queue.Empty):
            read = pending.get(timeout=0.1)
            if not isinstance(read, Exception):
                read.wait()


def _clear_frames(trace: TracebackType | None) -> None:
    """Have the frames of frameworks in a traceback drop what they hold; not those of the user."""
    for frame, _ in traceback.walk_tb(trace):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in ("keras", "tensorflow", "torch"):
            with suppress(RuntimeError):  # of a frame that is still running, such as that of `fit`
                frame.clear()


def clear_leftovers(model: Any) -> None:
    """Clean up after a `fit` that an exception has ended."""
    standing = model.__dict__.get("make_train_function")
    if isinstance(standing, Guard) and standing.is_over():
        standing.clean_up()


def end_own_fit(model: Any) -> None:
    """Clean up in the innermost `fit`, if it is that of a guard, before an error ends it."""
    standing, fit = model.__dict__.get("make_train_function"), running_fit()
    if isinstance(standing, Guard) and fit is not None and standing.fit is fit:
        standing.clean_up()


def stand_in(owner: Any, functions: Mapping[str, Callable[..., Any]]) -> Callable[[], None]:
    """Put functions in the place of methods of an instance; gives what puts those back."""
    # Past __setattr__, which tracks what it is given.
    attributes = owner.__dict__
    own = {name: attributes[name] for name in functions if name in attributes}
    attributes.update(functions)

    def put_back() -> None:
        for name in functions:
            attributes.pop(name, None)
        attributes.update(own)

    return put_back
