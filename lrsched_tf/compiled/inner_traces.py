"""Functions that a training step calls, compiled by the user: their traces outlive the step's.

`tf.function` and `jax.jit` keep what they have traced for the next `fit`, with the schedule of
this one in it, or have a trace from before it came in. Only torch looks whether things changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from lrsched_tf.compiled.step_counter import StepCounter

if keras.backend.backend() == "jax":
    import jax

    # Here, since none may be made while other threads use JAX. Before releases that have it,
    # nothing sees what is compiled inside of a compiled step.
    _make_context = getattr(jax, "make_user_context", None)
    _context = None if _make_context is None else _make_context(default_value=None)


# What a step of JAX takes and gives, in the order and by the names of Keras.
STATE = (
    "trainable_variables",
    "non_trainable_variables",
    "optimizer_variables",
    "metrics_variables",
)


def check_train_step(model: Any) -> None:
    """Check that `fit` compiles the step, before it begins.

    Raises:
        ValueError: the user has compiled it.
    """
    if hasattr(model.train_step, "get_concrete_function"):
        raise ValueError(
            f"the train_step of {type(model).__name__} must be a plain function, got one of "
            "tf.function (leave the decorator out: fit compiles it)"
        )


class InnerTraces:
    """Keeps a schedule out of the traces of functions that the user compiles inside of a step.

    Made by `Installation`, whose step and updates it watches. This one does nothing.

    Args:
        model: A model, or None where there are only optimizers.
        counters: Of the optimizers that are scheduled.
    """

    def __init__(self, model: Any, counters: list[StepCounter]) -> None:
        self._model, self._counters = model, counters
        self._first = [counter.batches() for counter in counters]
        self._reached = False

    def apart(self) -> AbstractContextManager[object]:
        """Return a context for a loop of the user's, whose steps the user compiles."""
        return nullcontext()

    def renew(self) -> bool:
        """Keep what is traced from now on apart from what was traced before.

        Returns whether there are traces by the user of before that go on to be used as they are.
        """
        return False

    def updates(self) -> int:
        """Return the number of updates, of all the optimizers together, since this was made."""
        counts = zip(self._counters, self._first, strict=True)
        return sum(counter.batches() - first for counter, first in counts)

    def from_outside(self) -> int:
        """Return how many of them were not made by a step that was traced since then."""
        return 0 if self._reached else self.updates()

    @property
    def is_reached(self) -> bool:
        """Whether an update, or the tracing of one, has come through the schedule."""
        return self._reached

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the training step."""
        return step

    def around_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the training function, which calls the step."""
        return function

    def check_update(self) -> None:
        """Check an update, or the tracing of one, before it begins.

        Raises:
            ValueError: it is being traced by a function of the user's that would keep the trace.
        """
        self._reached = True


