"""Weights show the lr and momentum, whatever stands between `fit` and an optimizer."""

import contextlib

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.custom_steps import Own
from tests.lrsched_tf.backend.scheduling import (
    BACKEND_MODES,
    LRS,
    MAX_LR,
    MODES,
    MOMENTA,
    OPTIMIZERS,
    STEPS,
    lr_of,
    sgd,
)
from tests.lrsched_tf.backend.training import need_float16

USUAL, *OTHERS = BACKEND_MODES
CASES = [(name, USUAL) for name in OPTIMIZERS]
CASES += [(name, mode) for name in ("sgd", "nadam") for mode in OTHERS]
if keras.backend.backend() == "torch":
    CASES.append(("sgd", "jit"))


# PyTorch's compiler warns of itself.
@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_one_cycle_moves_the_weights_as_numpy_does(name, mode, problem, check_weights):
    update, make = OPTIMIZERS[name]
    model = problem.model(make(), **MODES[mode])
    problem.fit(model, OneCycle(MAX_LR))
    check_weights(model, update)
    # The comparison sees a momentum that stays, an lr one step late, and an lr off by 1%.
    for lrs, momenta in (
        (LRS, np.full(STEPS, 0.9)),
        (np.roll(LRS, 1), MOMENTA),
        (LRS * 1.01, MOMENTA),
    ):
        with pytest.raises(AssertionError, match="weights differ"):
            check_weights(model, update, lrs, momenta)


# Of one momentum, of two averages, and of a product over all updates.
@pytest.fixture(params=["sgd", "adamw", "nadam"])
def some_optimizers(request):
    return OPTIMIZERS[request.param]


def test_loss_scaling(some_optimizers, problem, check_weights):
    update, make = some_optimizers
    if update is reference.nadam and keras.backend.backend() == "jax":
        pytest.skip("Keras alone scales the loss of a Nadam wrongly on JAX")
    model = problem.model(keras.optimizers.LossScaleOptimizer(make()))
    problem.fit(model, OneCycle(MAX_LR))
    check_weights(model, update)


def test_updates_that_loss_scaling_skips_are_no_steps(problem, check_weights):
    y = problem.y.copy()
    y[40] = np.inf  # in the eleventh batch, whose gradients then are not finite
    model = problem.model(keras.optimizers.LossScaleOptimizer(sgd()))
    callback = OneCycle(MAX_LR)
    model.fit(problem.x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    made = len(callback.history["step"])
    assert made == STEPS - 2
    batches = problem.batches()
    del batches[42], batches[10]
    check_weights(model, lrs=LRS[:made], momenta=MOMENTA[:made], batches=batches)


def test_half_precision_keeps_the_schedule_in_float32(problem):
    need_float16()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = problem.model(sgd())
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    callback, applied = OneCycle(MAX_LR), []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: applied.append(lr_of(model)))
    problem.fit(model, callback, watch)
    last = len(callback.history["step"]) - 1
    assert applied[-1] == np.float32(callback.lr(last))


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras < 3.15")
class TestMultiOptimizer:
    def test_each_part_of_the_weights_is_scheduled(self, problem, check_weights):
        def choose(variable):
            return adam if "bias" in variable.path else plain

        adam, plain = keras.optimizers.Adam(), sgd()
        model = problem.model(keras.optimizers.MultiOptimizer(choose))
        problem.fit(model, OneCycle(MAX_LR))

        def update(w, *rest):
            return (reference.sgd if w.ndim == 2 else reference.adam)(w, *rest)

        check_weights(model, update)
        assert (plain.momentum, adam.beta_1) == (0.9, 0.9)

    def test_parts_that_are_not_known_yet_are_an_error_on_tensorflow(self):
        adam = keras.optimizers.Adam()
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(keras.optimizers.MultiOptimizer(lambda variable: adam), "mse")
        builds_first = keras.backend.backend() != "tensorflow"
        refusal = pytest.raises(ValueError, match="model must be built for a MultiOptimizer")
        with contextlib.nullcontext() if builds_first else refusal:
            model.fit(np.ones((64, 3)), np.ones((64, 1)), verbose=0, callbacks=[OneCycle(MAX_LR)])
        assert adam.built == builds_first


def test_an_average_of_the_weights(problem, same_weights):
    model = problem.model(keras.optimizers.Adam(use_ema=True, ema_momentum=0.8))
    problem.fit(model, OneCycle(MAX_LR))
    _, path = reference.train(problem.start, problem.batches(), reference.adam, LRS, MOMENTA)
    average = path[0]
    for weights in path[1:]:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
    same_weights(model, average)


def test_accumulated_gradients_count_updates(some_optimizers, problem, check_weights):
    update, make = some_optimizers
    model = problem.model(make(gradient_accumulation_steps=4))
    callback = OneCycle(MAX_LR)
    problem.fit(model, callback)
    lrs, momenta = callback.history["learning_rate"], callback.history["momentum"]
    np.testing.assert_array_equal(lrs, lrsched.one_cycle(MAX_LR, STEPS // 4).values())
    check_weights(model, update, lrs, momenta, accumulate=4)


def test_accumulated_gradients_count_batches_when_asked(problem, check_weights):
    model = problem.model(sgd(gradient_accumulation_steps=4))
    problem.fit(model, OneCycle(MAX_LR, count="batches"))
    check_weights(model, lrs=LRS[3::4], momenta=MOMENTA[3::4], accumulate=4)


def test_a_train_step_of_the_user(problem, check_weights):
    model = problem.model(sgd(), kind=Own)
    problem.fit(model, OneCycle(MAX_LR))
    check_weights(model)


def test_functions_that_the_user_has_set_on_model_and_optimizer(problem, check_weights):
    """They are called, and stay."""
    model, calls = problem.model(sgd()), set()

    def noting(name, function):
        def noted(*arguments, **options):
            calls.add(name)
            return function(*arguments, **options)

        return noted

    owners = {"train_step": model, "make_train_function": model, "apply": model.optimizer}
    mine = {name: noting(name, getattr(owner, name)) for name, owner in owners.items()}
    for name, owner in owners.items():
        setattr(owner, name, mine[name])
    problem.fit(model, OneCycle(MAX_LR))
    check_weights(model)
    assert calls == {*owners}
    assert all(getattr(owner, name) is mine[name] for name, owner in owners.items())


def test_a_loop_over_train_on_batch(problem, check_weights):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=STEPS)
    with callback.applied_to(model) as applied:
        for x, y in problem.batches():
            model.train_on_batch(x, y)
    check_weights(model)
    assert applied is callback
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS)
    assert lr_of(model) == np.float32(0.01)
    assert model.optimizer.momentum == 0.9


