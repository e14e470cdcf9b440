"""The applied values under everything that stands between `fit` and an optimizer."""

import contextlib

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.test_weights import OPTIMIZERS
from tests.lrsched_tf.backend.training import need_float16

STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()


def sgd(**arguments):
    return keras.optimizers.SGD(0.01, momentum=0.9, **arguments)


@pytest.fixture(params=OPTIMIZERS)
def every_optimizer(request):
    return OPTIMIZERS[request.param]


@pytest.fixture
def check(problem, same_weights):
    """Weights are those of SGD with the cycling values, and not those with a fixed momentum."""

    def compare(model, update=reference.sgd):
        same_weights(model, problem.expected(update, LRS, MOMENTA))
        with pytest.raises(AssertionError, match="weights differ"):
            same_weights(model, problem.expected(update, LRS, np.full(STEPS, 0.9)))

    return compare


def test_loss_scaling(every_optimizer, problem, check):
    update, make = every_optimizer
    if make is OPTIMIZERS["nadam"][1] and keras.backend.backend() == "jax":
        pytest.skip("Keras alone scales the loss of a Nadam wrongly on JAX")
    model = problem.model(keras.optimizers.LossScaleOptimizer(make()))
    problem.fit(model, OneCycle(MAX_LR))
    check(model, update)


def test_updates_that_loss_scaling_skips_are_no_steps(problem, same_weights):
    y = problem.y.copy()
    y[40] = np.inf  # in the eleventh batch, whose gradients then are not finite
    model = problem.model(keras.optimizers.LossScaleOptimizer(sgd()))
    callback = OneCycle(MAX_LR)
    model.fit(problem.x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    made = len(callback.history["step"])
    assert made == STEPS - 2
    batches = problem.batches()
    del batches[42], batches[10]
    same_weights(
        model, problem.expected(reference.sgd, LRS[:made], MOMENTA[:made], batches=batches)
    )


def test_half_precision_keeps_the_schedule_in_float32(problem):
    need_float16()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = problem.model(sgd())
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    applied = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            applied.append(self.model.optimizer.learning_rate.numpy())

    callback = OneCycle(MAX_LR)
    problem.fit(model, callback, Watch())
    last = len(callback.history["step"]) - 1
    assert applied[-1] == np.float32(callback.lr(last))


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras < 3.15")
def test_a_part_of_the_weights_for_each_optimizer(problem, same_weights):
    def choose(variable):
        return adam if "bias" in variable.path else plain

    adam, plain = keras.optimizers.Adam(), sgd()
    model = problem.model(keras.optimizers.MultiOptimizer(choose))
    problem.fit(model, OneCycle(MAX_LR))

    def update(w, *rest):
        return (reference.sgd if w.ndim == 2 else reference.adam)(w, *rest)

    same_weights(model, problem.expected(update, LRS, MOMENTA))
    assert (plain.momentum, adam.beta_1) == (0.9, 0.9)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras < 3.15")
def test_a_model_whose_parts_of_the_weights_are_not_known_yet():
    adam = keras.optimizers.Adam()
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.MultiOptimizer(lambda variable: adam), "mse")
    builds_first = keras.backend.backend() != "tensorflow"
    refusal = pytest.raises(ValueError, match="model must be built for a MultiOptimizer")
    with contextlib.nullcontext() if builds_first else refusal:
        model.fit(np.ones((64, 3)), np.ones((64, 1)), verbose=0, callbacks=[OneCycle(MAX_LR)])
    assert adam.built == builds_first


def test_an_average_of_the_weights(every_optimizer, problem, same_weights):
    update, make = every_optimizer
    model = problem.model(make(use_ema=True, ema_momentum=0.8))
    problem.fit(model, OneCycle(MAX_LR))
    _, path = reference.train(problem.start, problem.batches(), update, LRS, MOMENTA)
    average = path[0]
    for weights in path[1:]:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
    same_weights(model, average)


