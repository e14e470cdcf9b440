"""Where a callback begins and resumes, and what it reports."""

import keras
import matplotlib
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend.conftest import unsized
from tests.lrsched_tf.backend.scheduling import (
    LRS,
    MAX_LR,
    MOMENTA,
    STEPS,
    assert_ordinary,
    lr_of,
    sgd,
)

matplotlib.use("Agg")
# Keras says so of data of unknown length.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")


# --- where a fit starts


def test_a_second_fit_starts_a_new_cycle(problem, check_weights):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback)
    problem.fit(model, callback)
    lrs, momenta = np.tile(LRS, 2), np.tile(MOMENTA, 2)
    check_weights(model, lrs=lrs, momenta=momenta, batches=problem.batches(4))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_second_fit_continues_when_asked(fresh, problem, check_weights):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=STEPS, restart=False)
    problem.fit(model, callback, epochs=1)
    if fresh:
        callback = OneCycle(MAX_LR, total_steps=STEPS, restart=False)
    problem.fit(model, callback, epochs=1)
    check_weights(model)
    np.testing.assert_array_equal(callback.history["step"], np.arange(32, 64))


def test_a_partial_last_batch_is_a_step(problem):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback, batch_size=30)
    assert callback.lr.total_steps == 2 * 5
    assert len(callback.history["step"]) == 2 * 5


def test_a_generator_with_steps_per_epoch(problem, check_weights):
    def batches_forever():
        while True:
            yield from problem.batches(1)

    model, options = problem.model(sgd()), {"verbose": 0, "shuffle": False, "steps_per_epoch": 32}
    model.fit(batches_forever(), epochs=2, callbacks=[OneCycle(MAX_LR)], **options)
    check_weights(model)


def fit_unsized(problem, callback, epochs=2, **options):
    # With its plain graph TensorFlow counts one batch too many at the end of such data.
    model = problem.model(sgd(), jit_compile=keras.backend.backend() == "jax")
    options |= {"epochs": epochs, "verbose": 0, "shuffle": False, "callbacks": [callback]}
    model.fit(unsized(problem), **options)
    return model


LEARN = {"steps_per_epoch": "learn"}
GIVEN = {"total_steps": STEPS}


@pytest.mark.parametrize(
    ("callback", "options", "message"),
    [
        (OneCycle(MAX_LR), {}, "total_steps or steps_per_epoch must be given where"),
        (OneCycle(MAX_LR, **LEARN), {"epochs": 1}, 'must be >= 2 with steps_per_epoch="learn"'),
        (OneCycle(MAX_LR, **GIVEN), {"initial_epoch": 1}, "must be given to start at a later"),
        (CyclicalLR(0, 0.1, step_size_epochs=1), {}, "must be given for step_size_epochs"),
    ],
)
def test_data_of_unknown_length_needs_a_number(callback, options, message, problem):
    with pytest.raises(ValueError, match=message):
        fit_unsized(problem, callback, **options)


@pytest.mark.parametrize("known", [GIVEN, {"steps_per_epoch": 32}])
def test_data_of_unknown_length_with_a_number(known, problem, check_weights):
    check_weights(fit_unsized(problem, OneCycle(MAX_LR, **known)))


def test_the_length_is_learnt_from_the_first_epoch(problem, check_weights):
    callback = OneCycle(MAX_LR, **LEARN)
    model = fit_unsized(problem, callback, epochs=3)
    lrs, momenta = np.append(np.full(32, LRS[0]), LRS), np.append(np.full(32, 0.95), MOMENTA)
    check_weights(model, lrs=lrs, momenta=momenta, batches=problem.batches(3))
    np.testing.assert_allclose(callback.history["learning_rate"], lrs, rtol=1e-12)
    assert callback.lr.total_steps == 96
    assert_ordinary(model)


def test_there_is_nothing_to_learn_where_the_length_is_known(problem):
    callback = OneCycle(MAX_LR, **LEARN)
    problem.fit(problem.model(sgd()), callback)
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS)


def test_early_stopping_cuts_the_cycle(problem):
    class StopNow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback, StopNow())
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS[:32])
    assert_ordinary(model)


# --- what it reports


