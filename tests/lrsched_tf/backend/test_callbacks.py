"""Where a callback begins and resumes, and what it reports."""

import warnings

import keras
import matplotlib
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend import reference
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


# --- where a fit starts


def test_a_second_fit_starts_a_new_cycle(problem, same_weights):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback)
    problem.fit(model, callback)
    lrs, momenta = np.tile(LRS, 2), np.tile(MOMENTA, 2)
    same_weights(model, problem.expected(reference.sgd, lrs, momenta, batches=problem.batches(4)))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_second_fit_continues_when_asked(fresh, problem, same_weights):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=STEPS, restart=False)
    problem.fit(model, callback, epochs=1)
    if fresh:
        callback = OneCycle(MAX_LR, total_steps=STEPS, restart=False)
    problem.fit(model, callback, epochs=1)
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))
    np.testing.assert_array_equal(callback.history["step"], np.arange(32, 64))


def test_total_steps_may_be_given(problem):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR, total_steps=100)
    problem.fit(model, callback)
    assert callback.lr == lrsched.one_cycle(MAX_LR, 100)
    np.testing.assert_array_equal(callback.history["learning_rate"], callback.lr.values(64))


def test_a_partial_last_batch_is_a_step(problem):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback, batch_size=3)
    assert callback.lr.total_steps == 2 * 43
    assert len(callback.history["step"]) == 2 * 43


def batches_forever(problem):
    while True:
        yield from problem.batches(1)


def test_a_generator_with_steps_per_epoch(problem, same_weights):
    model = problem.model(sgd())
    model.fit(
        batches_forever(problem),
        epochs=2,
        steps_per_epoch=32,
        verbose=0,
        shuffle=False,
        callbacks=[OneCycle(MAX_LR)],
    )
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def fit_unsized(problem, callback, epochs=2):
    # With its plain graph TensorFlow counts one batch too many at the end of such data.
    model = problem.model(sgd(), jit_compile=keras.backend.backend() == "jax")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")
        model.fit(unsized(problem), epochs=epochs, verbose=0, shuffle=False, callbacks=[callback])
    return model


def test_data_of_unknown_length_needs_a_number(problem):
    with pytest.raises(ValueError, match="total_steps or steps_per_epoch must be given where"):
        fit_unsized(problem, OneCycle(MAX_LR))
    with pytest.raises(ValueError, match="steps_per_epoch must be given for step_size_epochs"):
        fit_unsized(problem, CyclicalLR(0.001, 0.03, step_size_epochs=1))


@pytest.mark.parametrize("known", [{"total_steps": STEPS}, {"steps_per_epoch": 32}])
def test_data_of_unknown_length_with_a_number(known, problem, same_weights):
    model = fit_unsized(problem, OneCycle(MAX_LR, **known))
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def test_the_length_is_learnt_from_the_first_epoch(problem, same_weights):
    callback = OneCycle(MAX_LR, steps_per_epoch="learn")
    model = fit_unsized(problem, callback, epochs=3)
    lrs, momenta = np.append(np.full(32, LRS[0]), LRS), np.append(np.full(32, 0.95), MOMENTA)
    batches = problem.batches(3)
    same_weights(model, problem.expected(reference.sgd, lrs, momenta, batches=batches))
    np.testing.assert_allclose(callback.history["learning_rate"], lrs, rtol=1e-12)
    assert callback.lr.total_steps == 96
    assert_ordinary(model)


def test_there_is_nothing_to_learn_where_the_length_is_known(problem, same_weights):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR, steps_per_epoch="learn")
    problem.fit(model, callback)
    same_weights(model, problem.expected(reference.sgd, LRS, MOMENTA))


def test_one_epoch_is_too_short_to_learn_from(problem):
    with pytest.raises(ValueError, match='epochs must be >= 2 with steps_per_epoch="learn"'):
        fit_unsized(problem, OneCycle(MAX_LR, steps_per_epoch="learn"), epochs=1)


def test_a_later_epoch_of_data_of_unknown_length_needs_a_number(problem):
    model = problem.model(sgd())
    with pytest.raises(ValueError, match="steps_per_epoch must be given to start at a later"):
        model.fit(
            unsized(problem),
            initial_epoch=1,
            epochs=2,
            verbose=0,
            shuffle=False,
            callbacks=[OneCycle(MAX_LR, total_steps=STEPS)],
        )
    assert_ordinary(model)


def test_early_stopping_cuts_the_cycle(problem):
    class StopNow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model, callback = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, callback, StopNow())
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS[:32])
    assert_ordinary(model)


# --- what it reports


def test_the_history_has_the_last_values_of_each_epoch(problem):
    history = problem.fit(problem.model(sgd()), OneCycle(MAX_LR)).history
    assert history["learning_rate"] == [LRS[31], LRS[63]]
    assert history["momentum"] == [MOMENTA[31], MOMENTA[63]]


def test_the_optimizer_shows_the_lr_of_the_last_update(problem):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(lr_of(self.model))

    problem.fit(problem.model(sgd()), Watch(), OneCycle(MAX_LR))
    assert seen == [np.float32(LRS[31]), np.float32(LRS[63])]