class TracesOfTensorFlow(InnerTraces):
    """Refuses updates in functions inside of a step, which cannot be made to trace anew."""

    def __init__(self, model: Any, counters: list[StepCounter]) -> None:
        super().__init__(model, counters)
        import tensorflow

        # Updates made by hand or by steps that have the schedule in them: a trace of before leaves
        # no other sign than that the optimizer counts more of them.
        self._made_here, self._counts_all = 0, False
        with tensorflow.init_scope():
            self._made = self._counter_from(0)
        self._is_compiled_by_user = False
        # Of the steps that run now, one in each thread of a tf.distribute strategy.
        self._graphs: list[Any] = []

    def around(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watched(data: Any) -> Any:
            graph = _function_graph()
            self._graphs.append(graph)
            try:
                logs = step(data)
            finally:
                self._graphs.remove(graph)
            if not self._reached and self._is_made_elsewhere(graph):
                raise _refusal("tf.function")
            return logs

        return watched

    def check_update(self) -> None:
        self._reached = True
        graph = _function_graph()
        if self._graphs and graph is not None and not any(graph is g for g in self._graphs):
            raise _refusal("tf.function")
        if self._counts_all or not self._graphs:  # in a fit, its own step would pay for it
            if graph is None:
                self._made_here += 1
            else:
                self._made.assign_add(1)
                self._is_compiled_by_user |= not self._graphs

    @staticmethod
    def _counter_from(count: int) -> Any:
        import tensorflow

        return tensorflow.Variable(
            count,
            trainable=False,
            dtype="int64",
            aggregation=tensorflow.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def renew(self) -> bool:
        # Traces of before go on to count in the variable of before.
        self._made = self._counter_from(int(self._made.numpy()))
        kept, self._is_compiled_by_user = self._is_compiled_by_user, False
        return kept

    def apart(self) -> AbstractContextManager[object]:
        self._counts_all = True
        return nullcontext()

    def from_outside(self) -> int:
        return max(self.updates() - self._made_here - int(self._made.numpy()), 0)

    def _is_made_elsewhere(self, graph: Any) -> bool:
        """Tell whether a step that asks for no update has one, made by an earlier trace."""
        if graph is None:  # run eagerly: after one batch, with the user's own lr
            return [counter.batches() for counter in self._counters] != self._first
        handles = [counter.optimizer._iterations.value.handle for counter in self._counters]
        uses = {
            operation.type
            for outside, inside in graph.captures
            if any(outside is handle for handle in handles)
            for operation in inside.consumers()
        }
        return bool(uses - {"ReadVariableOp"})


class TracesOfJax(InnerTraces):
    """Traces functions inside of a compiled step anew, in a context of this schedule.

    Without a compiled step, each single operation would be compiled anew in it; so there, updates
    in such functions are refused.
    """

    def __init__(self, model: Any, counters: list[StepCounter]) -> None:
        super().__init__(model, counters)
        # By itself, since JAX keeps it.
        self._key, self._eager = object(), False

    def around(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def apart(state: Any, data: Any) -> Any:
            self._eager = not any(map(_is_traced, jax.tree.leaves(state)))
            if self._eager:
                return self._watch(step, state, data)
            if _context is None:
                return step(state, data)
            with _context(self._key):
                return step(state, data)

        return apart

    def renew(self) -> bool:
        self._key = object()
        return False

    def apart(self) -> AbstractContextManager[object]:
        # Steps that were compiled before are traced anew in it.
        context: AbstractContextManager[object]
        context = nullcontext() if _context is None else _context(self._key)
        return context

    def _watch(self, step: Callable[[Any, Any], Any], state: Any, data: Any) -> Any:
        logs, after = step(state, data)
        if not self._reached and _differ(state[2], after[2]):
            raise _refusal("jax.jit")
        return logs, after

    def around_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def kept(state: Any, data: Any) -> Any:
            try:
                return function(state, data)
            except BaseException:
                # Keras has emptied the variables, and an error in a first step leaves them so.
                if not any(value.is_deleted() for value in jax.tree.leaves(state)):
                    self._model._jax_state = dict(zip(STATE, state, strict=True))
                raise

        return kept

    def check_update(self) -> None:
        self._reached = True
        counts = (counter.optimizer._iterations.value for counter in self._counters)
        if self._eager and any(map(_is_traced, counts)):
            raise _refusal("jax.jit")


def inner_traces(model: Any, counters: list[StepCounter]) -> InnerTraces:
    """Return the InnerTraces of the backend."""
    kinds = {"tensorflow": TracesOfTensorFlow, "jax": TracesOfJax}
    return kinds.get(keras.backend.backend(), InnerTraces)(model, counters)


def _function_graph() -> Any:
    """Return the graph that TensorFlow traces now, if any; not a branch or a loop of it."""
    import tensorflow
    from tensorflow.python.ops import control_flow_v2_func_graphs as parts

    if tensorflow.executing_eagerly():
        return None
    graph = tensorflow.compat.v1.get_default_graph()
    kinds = parts.CondBranchFuncGraph, parts.WhileCondFuncGraph, parts.WhileBodyFuncGraph
    while isinstance(graph, kinds):
        graph = graph.outer_graph
    return graph


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _differ(before: list[Any], after: list[Any]) -> bool:
    """Tell whether something has changed variables, which then have other objects for values."""
    pairs = zip(before, after, strict=True)
    return any(old is not new and bool((old != new).any()) for old, new in pairs)


def _refusal(compiler: str) -> ValueError:
    return ValueError(
        f"train_step must make its update in plain functions, got one of {compiler}, which keeps "
        "the learning rate that it was traced with (leave the decorator out: fit compiles it)"
    )
