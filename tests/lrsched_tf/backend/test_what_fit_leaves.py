"""A `fit` with a schedule leaves the model as it found it, however it ends."""

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import OneCycle, lr_find
from tests.lrsched_tf.backend.scheduling import (
    LRS,
    MAX_LR,
    MOMENTA,
    PLAIN_LRS,
    PLAIN_MOMENTA,
    assert_ordinary,
    lr_of,
    sgd,
)


class Stop(keras.callbacks.Callback):
    """Raises before a batch of the second epoch."""

    def __init__(self, error, batch):
        super().__init__()
        self._error, self._batch = error, batch

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self._epoch, batch) == (1, self._batch):
            raise self._error


@pytest.fixture
def callback():
    return OneCycle(MAX_LR)


@pytest.fixture
def broken_off(problem, callback):
    """A model whose `fit` on a cycle has just been broken off, after 37 updates."""
    model = problem.model(sgd())
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, callback, Stop(KeyboardInterrupt, batch=5))
    return model


def test_fits_before_and_after_it_use_the_user_s_values(problem, check_weights):
    model = problem.model(sgd())
    problem.fit(model, epochs=1)
    # Held on to, as a user may do: JAX would find its trace again.
    _kept, variables = model.train_function, model.optimizer.variables
    problem.fit(model, OneCycle(MAX_LR))
    assert_ordinary(model)
    problem.fit(model, epochs=1)
    lrs = np.concatenate([PLAIN_LRS, LRS, PLAIN_LRS])
    momenta = np.concatenate([PLAIN_MOMENTA, MOMENTA, PLAIN_MOMENTA])
    check_weights(model, lrs=lrs, momenta=momenta, batches=problem.batches(4))
    assert all(a is b for a, b in zip(variables, model.optimizer.variables, strict=True))


def fit(model, problem):
    problem.fit(model, epochs=1)


def find_and_fit(model, problem):
    lr_find(model, problem.x, problem.y, batch_size=4, num_steps=20, end_lr=0.1)
    problem.fit(model, epochs=1)


def train_on_batch(model, problem):
    model.train_on_batch(*problem.batches()[0])


def apply_another(model, problem):
    with OneCycle(MAX_LR, total_steps=10).applied_to(model):
        train_on_batch(model, problem)


OTHER_LR, OTHER_MOMENTUM = lrsched.one_cycle(MAX_LR, 10), lrsched.one_cycle_momentum(10)
NEXT = {
    "fit": (fit, PLAIN_LRS, PLAIN_MOMENTA),
    "range test and fit": (find_and_fit, PLAIN_LRS, PLAIN_MOMENTA),
    "train_on_batch": (train_on_batch, [0.01], [0.9]),
    "another schedule": (apply_another, [OTHER_LR(0)], [OTHER_MOMENTUM(0)]),
}


@pytest.mark.parametrize("use", NEXT)
def test_a_fit_that_was_broken_off_leaves_no_schedule_to_the_next_use(
    use, broken_off, problem, check_weights
):
    train, lrs, momenta = NEXT[use]
    train(broken_off, problem)
    assert_ordinary(broken_off)
    check_weights(
        broken_off,
        lrs=[*LRS[:37], *lrs],
        momenta=[*MOMENTA[:37], *momenta],
        batches=problem.batches()[:37] + problem.batches()[: len(lrs)],
    )


def test_remove_leaves_none_to_a_loop_of_the_user(broken_off, callback):
    callback.remove()
    before = broken_off.get_weights()
    gradients = [keras.ops.ones(weight.shape) for weight in before]
    broken_off.optimizer.momentum = 0.0
    broken_off.optimizer.apply(gradients)
    for old, new in zip(before, broken_off.get_weights(), strict=True):
        np.testing.assert_allclose(old - new, 0.01, rtol=1e-4)


def test_a_fit_that_was_broken_off_saves_the_user_s_lr(broken_off, callback, tmp_path):
    assert broken_off.optimizer.get_config()["learning_rate"] == np.float32(0.01)
    broken_off.save(tmp_path / "broken_off.keras")
    assert lr_of(keras.models.load_model(tmp_path / "broken_off.keras")) == np.float32(0.01)
    assert lr_of(broken_off) != np.float32(0.01)
    callback.remove()
    assert_ordinary(broken_off)


def test_a_lr_set_after_a_break_stays(broken_off, problem):
    broken_off.optimizer.learning_rate = 0.005
    problem.fit(broken_off, epochs=1)
    assert lr_of(broken_off) == np.float32(0.005)


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


def test_a_callback_that_retraces_the_step_keeps_the_schedule(problem, check_weights):
    class Retrace(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.make_train_function(force=True)

    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), Retrace())
    check_weights(model)
    assert_ordinary(model)


def test_a_model_saved_in_the_middle_goes_on_exactly(
    problem, check_weights, same_weights, tmp_path
):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert self.model.optimizer.get_config()["momentum"] == 0.9
            self.model.save(tmp_path / f"{epoch}.keras")

    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), Save())
    loaded = keras.models.load_model(tmp_path / "0.keras")
    problem.fit(loaded, OneCycle(MAX_LR), initial_epoch=1)
    check_weights(loaded)
    assert_ordinary(loaded)
    ended = keras.models.load_model(tmp_path / "1.keras")
    same_weights(ended, model.get_weights(), tolerance=0)
    assert_ordinary(ended)


@pytest.mark.parametrize("first", [True, False])
def test_backup_and_restore_continues_exactly(first, problem, check_weights, tmp_path):
    def callbacks():
        ours, backup = OneCycle(MAX_LR), keras.callbacks.BackupAndRestore(tmp_path)
        return (ours, backup) if first else (backup, ours)

    model = problem.model(sgd())
    with pytest.raises(RuntimeError, match="crash"):
        problem.fit(model, *callbacks(), Stop(RuntimeError("crash"), batch=9))
    restarted = problem.model(sgd())
    problem.fit(restarted, *callbacks())
    check_weights(restarted)
    assert_ordinary(restarted)
