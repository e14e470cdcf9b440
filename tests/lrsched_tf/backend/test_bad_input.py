"""Bad input is a clear error, and the model is as it was."""

from functools import partial

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback

SCHEDULE = lrsched.one_cycle(0.1, 100)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_lr": None}, TypeError, "max_lr must be a finite number > 0, got None"),
        ({"max_lr": "0.1"}, TypeError, "max_lr must be"),
        ({"max_lr": [0.1]}, TypeError, "max_lr must be"),
        ({"max_lr": keras.ops.ones(())}, TypeError, "max_lr must be"),
        ({"max_lr": SCHEDULE}, TypeError, "max_lr must be"),
        ({"max_lr": -0.1}, ValueError, "max_lr must be > 0, got -0.1"),
        ({"max_lr": float("nan")}, ValueError, "max_lr must be"),
        ({"total_steps": 1}, ValueError, "total_steps must be an int >= 2, got 1"),
        ({"total_steps": 10.0}, TypeError, "total_steps must be an int >= 2"),
        ({"pct_start": 30}, ValueError, r"pct_start must be in \[0, 1\], got 30 \(a fraction"),
        ({"anneal": "cosine"}, ValueError, "anneal must be one of 'cos', 'linear'"),
        ({"div_factor": 0.5}, ValueError, "div_factor"),
        ({"momentum": 0.9}, TypeError, r"momentum must be \(base_momentum, max_momentum\)"),
        ({"momentum": (0.9,)}, TypeError, "momentum must be"),
        ({"momentum": True}, TypeError, "momentum must be"),
        ({"momentum": (0.85, 1.0)}, ValueError, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": (-0.1, 0.9)}, ValueError, r"momentum must be in \[0, 1\)"),
        ({"momentum": (0.95, 0.85)}, ValueError, r"base_momentum must be <= max_momentum"),
        ({"momentum": SCHEDULE.scaled(20.0)}, ValueError, r"momentum must be in \[0, 1\)"),
        ({"count": "epochs"}, ValueError, "count must be one of 'updates', 'batches'"),
        ({"restart": 1}, TypeError, "restart must be a bool"),
        ({"log_batches": "yes"}, TypeError, "log_batches must be a bool"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be an int >= 1"),
        ({"steps_per_epoch": "auto"}, TypeError, "steps_per_epoch must be an int >= 1"),
        (
            {"steps_per_epoch": "learn", "total_steps": 100},
            ValueError,
            "steps_per_epoch must be an int or None with total_steps",
        ),
    ],
)
def test_one_cycle(arguments, error, message):
    with pytest.raises(error, match=message):
        OneCycle(**{"max_lr": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "step_size or step_size_epochs must be given"),
        ({"step_size": 5, "step_size_epochs": 1}, ValueError, "and not both"),
        ({"step_size": "2 epochs"}, TypeError, "got '2 epochs' .for epochs pass step_size_epochs"),
        ({"step_size": 0}, ValueError, "step_size must be an int >= 1, got 0"),
        ({"step_size_epochs": 0}, ValueError, "step_size_epochs must be > 0"),
        ({"step_size": 5, "base_lr": 0.2}, ValueError, "base_lr must be < max_lr"),
        ({"step_size": 5, "mode": "sine"}, ValueError, "mode must be one of"),
        ({"step_size": 5, "gamma": 0.9}, ValueError, "gamma must be 1 with mode"),
        ({"step_size": 5, "momentum": (0.9, 0.8)}, ValueError, "base_momentum must be"),
    ],
)
def test_cyclical_lr(arguments, error, message):
    with pytest.raises(error, match=message):
        CyclicalLR(**{"base_lr": 0.01, "max_lr": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "lr or momentum must be given, got neither"),
        ({"lr": 0.1}, TypeError, "lr must be a Schedule, got 0.1"),
        ({"lr": lambda step: 0.1}, TypeError, "lr must be a Schedule"),
        ({"momentum": (0.85, 0.95)}, TypeError, "momentum must be a Schedule"),
        ({"momentum": lrsched.linear(0.9, 1.0, 10)}, ValueError, r"momentum must be in \[0, 1\)"),
    ],
)
def test_schedule_callback(arguments, error, message):
    with pytest.raises(error, match=message):
        ScheduleCallback(**arguments)


