"""A `fit` with a schedule leaves the model as it found it, however it ends."""

import keras
import numpy as np
import pytest

from lrsched_tf import OneCycle, lr_find
from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.scheduling import (
    LRS,
    MAX_LR,
    MOMENTA,
    PLAIN_LRS,
    PLAIN_MOMENTA,
    Stop,
    assert_ordinary,
    lr_of,
    sgd,
)


def test_fit_leaves_an_ordinary_optimizer_with_the_same_variables(problem):
    model = problem.model(sgd())
    problem.fit(model, epochs=1)
    before = model.optimizer.variables
    problem.fit(model, OneCycle(MAX_LR))
    assert_ordinary(model)
    assert len(before) == len(model.optimizer.variables)
    assert all(a is b for a, b in zip(before, model.optimizer.variables, strict=True))


def test_a_later_fit_without_it_uses_the_user_s_values(problem, same_weights):
    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR))
    problem.fit(model, epochs=1)
    lrs, momenta = np.append(LRS, PLAIN_LRS), np.append(MOMENTA, PLAIN_MOMENTA)
    same_weights(model, problem.expected(reference.sgd, lrs, momenta, batches=problem.batches(3)))


def test_an_earlier_fit_without_it_is_no_hindrance(problem, same_weights):
    model = problem.model(sgd())
    # Held on to, as a user may do: JAX would find its trace again.
    problem.fit(model, epochs=1)
    _kept = model.train_function
    problem.fit(model, OneCycle(MAX_LR))
    lrs, momenta = np.append(PLAIN_LRS, LRS), np.append(PLAIN_MOMENTA, MOMENTA)
    same_weights(model, problem.expected(reference.sgd, lrs, momenta, batches=problem.batches(3)))


@pytest.mark.parametrize(
    ("error", "batch"), [(KeyboardInterrupt, None), (KeyboardInterrupt, 5), (RuntimeError, 0)]
)
def test_a_fit_that_was_broken_off_leaves_no_schedule_to_the_next(
    error, batch, problem, same_weights
):
    model = problem.model(sgd())
    with pytest.raises(error):
        problem.fit(model, OneCycle(MAX_LR), Stop(error, batch=batch))
    weights = model.get_weights()
    velocity = [v.numpy() for v in model.optimizer.variables[2:]]
    problem.fit(model, epochs=1)
    assert_ordinary(model)
    other = problem.model(sgd())
    other.optimizer.build(other.trainable_variables)
    other.set_weights(weights)
    for variable, value in zip(other.optimizer.variables[2:], velocity, strict=True):
        variable.assign(value)
    problem.fit(other, epochs=1)
    same_weights(model, other.get_weights(), tolerance=0)


def test_a_fit_that_was_broken_off_leaves_none_to_train_on_batch(problem):
    model = problem.model(sgd())
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, OneCycle(MAX_LR), Stop(KeyboardInterrupt, batch=3))
    model.train_on_batch(*problem.batches()[0])
    assert_ordinary(model)


@pytest.fixture
def callback():
    return OneCycle(0.5)


@pytest.fixture
def broken_off(problem, callback):
    """A model whose `fit` on a cycle has just been broken off between two steps."""
    model = problem.model(sgd())
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, callback, Stop(KeyboardInterrupt, batch=5))
    return model


def test_a_fit_that_was_broken_off_saves_the_user_s_lr(broken_off, callback, tmp_path):
    assert broken_off.optimizer.get_config()["learning_rate"] == np.float32(0.01)
    broken_off.save(tmp_path / "broken_off.keras")
    assert lr_of(keras.models.load_model(tmp_path / "broken_off.keras")) == np.float32(0.01)
    assert lr_of(broken_off) != np.float32(0.01)
    callback.remove()
    assert_ordinary(broken_off)


class Breaking(keras.Sequential):
    steps = 0

    def train_step(self, *arguments):
        self.steps += 1
        if self.steps == 5:
            raise KeyboardInterrupt
        return super().train_step(*arguments)


def test_an_error_in_a_step_leaves_no_schedule(problem):
    model = problem.model(sgd(), kind=Breaking, run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, OneCycle(MAX_LR))
    assert_ordinary(model)


def test_a_lr_set_after_a_break_stays(broken_off, problem):
    broken_off.optimizer.learning_rate = 0.005
    problem.fit(broken_off, epochs=1)
    assert lr_of(broken_off) == np.float32(0.005)