def loop_that_fails(model, callback, x, y):
    with callback.applied_to(model):
        model.train_on_batch(x, y)
        raise KeyboardInterrupt


def test_a_loop_that_fails_leaves_the_optimizer_as_it_was(problem):
    model, callback = problem.model(sgd()), OneCycle(MAX_LR, total_steps=STEPS)
    with pytest.raises(KeyboardInterrupt):
        loop_that_fails(model, callback, *problem.batches()[0])
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS[:1])
    assert "apply" not in vars(model.optimizer)
    assert lr_of(model) == np.float32(0.01)


@pytest.mark.parametrize(
    "rate", [keras.optimizers.schedules.CosineDecay(0.5, 1000), lambda: 0.5], ids=["decay", "call"]
)
def test_an_optimizer_that_was_compiled_with_a_schedule_or_a_function(rate, problem, check_weights):
    model = problem.model(keras.optimizers.SGD(rate, momentum=0.9))
    problem.fit(model, OneCycle(MAX_LR))
    check_weights(model)
    assert model.optimizer._learning_rate is rate


def test_the_lr_alone(problem, check_weights):
    model = problem.model(keras.optimizers.SGD(0.01))
    problem.fit(model, OneCycle(MAX_LR, momentum=None))
    check_weights(model, momenta=np.zeros(STEPS))


def test_the_momentum_alone(problem, check_weights):
    model = problem.model(sgd())
    history = problem.fit(model, ScheduleCallback(momentum=lrsched.one_cycle_momentum(STEPS)))
    check_weights(model, lrs=np.full(STEPS, 0.01))
    assert "learning_rate" not in history.history


@pytest.mark.parametrize("mode", [{"mode": "triangular2"}, {"mode": "exp_range", "gamma": 0.97}])
@pytest.mark.parametrize("step_size", [{"step_size": 8}, {"step_size_epochs": 0.25}])
def test_cyclical_lr(mode, step_size, problem, check_weights):
    """Momentum is cycled by default, between the bounds that torch's CyclicLR has."""
    lr = lrsched.cyclical(0.001, 0.03, 8, **mode)
    momentum = lrsched.cyclical_momentum(8, base_momentum=0.8, max_momentum=0.9, **mode)
    model = problem.model(sgd())
    problem.fit(model, CyclicalLR(0.001, 0.03, **step_size, **mode))
    check_weights(model, lrs=lr.values(STEPS), momenta=momentum.values(STEPS))


def test_cyclical_lr_leaves_momentum_alone_where_it_is_off_or_told_to(problem, check_weights):
    lrs = lrsched.cyclical(0.001, 0.03, 8).values(STEPS)
    callback = CyclicalLR(0.001, 0.03, 8)
    without = problem.model(keras.optimizers.SGD(0.01))
    history = problem.fit(without, callback).history
    check_weights(without, lrs=lrs, momenta=np.zeros(STEPS))
    assert "momentum" not in {*history, *callback.history}
    told = problem.model(sgd())
    problem.fit(told, CyclicalLR(0.001, 0.03, 8, momentum=None))
    check_weights(told, lrs=lrs, momenta=np.full(STEPS, 0.9))
    again = problem.model(sgd())
    problem.fit(again, callback)
    momenta = lrsched.cyclical_momentum(8).values(STEPS)
    check_weights(again, lrs=lrs, momenta=momenta)


def test_a_step_size_in_epochs_counts_updates(problem):
    model = problem.model(sgd(gradient_accumulation_steps=2))
    callback = CyclicalLR(0.001, 0.03, step_size_epochs=0.5)
    problem.fit(model, callback, epochs=1)
    assert callback.lr == lrsched.cyclical(0.001, 0.03, 8)


def embedding_trained(by_hand):
    keras.utils.set_random_seed(0)
    embedding = keras.layers.Embedding(7, 2)
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, keras.layers.Flatten()])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="mse", run_eagerly=by_hand)
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 7, (STEPS, 4)), rng.normal(size=(STEPS, 8)).astype("float32")
    if not by_hand:
        model.fit(x, y, batch_size=1, verbose=0, shuffle=False, callbacks=[OneCycle(MAX_LR)])
    for i in range(STEPS * by_hand):
        model.optimizer.learning_rate = LRS[i]
        model.optimizer.momentum = float(MOMENTA[i])
        model.train_on_batch(x[i : i + 1], y[i : i + 1])
    return model.get_weights()[0]


def test_an_embedding_with_sparse_gradients():
    """Rows that a batch does not use have no gradient; TensorFlow sends the others sparsely."""
    found, wanted = embedding_trained(by_hand=False), embedding_trained(by_hand=True)
    # Each step rounds each weight, by half a unit in its last place, in both.
    assert abs(found - wanted).max() <= STEPS * np.finfo("float32").eps * abs(wanted).max()