def state(model):
    optimizer = model.optimizer
    return (
        [v.numpy().tolist() for v in model.weights],
        [v.numpy().tolist() for v in optimizer.variables[:2]],
        optimizer.get_config(),
        sorted(vars(optimizer)),
        "make_train_function" in vars(model),
    )


def twice(callback):
    return [callback, callback]


@pytest.mark.parametrize(
    ("optimizer", "callbacks", "message"),
    [
        (keras.optimizers.SGD, lambda: [OneCycle(0.1)], r"SGD \(compile with SGD\(momentum=0.9\)"),
        (keras.optimizers.RMSprop, lambda: [OneCycle(0.1)], r"compile with RMSprop\(momentum=0.9"),
        (keras.optimizers.Adagrad, lambda: [OneCycle(0.1)], r"Adagrad \(pass momentum=None\)"),
        (keras.optimizers.Adafactor, lambda: [OneCycle(0.1)], r"Adafactor \(pass momentum=None\)"),
        (keras.optimizers.Adam, lambda: [OneCycle(0.1), OneCycle(0.1)], "one schedule for the op"),
        (
            keras.optimizers.Adam,
            lambda: [OneCycle(0.1), CyclicalLR(0.01, 0.1, 5)],
            "one schedule for the optimizer, got a second one",
        ),
        (keras.optimizers.Adam, lambda: twice(OneCycle(0.1)), "each callback once, got one OneCy"),
        (
            keras.optimizers.Adam,
            lambda: [OneCycle(0.1, steps_per_epoch=1000)],
            "steps_per_epoch must be that of fit, got 1000 where fit makes 32 steps",
        ),
        (
            partial(keras.optimizers.Adam, gradient_accumulation_steps=60),
            lambda: [OneCycle(0.1)],
            "fit must make at least 2 updates for a cycle, got 1",
        ),
    ],
)
def test_a_fit_that_cannot_be_leaves_the_model_untouched(optimizer, callbacks, message, problem):
    model = problem.model(optimizer())
    model.optimizer.build(model.trainable_variables)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        problem.fit(model, *callbacks())
    assert state(model) == before


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
    for x, y in problem.batches(1):
        model.train_on_batch(x, y)
    with pytest.raises(RuntimeError, match=r"use `with callback.applied_to"):
        callbacks.on_epoch_end(0)


def test_a_schedule_within_a_schedule(problem):
    model = problem.model(keras.optimizers.Adam())
    with OneCycle(0.1, total_steps=64).applied_to(model):
        with pytest.raises(ValueError, match="one schedule for the optimizer"):
            problem.fit(model, OneCycle(0.1))
        assert "apply" in vars(model.optimizer)
    assert "apply" not in vars(model.optimizer)


def test_a_loop_needs_to_be_told_its_length(problem):
    model = problem.model(keras.optimizers.Adam())
    with pytest.raises(ValueError, match="total_steps or steps_per_epoch must be given"):
        OneCycle(0.1).applied_to(model).__enter__()
    with pytest.raises(ValueError, match="total_steps or steps_per_epoch must be given"):
        OneCycle(0.1, steps_per_epoch=10).applied_to(model).__enter__()
    learning = OneCycle(0.1, steps_per_epoch="learn")
    problem.fit(model, learning)
    with pytest.raises(ValueError, match="total_steps or steps_per_epoch must be given"):
        learning.applied_to(model).__enter__()
    assert np.isclose(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), 0.001)


def test_there_is_no_schedule_before_its_length_is_known(problem):
    callback = OneCycle(0.1, momentum=None)
    with pytest.raises(AttributeError, match="must know the length of fit to have a schedule of"):
        _ = callback.lr
    problem.fit(problem.model(keras.optimizers.SGD()), callback)
    assert callback.lr == lrsched.one_cycle(0.1, 64)
    assert callback.momentum is None
