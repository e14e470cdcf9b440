"""Bad input is a clear error, and the model is as it was."""

from functools import partial

import keras
import pytest

import lrsched
from lrsched_tf import CyclicalLR, LRFinder, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend.scheduling import lr_of

RISING = lrsched.linear(0.9, 1.0, 10)
LEARN_LESS = {"steps_per_epoch": "learn", "total_steps": 100}


one_cycle, cyclical = partial(OneCycle, 0.1), partial(CyclicalLR, 0.01, 0.1)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (OneCycle, {"max_lr": keras.ops.ones(1)}, TypeError, "max_lr must be"),
        (OneCycle, {"max_lr": -0.1}, ValueError, "max_lr must be > 0, got -0.1"),
        (one_cycle, {"total_steps": 1}, ValueError, "total_steps must be an int >= 2, got 1"),
        (one_cycle, {"pct_start": 30}, ValueError, r"must be in \[0, 1\], got 30 \(a fraction"),
        (one_cycle, {"div_factor": 0.5}, ValueError, "div_factor"),
        (one_cycle, {"momentum": 0.9}, TypeError, r"must be \(base_momentum, max_momentum\)"),
        (one_cycle, {"momentum": (0.9, 0.8)}, ValueError, "base_momentum must be <= max_mom"),
        (one_cycle, {"momentum": RISING}, ValueError, r"momentum must be in \[0, 1\)"),
        (one_cycle, {"count": "epochs"}, ValueError, "count must be one of 'updates', 'batches'"),
        (one_cycle, {"restart": 1}, TypeError, "restart must be a bool"),
        (one_cycle, {"log_batches": "yes"}, TypeError, "log_batches must be a bool"),
        (one_cycle, {"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be an int >= 1"),
        (one_cycle, {"steps_per_epoch": "auto"}, TypeError, "steps_per_epoch must be an int >= 1"),
        (one_cycle, LEARN_LESS, ValueError, "steps_per_epoch must be an int or None with total_"),
        (cyclical, {}, ValueError, "step_size or step_size_epochs must be given"),
        (cyclical, {"step_size": 5, "step_size_epochs": 1}, ValueError, "and not both"),
        (cyclical, {"step_size": "2 epochs"}, TypeError, "for epochs pass step_size_epochs"),
        (cyclical, {"step_size_epochs": 0}, ValueError, "step_size_epochs must be > 0"),
        (cyclical, {"step_size": 5, "mode": "sine"}, ValueError, "mode must be one of"),
        (ScheduleCallback, {}, ValueError, "lr or momentum must be given, got neither"),
        (ScheduleCallback, {"lr": 0.1}, TypeError, "lr must be a Schedule, got 0.1"),
        (ScheduleCallback, {"momentum": (0.8, 0.9)}, TypeError, "momentum must be a Schedule"),
        (ScheduleCallback, {"momentum": RISING}, ValueError, r"momentum must be in \[0, 1\)"),
    ],
)
def test_arguments_are_checked_when_a_callback_is_made(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


def state(model):
    variables = [*model.weights, *model.optimizer.variables]
    return (
        [keras.ops.convert_to_numpy(v).tolist() for v in variables],
        model.optimizer.get_config(),
        sorted(vars(model.optimizer)),
        "make_train_function" in vars(model),
    )


ACCUMULATING = partial(keras.optimizers.Adam, gradient_accumulation_steps=60)
LONG = partial(OneCycle, steps_per_epoch=1000)


@pytest.mark.parametrize(
    ("optimizer", "callbacks", "message"),
    [
        (keras.optimizers.SGD, [OneCycle], r"SGD \(compile with SGD\(momentum=0.9\)"),
        (keras.optimizers.RMSprop, [OneCycle], r"compile with RMSprop\(momentum=0.9"),
        (keras.optimizers.Adafactor, [OneCycle], r"Adafactor \(pass momentum=None, or a pol"),
        (keras.optimizers.Adam, [OneCycle, OneCycle], "one schedule for the optimizer, got a sec"),
        (keras.optimizers.Adam, [LRFinder, OneCycle], "one schedule for the optimizer, got a sec"),
        (keras.optimizers.Adam, [LONG], "that of fit, got 1000 where fit makes 32 steps"),
        (ACCUMULATING, [OneCycle], "fit must make at least 2 updates for a cycle, got 1 .more epo"),
    ],
)
def test_a_fit_that_cannot_be_leaves_the_model_untouched(optimizer, callbacks, message, problem):
    model = problem.model(optimizer())
    model.optimizer.build(model.trainable_variables)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        problem.fit(model, *(make(0.1) for make in callbacks))
    assert state(model) == before


def test_one_callback_twice(problem):
    callback, model = OneCycle(0.1), problem.model(keras.optimizers.Adam())
    with pytest.raises(ValueError, match="each callback once, got one OneCycle twice"):
        problem.fit(model, callback, callback)


def test_an_optimizer_that_is_not_one_of_keras_s(problem):
    model = problem.model(keras.optimizers.SGD(momentum=0.9))
    model.optimizer = object()
    with pytest.raises(TypeError, match="model must be compiled with a Keras optimizer"):
        OneCycle(0.1, total_steps=10).applied_to(model).__enter__()


def test_a_loop_over_train_on_batch_is_told_what_to_use(problem):
    model = problem.model(keras.optimizers.Adam())
    callback = OneCycle(0.1, total_steps=64)
    callbacks = keras.callbacks.CallbackList([callback], model=model, epochs=1, steps=32)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    model.train_on_batch(*problem.batches(1)[0])
    with pytest.raises(RuntimeError, match=r"use `with callback.applied_to"):
        callbacks.on_epoch_end(0)


def test_a_loop_needs_to_be_told_its_length(problem):
    model, learning = problem.model(keras.optimizers.Adam()), OneCycle(0.1, steps_per_epoch="learn")
    problem.fit(model, learning)
    for callback in (OneCycle(0.1), OneCycle(0.1, steps_per_epoch=10), learning):
        with pytest.raises(ValueError, match="total_steps or steps_per_epoch must be given"):
            callback.applied_to(model).__enter__()
    assert lr_of(model) == pytest.approx(0.001)


def test_there_is_no_schedule_before_its_length_is_known(problem):
    callback = OneCycle(0.1, momentum=None)
    with pytest.raises(AttributeError, match="must know the length of fit to have a schedule of"):
        _ = callback.lr
    problem.fit(problem.model(keras.optimizers.SGD()), callback)
    assert callback.lr == lrsched.one_cycle(0.1, 64)
    assert callback.momentum is None
