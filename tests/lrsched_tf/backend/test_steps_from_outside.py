"""Loops of the user's own, and steps in them that were compiled before the schedule came in."""

import keras
import numpy as np
import pytest
from keras import ops

from lrsched_tf import LRFinder, OneCycle
from tests.lrsched_tf.backend.custom_steps import compiled_step, update
from tests.lrsched_tf.backend.scheduling import LRS, MAX_LR, assert_ordinary, sgd

BACKEND = keras.backend.backend()
on = {
    name: pytest.mark.skipif(name != BACKEND, reason=f"about {name}")
    for name in ("tensorflow", "jax")
}
OUTSIDE = "updates were made by a step that had been compiled before the schedule came in"


def files_of(warned):
    return [w.filename for w in warned if OUTSIDE in str(w.message)]


def one_cycle():
    return OneCycle(MAX_LR, total_steps=64)


def loop(owner, step, batches, callback=None, error=None):
    """A loop of the user's own, which may end with an error."""
    with (callback or one_cycle()).applied_to(owner):
        for batch in batches:
            step(*batch)
        if error is not None:
            raise error


@on["tensorflow"]
@pytest.mark.parametrize("before", ["a plain loop", "another block"])
def test_a_step_of_before_is_warned_of_at_the_line_of_the_user(before, problem):
    model = problem.model(sgd())
    step = compiled_step(model)
    if before == "a plain loop":
        step(*problem.batches()[0])
    else:
        loop(model, step, problem.batches()[:1])
    with pytest.warns(UserWarning, match=f"64 of 64 {OUTSIDE}") as warned:
        loop(model, step, problem.batches())
    assert files_of(warned) == [__file__]
    assert_ordinary(model)


@on["tensorflow"]
def test_one_that_is_traced_anew_for_some_batches_is_counted_for_the_others(problem):
    model = problem.model(sgd())
    step = compiled_step(model)
    x, y = problem.batches()[0]
    step(x, y)
    with pytest.warns(UserWarning, match=f"10 of 15 {OUTSIDE}"):
        loop(model, step, [(x[:2], y[:2]), (x, y), (x, y)] * 5)


@on["tensorflow"]
@pytest.mark.parametrize("others", [False, True])
def test_a_step_that_is_compiled_within_the_block_is_scheduled(others, problem, check_weights):
    """Also beside train_on_batch, and by hand."""
    model = problem.model(sgd())
    with one_cycle().applied_to(model):
        step = compiled_step(model)
        for index, batch in enumerate(problem.batches()):
            if others and index % 3 == 1:
                model.train_on_batch(*batch)
            elif others and index % 3 == 2:
                update(model, *batch, model.optimizer)
            else:
                step(*batch)
    check_weights(model)


@on["tensorflow"]
def test_an_exception_in_the_block_is_all_that_is_said(problem):
    model = problem.model(sgd())
    step = compiled_step(model)
    step(*problem.batches()[0])
    with pytest.raises(KeyError):  # and warnings are errors
        loop(model, step, problem.batches(), error=KeyError())


@on["jax"]
def test_jax_traces_a_step_of_before_anew_in_each_block(problem):
    import jax

    optimizer = keras.optimizers.SGD(0.01)
    weight = keras.Variable(np.zeros(1, "float32"))
    optimizer.build([weight])

    @jax.jit
    def step(weights, state):
        return optimizer.stateless_apply(state, [ops.ones(1)], weights)

    def run(steps):
        weights, state = [weight.value], [v.value for v in optimizer.variables]
        state[0] = state[0] * 0
        values = [0.0]
        for _ in range(steps):
            weights, state = step(weights, state)
            values.append(float(-weights[0][0]))
        return np.diff(values)

    np.testing.assert_allclose(run(3), 0.01, rtol=1e-4)
    for peak in (1.0, 0.1):
        callback = OneCycle(peak, total_steps=20, momentum=None)
        with callback.applied_to(optimizer):
            np.testing.assert_allclose(run(20), callback.lr.values(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(run(3), 0.01, rtol=1e-4)


@on["jax"]
def test_a_step_of_jax_that_nothing_traces_anew_is_warned_of(problem):
    import jax

    optimizer = keras.optimizers.SGD(0.01)
    weight = keras.Variable(np.zeros(1, "float32"))
    optimizer.build([weight])
    state = [v.value for v in optimizer.variables]
    step = jax.jit(lambda weights, s: optimizer.stateless_apply(s, [ops.ones(1)], weights))
    step = step.lower([weight.value], state).compile()

    def train():
        after = step([weight.value], state)[1]
        for variable, value in zip(optimizer.variables, after, strict=True):
            variable.assign(value)

    with pytest.warns(UserWarning, match=f"1 of 1 {OUTSIDE}"):
        loop(optimizer, train, [()], OneCycle(0.1, 10, momentum=None))


def test_a_block_without_an_update_is_warned_of(problem):
    model = problem.model(sgd())
    with pytest.warns(UserWarning, match="made no update"):
        loop(model, None, [])


def hooks_around(model, callback, batches, step, epochs=2, **params):
    """A training loop of the user's own with the hooks of Keras."""
    hooks = keras.callbacks.CallbackList([callback], model=model, epochs=epochs, **params)
    logs = {}
    hooks.on_train_begin()
    for epoch in range(epochs):
        hooks.on_epoch_begin(epoch)
        for index, batch in enumerate(batches):
            hooks.on_train_batch_begin(index)
            step(*batch)
            hooks.on_train_batch_end(index, {"loss": 1.0})
        logs = {"loss": 1.0}
        hooks.on_epoch_end(epoch, logs)
    hooks.on_train_end()
    return logs


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_loop_with_the_hooks_of_keras_works(known, compiled, problem, check_weights):
    model = problem.model(sgd())
    optimizer = model.optimizer
    if not compiled:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.set_weights(problem.start)
    callback = OneCycle(
        MAX_LR, total_steps=None if known else 64, optimizer=None if compiled else optimizer
    )
    step = lambda x, y: update(model, x, y, optimizer)  # noqa: E731
    params = {"steps": 32} if known else {}
    hooks_around(model, callback, problem.batches(1), step, **params)
    check_weights(model)
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS)


@on["tensorflow"]
def test_a_step_of_before_is_warned_of_in_a_loop_with_hooks(problem):
    model = problem.model(sgd())
    step = compiled_step(model)
    step(*problem.batches()[0])
    with pytest.warns(UserWarning, match=f"32 of 32 {OUTSIDE}") as warned:
        hooks_around(model, one_cycle(), problem.batches(1), step)
    assert files_of(warned) == [__file__]


def test_other_loops_with_hooks_are_told_what_to_use(problem):
    model = problem.model(sgd())
    with pytest.raises(RuntimeError, match=r"with callback\.applied_to"):
        hooks_around(model, one_cycle(), problem.batches(1), model.train_on_batch)
    with pytest.raises(ValueError, match="model must be trained by its train_step"):
        hooks_around(
            model,
            LRFinder(num_steps=20),
            problem.batches(1),
            lambda x, y: update(model, x, y, model.optimizer),
        )
