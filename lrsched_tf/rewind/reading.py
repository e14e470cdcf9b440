"""The data of one `fit`, and the end of all that reads it ahead."""

from __future__ import annotations

import queue
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import keras
from keras.src.trainers.data_adapters import get_data_adapter

from lrsched.rewind.objects import is_of_library
from lrsched.rewind.restore_on_exit import DeferredInterrupt

# Where adapters of Keras keep what they iterate over, but for what TensorFlow reads by itself.
SOURCES = ("_dataset", "_dataloader")
# Stands for what TensorFlow reads.
FIT = "fit"
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


class DataReading:
    """Context manager of a `fit` that ends, with its block, what reads the data ahead.

    Keras leaves to the garbage collector threads and workers that would draw random numbers.

    Args:
        arguments: Of `fit`, about the data.

    Attributes:
        adapter: What `fit` takes for `x`, in place of all of them but `steps_per_epoch`.
    """

    def __init__(self, **arguments: Any) -> None:
        self.adapter = get_data_adapter(**{"shuffle": True, **arguments})
        # The last iterator of each source; Keras has let go of those before.
        self._iterators: dict[str, Any] = {}
        attributes = vars(self.adapter)
        for name in SOURCES[ON_TENSORFLOW:]:
            if name in attributes:
                attributes[name] = _Recorded(attributes[name], name, self._iterators)
        self._enqueuer, self._pools = attributes.get("enqueuer"), list[Any]()
        if self._enqueuer is not None:
            self._enqueuer.executor_fn = self._recorded(self._enqueuer.executor_fn)

    def _recorded(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def make_pool(*arguments: Any) -> Any:
            self._pools.append(make(*arguments))
            return self._pools[-1]

        return make_pool

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the training function, watched for what it reads from on TensorFlow."""
        if not ON_TENSORFLOW:
            return step

        def reading(iterator: Any) -> Any:
            self._iterators[FIT] = iterator
            return step(iterator)

        return reading

    def __enter__(self) -> DataReading:
        self._handled = sys.exc_info()[1]
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with DeferredInterrupt():
            if self._enqueuer is not None:
                _end_workers(self._enqueuer, self._pools)
            while self._iterators and error not in (None, self._handled):
                _release(error.__traceback__)
                error = error.__context__
            # On TensorFlow, threads of the first read from the others.
            for name in (FIT, *SOURCES):
                if name in self._iterators:
                    _end_reading(self._iterators.pop(name))


def _release(trace: TracebackType | None) -> None:
    """Have the frameworks' frames in a traceback, not the user's, drop their iterators."""
    for frame, _ in traceback.walk_tb(trace):
        if is_of_library(frame.f_globals.get("__name__")):
            with suppress(RuntimeError):  # of one that still runs
                frame.clear()


class _Recorded:
    """Data whose last iterator is taken note of."""

    def __init__(self, data: Any, name: str, iterators: dict[str, Any]) -> None:
        self._data, self._name, self._iterators = data, name, iterators

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = iter(self._data)
        self._iterators[self._name] = iterator
        return iterator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)


def _end_reading(iterator: Any) -> None:
    """End an iterator, whoever refers to it."""
    if hasattr(iterator, "_shutdown_workers"):  # of a DataLoader
        iterator._shutdown_workers()
    else:
        # One of tf.data ends with what it holds, after waiting for its threads.
        vars(iterator).clear()


def _end_workers(enqueuer: Any, pools: list[Any]) -> None:
    """End the workers of a PyDataset, also where one of them has failed."""
    thread = enqueuer.run_thread
    with suppress(Exception):
        enqueuer.stop()
    while thread is not None and thread.is_alive():
        # What a worker had raised has come out before there was room in the queue.
        with suppress(queue.Empty):
            enqueuer.future_queue.get(timeout=0.1)
    for pool in pools:
        pool.close()
        pool.join()