def test_accumulated_gradients_count_updates(every_optimizer, problem, same_weights):
    update, make = every_optimizer
    model = problem.model(make(gradient_accumulation_steps=4))
    callback = OneCycle(MAX_LR)
    problem.fit(model, callback)
    assert callback.lr.total_steps == STEPS // 4
    lrs, momenta = callback.history["learning_rate"], callback.history["momentum"]
    np.testing.assert_array_equal(lrs, lrsched.one_cycle(MAX_LR, STEPS // 4).values())
    same_weights(model, problem.expected(update, lrs, momenta, accumulate=4))


def test_accumulated_gradients_count_batches_when_asked(problem, same_weights):
    model = problem.model(sgd(gradient_accumulation_steps=4))
    problem.fit(model, OneCycle(MAX_LR, count="batches"))
    same_weights(model, problem.expected(reference.sgd, LRS[3::4], MOMENTA[3::4], accumulate=4))


def custom_model():
    """A model with a train_step of its own, as the guides of Keras write it."""
    backend = keras.backend.backend()

    class Custom(keras.Sequential):
        def train_step(self, *arguments):
            if backend == "jax":
                state, (x, y) = arguments
                trainable, others, optimizer, metrics = state

                def loss_of(trainable, others):
                    predicted, others = self.stateless_call(trainable, others, x, training=True)
                    return self.compute_loss(x, y, predicted), others

                import jax

                (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(
                    trainable, others
                )
                trainable, optimizer = self.optimizer.stateless_apply(
                    optimizer, gradients, trainable
                )
                return {"loss": loss}, (trainable, others, optimizer, metrics)
            ((x, y),) = arguments
            if backend == "tensorflow":
                import tensorflow

                with tensorflow.GradientTape() as tape:
                    loss = self.compute_loss(y=y, y_pred=self(x, training=True))
                gradients = tape.gradient(loss, self.trainable_weights)
                self.optimizer.apply(gradients, self.trainable_weights)
            else:
                import torch

                self.zero_grad()
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
                loss.backward()
                with torch.no_grad():
                    self.optimizer.apply([w.value.grad for w in self.trainable_weights])
            return {"loss": loss}

    return Custom


def test_a_train_step_of_the_user(every_optimizer, problem, check):
    update, make = every_optimizer
    model = problem.model(make(), kind=custom_model())
    problem.fit(model, OneCycle(MAX_LR))
    check(model, update)


def test_a_train_step_set_on_the_model(problem, check):
    model = problem.model(sgd())
    calls, step = [], model.train_step

    def counted(*arguments):
        calls.append(1)
        return step(*arguments)

    model.train_step = counted
    problem.fit(model, OneCycle(MAX_LR))
    check(model)
    assert calls
    assert model.train_step is counted


def test_a_loop_over_train_on_batch(problem, check):
    model = problem.model(sgd())
    callback = OneCycle(MAX_LR, total_steps=STEPS)
    with callback.applied_to(model) as applied:
        for x, y in problem.batches():
            model.train_on_batch(x, y)
    check(model)
    assert applied is callback
    np.testing.assert_array_equal(callback.history["learning_rate"], LRS)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(0.01)
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
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(0.01)


def test_an_optimizer_that_was_compiled_with_a_schedule(problem, check):
    decay = keras.optimizers.schedules.CosineDecay(0.5, 1000)
    model = problem.model(keras.optimizers.SGD(decay, momentum=0.9))
    problem.fit(model, OneCycle(MAX_LR))
    check(model)
    assert model.optimizer._learning_rate is decay


def test_an_optimizer_that_was_compiled_with_a_function(problem, check):
    def rate():
        return 0.5

    model = problem.model(keras.optimizers.SGD(rate, momentum=0.9))
    problem.fit(model, OneCycle(MAX_LR))
    check(model)
    assert model.optimizer._learning_rate is rate


def test_the_lr_alone(problem, same_weights):
    model = problem.model(keras.optimizers.SGD(0.01))
    problem.fit(model, OneCycle(MAX_LR, momentum=None))
    same_weights(model, problem.expected(reference.sgd, LRS, np.zeros(STEPS)))


def test_the_momentum_alone(problem, same_weights):
    model = problem.model(keras.optimizers.SGD(0.02, momentum=0.9))
    history = problem.fit(model, ScheduleCallback(momentum=lrsched.one_cycle_momentum(STEPS)))
    same_weights(model, problem.expected(reference.sgd, np.full(STEPS, 0.02), MOMENTA))
    assert "learning_rate" not in history.history


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cyclical_lr(mode, problem, same_weights):
    decay = {"mode": mode, "gamma": 0.97 if mode == "exp_range" else 1.0}
    lr = lrsched.cyclical(0.001, 0.03, 8, **decay)
    momentum = lrsched.cyclical_momentum(8, base_momentum=0.8, max_momentum=0.9, **decay)
    model = problem.model(sgd())
    problem.fit(model, CyclicalLR(0.001, 0.03, 8, momentum=(0.8, 0.9), **decay))
    expected = [lr.values(STEPS), momentum.values(STEPS)]
    same_weights(model, problem.expected(reference.sgd, *expected))


def test_a_step_size_in_epochs(problem):
    model = problem.model(sgd(gradient_accumulation_steps=2))
    callback = CyclicalLR(0.001, 0.03, step_size_epochs=0.5)
    problem.fit(model, callback)
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