def test_a_fit_that_was_broken_off_leaves_none_to_a_loop_of_the_user(broken_off, callback):
    callback.remove()
    before = broken_off.get_weights()
    gradients = [keras.ops.ones(weight.shape) for weight in before]
    broken_off.optimizer.momentum = 0.0
    broken_off.optimizer.apply(gradients)
    for old, new in zip(before, broken_off.get_weights(), strict=True):
        np.testing.assert_allclose(old - new, 0.01, rtol=1e-4)


def test_a_fit_that_was_broken_off_leaves_none_to_another_schedule(broken_off, problem):
    with OneCycle(MAX_LR, total_steps=10).applied_to(broken_off):
        broken_off.train_on_batch(*problem.batches()[0])
    assert_ordinary(broken_off)


def test_a_fit_that_was_broken_off_leaves_none_behind_a_range_test(
    broken_off, problem, same_weights
):
    weights = broken_off.get_weights()
    variables = [v.numpy() for v in broken_off.optimizer.variables]
    lr_find(broken_off, problem.x, problem.y, batch_size=4, num_steps=20, end_lr=0.1)
    problem.fit(broken_off, epochs=1)
    other = problem.model(sgd())
    other.optimizer.build(other.trainable_variables)
    other.set_weights(weights)
    for variable, value in zip(other.optimizer.variables, variables, strict=True):
        variable.assign(value)
    problem.fit(other, epochs=1)
    same_weights(broken_off, other.get_weights(), tolerance=0)
    assert_ordinary(broken_off)


def test_a_callback_that_trains_on_a_batch_of_its_own_is_an_error(problem):
    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.train_on_batch(*problem.batches()[0])

    model = problem.model(sgd())
    with pytest.raises(RuntimeError, match="fit or train_on_batch of the same model inside of it"):
        problem.fit(model, OneCycle(MAX_LR), Again())
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 33
    assert_ordinary(model)


def test_an_apply_of_the_user_stays(problem, same_weights):
    model, calls = problem.model(sgd()), []
    apply = model.optimizer.apply

    def mine(*arguments):
        calls.append(1)
        return apply(*arguments)

    model.optimizer.apply = mine
    problem.fit(model, OneCycle(MAX_LR))
    assert model.optimizer.apply is mine
    assert calls
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def test_training_can_go_on_after_a_break(problem, same_weights):
    model = problem.model(sgd())
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, OneCycle(MAX_LR), Stop(KeyboardInterrupt))
    problem.fit(model, OneCycle(MAX_LR), initial_epoch=1)
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def test_a_callback_that_retraces_the_step_keeps_the_schedule(problem, same_weights):
    class Retrace(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.make_train_function(force=True)

    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), Retrace())
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))
    assert_ordinary(model)


def test_a_make_train_function_of_the_user_stays(problem, same_weights):
    model = problem.model(sgd())
    make = model.make_train_function
    mine = lambda force=False: make(force=force)  # noqa: E731
    model.make_train_function = mine
    problem.fit(model, OneCycle(MAX_LR))
    assert model.make_train_function is mine
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def test_a_model_saved_in_the_middle_goes_on_exactly(problem, same_weights, tmp_path):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert self.model.optimizer.get_config()["momentum"] == 0.9
            self.model.save(tmp_path / f"{epoch}.keras")

    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), Save())
    loaded = keras.models.load_model(tmp_path / "0.keras")
    problem.fit(loaded, OneCycle(MAX_LR), initial_epoch=1)
    same_weights(loaded, problem.expected(reference.sgd, LRS, MOMENTA))
    assert_ordinary(loaded)
    ended = keras.models.load_model(tmp_path / "1.keras")
    same_weights(ended, model.get_weights(), tolerance=0)
    assert_ordinary(ended)


@pytest.mark.parametrize("first", [True, False])
def test_backup_and_restore_continues_exactly(first, problem, same_weights, tmp_path):
    def callbacks():
        ours, backup = OneCycle(MAX_LR), keras.callbacks.BackupAndRestore(tmp_path)
        return (ours, backup) if first else (backup, ours)

    model = problem.model(sgd())
    with pytest.raises(RuntimeError, match="crash"):
        problem.fit(model, *callbacks(), Stop(RuntimeError("crash"), epoch=1, batch=9))
    restarted = problem.model(sgd())
    problem.fit(restarted, *callbacks())
    same_weights(restarted, problem.expected(reference.sgd, LRS, MOMENTA))
    assert_ordinary(restarted)