@pytest.mark.parametrize("accumulate", [None, 4])
def test_batches_are_logged_when_asked(accumulate, problem):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((logs["learning_rate"], logs["momentum"]))

    model = problem.model(sgd(gradient_accumulation_steps=accumulate))
    callback = OneCycle(MAX_LR, log_batches=True)
    problem.fit(model, callback, Watch())
    every = accumulate or 1
    values = callback.lr.values(), callback.momentum.values()
    assert seen == [(values[0][i // every], values[1][i // every]) for i in range(STEPS)]


def test_an_execution_of_several_steps_may_end_with_the_data(problem):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs several steps in one call on one device only with TensorFlow")
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["learning_rate"])

    callback = OneCycle(MAX_LR, log_batches=True)
    model = problem.model(sgd(), steps_per_execution=5)
    problem.fit(model, callback, Watch())
    ends = [4, 9, 14, 19, 24, 29, 31]
    assert seen == [LRS[end] for end in ends] + [LRS[32 + end] for end in ends]


@pytest.mark.parametrize("accumulate", [3, 40])
def test_updates_that_go_over_the_end_of_an_epoch(accumulate, problem):
    model = problem.model(sgd(gradient_accumulation_steps=accumulate))
    callback = OneCycle(MAX_LR)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = problem.fit(model, callback, epochs=5).history
    # Epochs end in the middle of an update, and show the values of the one that is under way.
    expected = callback.lr((np.arange(32, 161, 32) - 1) // accumulate)
    np.testing.assert_array_equal(history["learning_rate"], expected)
    assert len(callback.history["step"]) == 160 // accumulate


def test_nothing_is_hooked_to_the_end_of_a_batch_unless_asked(problem):
    plain, logging = OneCycle(MAX_LR), OneCycle(MAX_LR, log_batches=True)
    thread_safe = keras.backend.backend() != "tensorflow"
    for callback, ahead in ((plain, thread_safe), (logging, False)):
        assert keras.callbacks.CallbackList([callback])._async_train is ahead


def test_tensorboard_gets_both(problem, tmp_path, backend):
    if backend != "tensorflow":
        pytest.skip("keras.callbacks.TensorBoard writes with TensorFlow")
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    import tensorflow

    board = keras.callbacks.TensorBoard(tmp_path)
    problem.fit(problem.model(sgd()), OneCycle(MAX_LR), board)
    tags = {}
    for file in tmp_path.glob("train/events*"):
        for event in tensorflow.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(tensorflow.make_ndarray(value.tensor))
    np.testing.assert_array_equal(tags["epoch_learning_rate"], np.float32([LRS[31], LRS[63]]))
    np.testing.assert_array_equal(tags["epoch_momentum"], np.float32([MOMENTA[31], MOMENTA[63]]))


def test_the_plot_has_the_lr_left_and_the_momentum_right(problem):
    callback = OneCycle(MAX_LR)
    problem.fit(problem.model(sgd()), callback)
    axes = callback.plot()
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
    assert len(OneCycle(MAX_LR, total_steps=50).plot().lines[0].get_ydata()) == 50
    with pytest.raises(ValueError, match="total_steps must be given to plot before fit"):
        OneCycle(MAX_LR).plot()


# --- warnings, each once


def ours(warned):
    return [str(w.message) for w in warned if w.category is UserWarning]


def test_a_schedule_shorter_than_the_run_says_so_once(problem, same_weights):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=40)
    with pytest.warns(UserWarning, match="of lr and momentum ends at step 40") as warned:
        problem.fit(model, callback)
    assert len(ours(warned)) == 1
    lrs, momenta = callback.lr(np.arange(STEPS)), callback.momentum(np.arange(STEPS))
    same_weights(model, problem.expected(reference.sgd, lrs, momenta))


def test_a_schedule_shorter_than_data_of_unknown_length_says_so_once(problem):
    callback = ScheduleCallback(lrsched.linear(0.0, 0.01, 40))
    with pytest.warns(UserWarning, match="the schedule of lr ends at step 40") as warned:
        fit_unsized(problem, callback, epochs=3)
    assert len(ours(warned)) == 1


class SetAtEachBatch(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.5


@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        SetAtEachBatch,
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5),
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5 * 0.9**epoch),
    ],
)
def test_another_callback_that_sets_the_lr_is_warned_of(other, first, epochs, problem):
    callbacks = [OneCycle(MAX_LR), other()][:: 1 if first else -1]
    with pytest.warns(UserWarning, match="something else set the learning rate") as warned:
        problem.fit(problem.model(sgd()), *callbacks, epochs=epochs)
    assert len(ours(warned)) == 1


def test_a_lr_that_is_assigned_is_warned_of(problem):
    def assign(epoch, logs):
        model.optimizer.learning_rate.assign(0.5)

    model = problem.model(sgd())
    with pytest.warns(UserWarning, match="something else set the learning rate"):
        problem.fit(model, OneCycle(MAX_LR), keras.callbacks.LambdaCallback(on_epoch_begin=assign))


@pytest.mark.filterwarnings("ignore:OneCycle. something else set")
@pytest.mark.parametrize(
    "other",
    [
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr),
        lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9),
    ],
)
def test_the_lr_of_the_schedule_does_not_become_the_user_s(other, problem):
    model = problem.model(sgd())
    problem.fit(model, OneCycle(MAX_LR), other(), epochs=3)
    assert lr_of(model) == np.float32(0.01)


def test_an_optimizer_that_makes_no_update_is_warned_of(problem):
    model = problem.model(sgd(), kind=idle_model(), run_eagerly=True)
    with pytest.warns(UserWarning, match="made no update") as warned:
        problem.fit(model, OneCycle(MAX_LR))
    assert len(ours(warned)) == 1


def idle_model():
    class Idle(keras.Sequential):
        def train_step(self, *arguments):
            if keras.backend.backend() == "jax":
                return {"loss": 0.0}, arguments[0]
            return {"loss": 0.0}

    return Idle


def test_a_usual_fit_warns_of_nothing(problem):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        problem.fit(problem.model(sgd()), OneCycle(MAX_LR), epochs=3, validation_split=0.25)
