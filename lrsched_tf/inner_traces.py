"""Functions that a training step calls, compiled by the user: their traces outlive the step's.

`tf.function` and `jax.jit` keep what they have traced for the next `fit`, with the schedule of
this one in it, or have a trace from before it came in. Torch alone looks at what has changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from lrsched_tf.install import StepCounter

BACKEND = keras.backend.backend()

if BACKEND == "jax":
    import jax

    # Here, since none may be made while other threads use JAX. Without it, in releases before
    # it came, nothing sees such a function.
    _make_context = getattr(jax, "make_user_context", None)
    _context = None if _make_context is None else _make_context(default_value=None)


def check_train_step(model: Any) -> None:
    """See that `fit` compiles the step, before it begins."""
    if hasattr(model.train_step, "get_concrete_function"):
        raise ValueError(
            f"the train_step of {type(model).__name__} must be a plain function, got one of "
            "tf.function (leave the decorator out: fit compiles it)"
        )


class InnerTraces:
    """Keeps a schedule out of the traces of what the user has compiled inside of a step.

    JAX traces anew in another context. TensorFlow knows of none, and so a function that makes the
    update is refused there.

    Args:
        counters: Of the optimizers that are scheduled.
    """

    def __init__(self, counters: list[StepCounter]) -> None:
        self._counters = counters
        self._first = [counter.batches() for counter in counters]
        # Of the steps that run now, one in each thread of a tf.distribute strategy.
        self._graphs: list[Any] = []
        self._reached = False

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A training step that sees to it; on torch the step itself."""
        if BACKEND == "tensorflow":
            return functools.partial(self._watch, step)
        if BACKEND == "jax" and _context is not None:
            # Not `self`, which JAX would keep.
            return functools.partial(_run_in_context, object(), step)
        return step

    def check_update(self) -> None:
        """See that an update is traced with the step that makes it.

        Raises:
            ValueError: it is being traced by a function that will keep it; it does not now.
        """
        self._reached = True
        if BACKEND != "tensorflow" or not self._graphs:
            return
        graph = _function_graph()
        if graph is not None and not any(graph is known for known in self._graphs):
            raise _refusal()

    def _watch(self, step: Callable[[Any], Any], data: Any) -> Any:
        graph = _function_graph()
        self._graphs.append(graph)
        try:
            logs = step(data)
        finally:
            self._graphs.remove(graph)
        if not self._reached and self._updates_elsewhere(graph):
            raise _refusal()
        return logs

    def _updates_elsewhere(self, graph: Any) -> bool:
        """Whether a step that asks for no update has one, made by a trace from before."""
        if graph is None:  # run eagerly, so that it is too late for this one batch
            return [counter.batches() for counter in self._counters] != self._first
        handles = [counter.optimizer._iterations.value.handle for counter in self._counters]
        users = {
            operation.type
            for outside, inside in graph.captures
            if any(outside is handle for handle in handles)
            for operation in inside.consumers()
        }
        return bool(users - {"ReadVariableOp"})


def _run_in_context(key: object, step: Callable[..., Any], *arguments: Any) -> Any:
    with _context(key):
        return step(*arguments)


def _function_graph() -> Any:
    """What TensorFlow traces now, if anything; not a branch or a loop of it."""
    import tensorflow
    from tensorflow.python.ops import control_flow_v2_func_graphs as parts

    if tensorflow.executing_eagerly():
        return None
    graph = tensorflow.compat.v1.get_default_graph()
    kinds = parts.CondBranchFuncGraph, parts.WhileCondFuncGraph, parts.WhileBodyFuncGraph
    while isinstance(graph, kinds):
        graph = graph.outer_graph
    return graph


def _refusal() -> ValueError:
    return ValueError(
        "train_step must make its update in plain functions, got one of tf.function, which keeps "
        "the learning rate that it was traced with (leave the decorator out: fit compiles it)"
    )