class Watch(keras.callbacks.Callback):
    """Notes what is logged after each batch, and the lr of the optimizer after each epoch."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((logs.get("learning_rate"), logs.get("momentum")))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(lr_of(self.model))


def test_history_and_optimizer_have_the_last_values_of_each_epoch(problem):
    model, watch = problem.model(sgd()), Watch()
    history = problem.fit(model, watch, OneCycle(MAX_LR)).history
    assert history["learning_rate"] == [LRS[31], LRS[63]]
    assert history["momentum"] == [MOMENTA[31], MOMENTA[63]]
    assert watch.epochs == [np.float32(LRS[31]), np.float32(LRS[63])]
    assert {*watch.batches} == {(None, None)}


@pytest.mark.parametrize("every", [1, 4])
def test_batches_are_logged_when_asked(every, problem):
    model = problem.model(sgd(gradient_accumulation_steps=every if every > 1 else None))
    callback, watch = OneCycle(MAX_LR, log_batches=True), Watch()
    problem.fit(model, callback, watch)
    lrs, momenta = callback.lr.values(), callback.momentum.values()
    assert watch.batches == [(lrs[i // every], momenta[i // every]) for i in range(STEPS)]


def test_an_execution_of_several_steps_may_end_with_the_data(problem):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs several steps in one call on one device only with TensorFlow")
    model, watch = problem.model(sgd(), steps_per_execution=5), Watch()
    problem.fit(model, OneCycle(MAX_LR, log_batches=True), watch)
    ends = [4, 9, 14, 19, 24, 29, 31]
    assert [lr for lr, _ in watch.batches] == [*LRS[ends], *LRS[32:][ends]]


@pytest.mark.parametrize("accumulate", [3, 40])
def test_updates_that_go_over_the_end_of_an_epoch(accumulate, problem):
    model = problem.model(sgd(gradient_accumulation_steps=accumulate))
    callback = OneCycle(MAX_LR)
    history = problem.fit(model, callback, epochs=5).history
    # Epochs end in the middle of an update, and show the values of the one that is under way.
    expected = callback.lr((np.arange(32, 161, 32) - 1) // accumulate)
    np.testing.assert_array_equal(history["learning_rate"], expected)
    assert len(callback.history["step"]) == 160 // accumulate


def test_the_plot_has_the_lr_left_and_the_momentum_right():
    axes = OneCycle(MAX_LR, total_steps=STEPS).plot()
    right = next(other for other in axes.figure.axes if other is not axes)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), LRS)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), MOMENTA)
    assert (axes.get_ylabel(), right.get_ylabel()) == ("learning rate", "momentum")


def test_an_endless_schedule_is_plotted_as_far_as_it_went(problem):
    callback = CyclicalLR(0.001, 0.03, 8)
    with pytest.raises(ValueError, match="num_steps must be given"):
        callback.plot()
    problem.fit(problem.model(sgd()), callback)
    assert len(callback.plot().lines[0].get_ydata()) == STEPS
    assert len(callback.plot(num_steps=10).lines[0].get_ydata()) == 10


def test_a_plot_before_fit_needs_a_length():
    with pytest.raises(ValueError, match="total_steps must be given to plot before fit"):
        OneCycle(MAX_LR).plot()


# --- warnings, each once


def ours(warned):
    return [w for w in warned if str(w.message).startswith(("OneCycle: ", "ScheduleCallback: "))]


def test_a_schedule_shorter_than_the_run_says_so_once(problem, check_weights):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=40)
    with pytest.warns(UserWarning, match="of lr and momentum ends at step 40") as warned:
        problem.fit(model, callback)
    assert len(ours(warned)) == 1
    lrs, momenta = callback.lr(np.arange(STEPS)), callback.momentum(np.arange(STEPS))
    check_weights(model, lrs=lrs, momenta=momenta)


def test_a_schedule_shorter_than_data_of_unknown_length_says_so_once(problem):
    callback = ScheduleCallback(lrsched.linear(0.0, 0.01, 40))
    with pytest.warns(UserWarning, match="the schedule of lr ends at step 40") as warned:
        fit_unsized(problem, callback, epochs=3)
    assert len(ours(warned)) == 1


class SetAtEachBatch(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.5


class Assign(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate.assign(0.5)


def decaying():
    return keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5 * 0.9**epoch)


def repeating():
    return keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr)


def reducing():
    return keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9)


@pytest.mark.parametrize(
    ("other", "first"),
    [(SetAtEachBatch, True), (Assign, True), (decaying, True), (decaying, False)],
)
def test_another_callback_that_sets_the_lr_is_warned_of(other, first, problem):
    callbacks = [OneCycle(MAX_LR), other()][:: 1 if first else -1]
    with pytest.warns(UserWarning, match="something else set the learning rate") as warned:
        problem.fit(problem.model(sgd()), *callbacks, epochs=3)
    assert len(ours(warned)) == 1


@pytest.mark.filterwarnings("ignore:OneCycle. something else set")
@pytest.mark.parametrize("other", [repeating, reducing])
def test_the_lr_of_the_schedule_does_not_become_the_user_s(other, problem):
    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), other(), epochs=3)
    assert lr_of(model) == np.float32(0.01)


class Idle(keras.Sequential):
    """A step that makes no update."""

    def train_step(self, *arguments):
        logs = {"loss": 0.0}
        return (logs, arguments[0]) if keras.backend.backend() == "jax" else logs


def test_an_optimizer_that_makes_no_update_is_warned_of(problem):
    model = problem.model(sgd(), kind=Idle, run_eagerly=True)
    with pytest.warns(UserWarning, match="made no update") as warned:
        problem.fit(model, OneCycle(MAX_LR))
    assert len(ours(warned)) == 1
