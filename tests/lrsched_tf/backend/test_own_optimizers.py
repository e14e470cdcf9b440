"""Optimizers that a `train_step` has of its own, beside the one of `compile`."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from lrsched_tf import CyclicalLR, LRFinder, OneCycle, ScheduleCallback, fit_one_cycle, lr_find
from tests.lrsched_tf.backend.conftest import BATCH
from tests.lrsched_tf.backend.custom_steps import update
from tests.lrsched_tf.backend.scheduling import MAX_LR, sgd

BACKEND = keras.backend.backend()
in_a_fit = pytest.mark.skipif(
    BACKEND == "jax", reason="a step of JAX has no state of other optimizers than that of compile"
)
SWEEP = {"num_steps": 20, "end_lr": 0.1, "stop_factor": None}


class Guided(keras.Sequential):
    """As guides of Keras write a GAN: `compile` leaves a default optimizer, which does nothing."""

    def compile(self, *own):
        super().compile()
        self.own_optimizer, *self._rest = own

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        update(self, x, y, self.own_optimizer, *self._rest)
        return {"loss": ops.mean(ops.square(self(x) - y))}


def guided(problem, *own):
    model = Guided([keras.Input((3,)), keras.layers.Dense(2)])
    model.set_weights(problem.start)
    model.compile(*own)
    return model


def plain(problem):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.set_weights(problem.start)
    return model


@in_a_fit
@pytest.mark.parametrize("number", [1, 2])
def test_they_are_driven_in_a_fit(number, problem, check_weights):
    own = [sgd() for _ in range(number)]
    model = guided(problem, *own)
    callback = OneCycle(MAX_LR, optimizer=own if number > 1 else own[0])
    history = problem.fit(model, callback).history
    check_weights(model)
    assert history["learning_rate"] == [callback.lr(31), callback.lr(63)]
    for optimizer in own:
        assert not {"apply", "_get_current_learning_rate"} & vars(optimizer).keys()


@in_a_fit
def test_each_may_have_a_schedule_of_its_own(problem, same_weights):
    def callbacks(own):
        first = OneCycle(MAX_LR, total_steps=64, optimizer=own[0])
        return first, CyclicalLR(1e-3, MAX_LR, step_size=10, optimizer=own[1])

    own = sgd(), sgd()
    model = guided(problem, *own)
    for _ in range(2):  # the first leaves nothing to the second
        model.set_weights(problem.start)
        for optimizer in own:
            for variable in optimizer.variables:
                if "momentum" in variable.path:
                    variable.assign(ops.zeros(variable.shape))
        problem.fit(model, *callbacks(own))
    assert not {"make_train_function", "train_step", "_lrsched_patches"} & vars(model).keys()

    expected, own = plain(problem), (sgd(), sgd())
    first, second = callbacks(own)
    with first.applied_to(expected), second.applied_to(expected):
        for x, y in problem.batches():
            update(expected, x, y, *own)
    same_weights(model, expected.get_weights())


@in_a_fit
def test_each_may_change_its_mind(problem, same_weights):
    own = sgd(), sgd()
    model = guided(problem, *own)
    first = OneCycle(MAX_LR, total_steps=64, optimizer=own[0])
    second = CyclicalLR(1e-3, MAX_LR, step_size=10, optimizer=own[1])
    late = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: epoch and (first.cooldown(32), second.cooldown(32))
    )
    problem.fit(model, first, second, late)
    assert not {"make_train_function", "train_step", "_lrsched_patches"} & vars(model).keys()
    assert first.policy.total_steps == second.policy.total_steps == 64

    expected, own = plain(problem), (sgd(), sgd())
    one, other = (
        ScheduleCallback(each.policy, optimizer=optimizer)
        for each, optimizer in zip((first, second), own, strict=True)
    )
    with one.applied_to(expected), other.applied_to(expected):
        for x, y in problem.batches():
            update(expected, x, y, *own)
    same_weights(model, expected.get_weights())


@in_a_fit
def test_optimizers_that_have_begun_at_other_counts_keep_step(problem, check_weights):
    own = sgd(), sgd()
    own[1].iterations.assign(500)
    model = guided(problem, *own)
    problem.fit(model, OneCycle(MAX_LR, optimizer=own))
    check_weights(model)


@in_a_fit
@pytest.mark.filterwarnings("ignore:.*has ended at step")
def test_a_default_optimizer_that_does_nothing_is_named(problem):
    model = guided(problem, sgd())
    with pytest.raises(ValueError, match=r"pass optimizer=model\.own_optimizer"):
        problem.fit(model, OneCycle(MAX_LR))
    with pytest.raises(ValueError, match=r"pass optimizer=model\.own_optimizer"):
        fit_one_cycle(model, problem.x, problem.y, epochs=1)
    with pytest.warns(UserWarning, match=r"no update.*pass optimizer=model\.own"):
        problem.fit(model, OneCycle(MAX_LR, momentum=None))
    with pytest.raises(ValueError, match=r"made none.*pass optimizer=model\.own"):
        lr_find(model, problem.x, problem.y, batch_size=BATCH, **SWEEP)


@in_a_fit
@pytest.mark.parametrize(
    ("name", "kept", "place"),
    [
        ("_hidden", lambda own: own, "_hidden"),
        ("several", lambda own: [own], "several[0]"),
        ("several", lambda own: {"net": own}, "several['net']"),
    ],
)
def test_one_in_a_container_or_private_is_named_too(name, kept, place, problem):
    own = sgd()
    model = guided(problem, own)
    model.own_optimizer = Behind(own)
    setattr(model, name, kept(own))
    with pytest.raises(ValueError, match=re.escape(f"pass optimizer=model.{place} to")):
        problem.fit(model, OneCycle(MAX_LR))


def everything(model, optimizer):
    return [ops.convert_to_numpy(v).tobytes() for v in (*model.variables, *optimizer.variables)]


@in_a_fit
@pytest.mark.parametrize("in_the_model", [True, False])
def test_a_range_test_drives_them_and_leaves_no_trace(in_the_model, problem):
    own = sgd()
    model = guided(problem, own)
    if not in_the_model:
        model._rest, model.own_optimizer = [], Behind(own)
    problem.fit(model, epochs=1)
    before = everything(model, own)
    curve = lr_find(
        model, problem.x, problem.y, batch_size=BATCH, shuffle=False, optimizer=own, **SWEEP
    )
    assert len(curve) == 20
    assert everything(model, own) == before
    finder = LRFinder(**SWEEP, optimizer=own)
    problem.fit(model, finder)
    assert everything(model, own) == before
    np.testing.assert_allclose(finder.curve.loss, curve.loss, rtol=1e-5)
    np.testing.assert_array_equal(finder.curve.lr, curve.lr)


class Behind:
    """Hands on to an optimizer where no walk finds it."""

    __slots__ = ("apply",)

    def __init__(self, optimizer):
        self.apply = lambda *arguments: optimizer.apply(*arguments)


@in_a_fit
def test_fit_one_cycle_drives_them(problem, check_weights):
    own = sgd()
    model = guided(problem, own)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    fit_one_cycle(model, problem.x, problem.y, epochs=2, max_lr=MAX_LR, optimizer=own, **options)
    check_weights(model)


@in_a_fit
def test_a_range_test_is_alone_in_a_model(problem):
    own = sgd(), sgd()
    for callbacks in (
        [LRFinder(**SWEEP, optimizer=own[0]), OneCycle(MAX_LR, optimizer=own[1])],
        [OneCycle(MAX_LR, optimizer=own[1]), LRFinder(**SWEEP, optimizer=own[0])],
    ):
        model = guided(problem, *own)
        with pytest.raises(ValueError, match=r"range test or schedules|one update for each batch"):
            problem.fit(model, *callbacks)
        assert not {"make_train_function", "train_step"} & vars(model).keys()


def test_a_loop_needs_no_compiled_model(problem, check_weights):
    model, optimizer = plain(problem), sgd()
    callback = OneCycle(MAX_LR, total_steps=64)
    with callback.applied_to(optimizer):
        for x, y in problem.batches():
            update(model, x, y, optimizer)
    check_weights(model)
    assert len(callback.history["learning_rate"]) == 64


def test_the_optimizer_of_a_callback_is_that_of_a_loop(problem, check_weights):
    model, optimizer = plain(problem), sgd()
    with OneCycle(MAX_LR, total_steps=64, optimizer=optimizer).applied_to(model):
        for x, y in problem.batches():
            update(model, x, y, optimizer)
    check_weights(model)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("sgd", TypeError, "optimizer must be a Keras optimizer or a list of them, got 'sgd'"),
        ([None], TypeError, "optimizer must be a Keras optimizer or a list of them, got None"),
        ([], ValueError, "optimizer must be one or more"),
        ([sgd()] * 2, ValueError, "optimizer must be one or more, each of them once"),
    ],
)
def test_other_things_are_refused_at_once(given, error, message, problem):
    schedule = OneCycle(MAX_LR, 64)
    for make in (
        lambda: OneCycle(MAX_LR, optimizer=given),
        lambda: CyclicalLR(0.0, 1.0, 5, optimizer=given),
        lambda: ScheduleCallback(schedule.lr, optimizer=given),
        lambda: LRFinder(optimizer=given),
        lambda: lr_find(problem.model(sgd()), problem.x, problem.y, optimizer=given),
    ):
        with pytest.raises(error, match=message):
            make()


def test_a_model_that_is_not_compiled_is_told_of_the_argument(problem):
    with pytest.raises(TypeError, match="or pass optimizer="):
        lr_find(plain(problem), problem.x, problem.y)
