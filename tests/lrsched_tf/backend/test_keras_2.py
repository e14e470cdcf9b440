"""What belongs to Keras 2, or to the core, is named with what to use."""

import keras
import pytest

import lrsched
from lrsched_tf import KerasSchedule, LRFinder, OneCycle, fit_one_cycle, lr_find
from tests.lrsched_tf.backend.scheduling import MAX_LR

REMEDY = "must be those of Keras 3, got .* of Keras 2 .import keras in place of tf_keras"


def of_keras_2(name, **attributes):
    """As tf_keras makes its classes, a subclass of the user's among them."""
    base = type(name, (), {"__module__": "tf_keras.src.engine"})
    return type("Own", (base,), attributes)()


def test_a_model_of_keras_2_is_named():
    model = of_keras_2("Sequential", optimizer=of_keras_2("SGD"))
    for use in (
        lambda: OneCycle(MAX_LR).set_model(model),  # the first that its `fit` does
        lambda: LRFinder().set_model(model),
        lambda: lr_find(model, [1.0], [1.0]),
        lambda: OneCycle(MAX_LR, 10).applied_to(model).__enter__(),
    ):
        with pytest.raises(TypeError, match=REMEDY):
            use()


def test_fit_one_cycle_names_it_too():
    model = of_keras_2("Sequential", fit=lambda self, x, y, **more: None)
    with pytest.raises(TypeError, match=REMEDY):
        fit_one_cycle(model, [1.0], [1.0], epochs=1, max_lr=0.1)


def test_an_optimizer_of_keras_2_is_named(problem):
    with pytest.raises(TypeError, match=REMEDY):
        OneCycle(MAX_LR, optimizer=of_keras_2("SGD"))
    model = problem.model("sgd")
    model.optimizer = of_keras_2("SGD")
    with pytest.raises(TypeError, match=REMEDY):
        lr_find(model, problem.x, problem.y)


def test_a_schedule_in_an_optimizer_is_told_of_its_wrapper(problem):
    schedule = lrsched.one_cycle(MAX_LR, 64)
    model = problem.model(keras.optimizers.SGD(schedule, momentum=0.9))
    remedy = r"learning_rate of SGD must be .*KerasSchedule\(schedule\)"
    with pytest.raises(TypeError, match=remedy):
        problem.fit(model, OneCycle(MAX_LR))
    with pytest.raises(TypeError, match=remedy):
        problem.fit(model, LRFinder())
    with pytest.raises(TypeError, match=remedy):
        lr_find(model, problem.x, problem.y)
    model = problem.model(keras.optimizers.SGD(KerasSchedule(schedule), momentum=0.9))
    problem.fit(model, OneCycle(MAX_LR))


def test_a_schedule_in_an_optimizer_alone_is_told_of_it_too(problem):
    model = problem.model(keras.optimizers.SGD(lrsched.one_cycle(MAX_LR, 64)))
    with pytest.raises(TypeError, match=r"step must be .*KerasSchedule\(schedule\)"):
        problem.fit(model)


def test_a_keras_schedule_called_as_keras_2_does_names_keras_3():
    with pytest.raises(TypeError, match=r"step must be .*import keras in place of tf_keras"):
        KerasSchedule(lrsched.one_cycle(MAX_LR, 64))()
