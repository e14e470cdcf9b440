"""Functions that a train_step calls and that are compiled by themselves keep no schedule."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from lrsched_tf import LRFinder, OneCycle, lr_find
from tests.lrsched_tf.backend.training import state

BACKEND = keras.backend.backend()
X = np.random.default_rng(5).normal(size=(40, 4)).astype("float32")
Y = X.sum(1, keepdims=True)
SWEEP = {"num_steps": 12, "start_lr": 1e-4, "end_lr": 5.0, "stop_factor": None}

if BACKEND == "torch":
    pytest.skip("torch traces anew by itself", allow_module_level=True)
elif BACKEND == "jax":
    import jax

    compiler = functools.partial(jax.jit, static_argnums=0)
else:
    import tensorflow as tf

    compiler = tf.function


def with_helpers(measure_by=lambda function: function, update_by=lambda function: function):
    """A class of models whose train_step calls two functions, each compiled by something."""

    def mean_square(self, predicted, y):
        return ops.mean(ops.square(predicted - y))

    def update_on_tensorflow(self, x, y):
        with tf.GradientTape() as tape:
            loss = self.measure(self(x), y)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return loss

    def update_on_jax(self, trainable, fixed, optimizer, x, y):
        def loss_of(trainable):
            return self.measure(self.stateless_call(trainable, fixed, x)[0], y)

        loss, gradients = jax.value_and_grad(loss_of)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return loss, trainable, optimizer

    def step_on_tensorflow(self, data):
        return {"loss": self.update(*data[:2])}

    def step_on_jax(self, state, data):
        trainable, fixed, optimizer, metrics = state
        loss, trainable, optimizer = self.update(trainable, fixed, optimizer, *data[:2])
        return {"loss": loss}, (trainable, fixed, optimizer, metrics)

    named = dict(locals())
    return type(
        "Helped",
        (keras.Sequential,),
        {
            "measure": measure_by(mean_square),
            "update": update_by(named[f"update_on_{BACKEND}"]),
            "train_step": named[f"step_on_{BACKEND}"],
        },
    )


def built(kind, optimizer=None, **arguments):
    keras.utils.set_random_seed(3)
    model = kind([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), **arguments)
    return model


def fit(model, *callbacks, epochs=1):
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **arguments).history


def find_at_once(model):
    return list(lr_find(model, X, Y, batch_size=8, shuffle=False, **SWEEP).loss)


def find_in_a_fit(model):
    finder = LRFinder(**SWEEP)
    fit(model, finder, epochs=40)
    return list(finder.curve.loss)


def schedule_a_fit(model):
    return fit(model, OneCycle(0.1, momentum=None), epochs=2)["loss"]


def schedule_a_loop(model):
    with OneCycle(0.1, total_steps=4, momentum=None).applied_to(model):
        return [float(model.train_on_batch(X, Y)) for _ in range(4)]


USES = [find_at_once, find_in_a_fit, schedule_a_fit, schedule_a_loop]


@pytest.mark.skipif(BACKEND != "jax", reason="refused on TensorFlow")
@pytest.mark.parametrize("before", [False, True])
def test_jax_traces_an_update_anew_for_each_schedule(before):
    def trained(update_by):
        model = built(with_helpers(update_by=update_by))
        first = fit(model) if before else None
        return first, find_at_once(model), schedule_a_fit(model), fit(model)

    np.testing.assert_equal(trained(compiler), trained(lambda function: function))


# A step of JAX that is not compiled, or of TensorFlow, cannot be helped.
EAGER = [True] if BACKEND == "jax" else [False, True]


@pytest.mark.parametrize("eager", EAGER)
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("use", USES)
def test_an_update_that_keeps_its_traces_is_refused(use, before, eager):
    if BACKEND == "tensorflow" and eager and before and use is schedule_a_fit:
        pytest.skip("seen after a batch with the user's own lr, see below")

    def trained(between):
        model = built(with_helpers(update_by=compiler), run_eagerly=eager)
        if before:
            fit(model)
        between(model)
        return fit(model)

    def refused(model):
        model.optimizer.build(model.trainable_variables)
        at_first = state(model)
        with pytest.raises(ValueError, match="train_step must make its update in plain functions"):
            use(model)
        assert state(model) == at_first

    assert trained(refused) == trained(lambda model: None)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX has not trained by then")
def test_an_eager_step_of_tensorflow_is_refused_after_a_batch():
    model = built(with_helpers(update_by=compiler), run_eagerly=True)
    fit(model)
    with pytest.raises(ValueError, match="train_step must make its update in plain functions"):
        schedule_a_fit(model)
    assert ops.convert_to_numpy(model.optimizer.iterations) == 5 + 1


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "accumulating": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05)),
}


@pytest.mark.parametrize(
    ("optimizer", "mode"),
    [
        *((name, {}) for name in OPTIMIZERS),
        ("loss_scale", {"run_eagerly": True}),
        ("loss_scale", {"jit_compile": True}),
    ],
)
def test_other_functions_of_a_step_may_be_compiled(optimizer, mode):
    model = built(with_helpers(measure_by=compiler), OPTIMIZERS[optimizer](), **mode)
    assert len(find_at_once(model)) == SWEEP["num_steps"]
    schedule_a_loop(model)
