"""What a callback leaves behind, how it resumes, and what it reports."""

import warnings

import keras
import matplotlib
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback, lr_find
from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.conftest import unsized

matplotlib.use("Agg")
STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()
PLAIN_LRS, PLAIN_MOMENTA = np.full(32, 0.01), np.full(32, 0.9)


def sgd(**arguments):
    return keras.optimizers.SGD(0.01, momentum=0.9, **arguments)


def lr_of(model):
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def assert_ordinary(model):
    assert not {"apply", "_get_current_learning_rate"} & vars(model.optimizer).keys()
    assert not {"make_train_function", "train_step"} & vars(model).keys()
    assert type(model.optimizer.momentum) is float
    assert model.optimizer.momentum == 0.9
    assert lr_of(model) == np.float32(0.01)
    config = model.optimizer.get_config()
    assert config["momentum"] == 0.9
    assert config["learning_rate"] == np.float32(0.01)


class Stop(keras.callbacks.Callback):
    """Raises at a place of the user's choice."""

    def __init__(self, error, *, epoch=1, batch=None):
        super().__init__()
        self._error, self._epoch, self._at = error, epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch
        if self._at is None and epoch == self._epoch:
            raise self._error

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self._at and self._now == self._epoch:
            raise self._error


# --- the model is left as it was found


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
def broken_off(problem):
    """A model whose `fit` on a cycle the user has just broken off."""
    model = problem.model(sgd())
    with pytest.raises(KeyboardInterrupt):
        problem.fit(model, OneCycle(0.5), Stop(KeyboardInterrupt, batch=5))
    return model


def test_a_fit_that_was_broken_off_leaves_the_user_s_lr_at_once(broken_off, problem, tmp_path):
    assert broken_off.optimizer.get_config()["learning_rate"] == np.float32(0.01)
    broken_off.save(tmp_path / "broken_off.keras")
    assert lr_of(keras.models.load_model(tmp_path / "broken_off.keras")) == np.float32(0.01)
    assert lr_of(broken_off) == np.float32(0.01)
    assert_ordinary(broken_off)


def test_a_lr_set_after_a_break_stays(broken_off, problem):
    broken_off.optimizer.learning_rate = 0.005
    problem.fit(broken_off, epochs=1)
    assert lr_of(broken_off) == np.float32(0.005)


def test_a_fit_that_was_broken_off_leaves_none_to_a_loop_of_the_user(broken_off):
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


def test_a_callback_may_train_on_a_batch_of_its_own(problem, same_weights):
    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.train_on_batch(*problem.batches()[0])

    model, callback = problem.model(sgd()), OneCycle(MAX_LR, total_steps=STEPS + 1)
    problem.fit(model, Again(), callback)
    batches = problem.batches()
    batches.insert(32, batches[0])
    lrs, momenta = callback.lr.values(), callback.momentum.values()
    same_weights(model, problem.expected(reference.sgd, lrs, momenta, batches=batches))


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
