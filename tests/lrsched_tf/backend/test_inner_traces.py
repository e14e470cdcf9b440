"""Functions that a train_step calls and that are compiled by themselves keep no schedule."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from lrsched_tf import LRFinder, OneCycle, lr_find
from tests.lrsched_tf.backend.custom_steps import compiled_within, plain
from tests.lrsched_tf.backend.training import BATCH, SWEEP, arrays, dense, state

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    pytest.skip("torch traces anew by itself", allow_module_level=True)
elif BACKEND == "jax":
    import jax

    compiler = functools.partial(jax.jit, static_argnums=0)
else:
    import tensorflow as tf

    compiler = tf.function


def fit(model, *callbacks, epochs=1):
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(*arrays(), epochs=epochs, callbacks=list(callbacks), **arguments).history


def built(kind, **options):
    keras.utils.set_random_seed(3)
    return dense(kind, **options)


def find_at_once(model):
    return list(lr_find(model, *arrays(), batch_size=BATCH, shuffle=False, **SWEEP).loss)


def find_in_a_fit(model):
    finder = LRFinder(**SWEEP)
    fit(model, finder, epochs=40)
    return list(finder.curve.loss)


def schedule_a_fit(model):
    return fit(model, OneCycle(0.1, momentum=None), epochs=2)["loss"]


def schedule_a_loop(model):
    with OneCycle(0.1, total_steps=4, momentum=None).applied_to(model):
        return [float(model.train_on_batch(*arrays())) for _ in range(4)]


@pytest.mark.skipif(BACKEND != "jax", reason="refused on TensorFlow")
@pytest.mark.parametrize("before", [False, True])
def test_jax_traces_an_update_anew_for_each_schedule(before):
    def trained(update_by):
        model = built(compiled_within(update_by=update_by))
        first = fit(model) if before else None
        return first, find_at_once(model), schedule_a_fit(model), fit(model)

    np.testing.assert_equal(trained(compiler), trained(plain))


def assert_refused(use, make, message, before=False):
    """An error, after which the model trains on as if nothing had been tried."""

    def history(try_it):
        model = make()
        if before:
            fit(model)
        if try_it:
            model.optimizer.build(model.trainable_variables)
            model.reset_metrics()
            at_first = state(model)
            with pytest.raises(ValueError, match=message):
                use(model)
            assert state(model) == at_first
        return fit(model)

    assert history(try_it=True) == history(try_it=False)


IN_PLAIN_FUNCTIONS = "train_step must make its update in plain functions"
# A step of JAX that is not compiled, or of TensorFlow, cannot be helped.
EAGER = [
    (find_at_once, True, True),
    (find_in_a_fit, False, True),
    (schedule_a_fit, False, True),
    (schedule_a_loop, True, True),
]
COMPILED = [
    (find_at_once, True, False),
    (find_in_a_fit, True, False),
    (schedule_a_fit, True, False),
    (schedule_a_loop, True, False),
    (find_at_once, False, False),
    (schedule_a_fit, False, False),
]


@pytest.mark.parametrize(
    ("use", "before", "eager"), EAGER if BACKEND == "jax" else EAGER + COMPILED
)
def test_an_update_that_keeps_its_traces_is_refused(use, before, eager):
    def make():
        return built(compiled_within(update_by=compiler), run_eagerly=eager)

    assert_refused(use, make, IN_PLAIN_FUNCTIONS, before)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX has not trained by then")
def test_an_eager_step_of_tensorflow_is_refused_after_a_batch():
    model = built(compiled_within(update_by=compiler), run_eagerly=True)
    fit(model)
    with pytest.raises(ValueError, match=IN_PLAIN_FUNCTIONS):
        schedule_a_fit(model)
    assert ops.convert_to_numpy(model.optimizer.iterations) == 3 + 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function is TensorFlow's")
@pytest.mark.parametrize("use", [find_at_once, find_in_a_fit, schedule_a_fit])
def test_a_step_that_keeps_its_traces_is_refused(use):
    class Decorated(keras.Sequential):
        @tf.function
        def train_step(self, data):
            return super().train_step(data)

    message = "train_step of Decorated must be a plain function"
    assert_refused(use, lambda: built(Decorated), message)


OPTIMIZERS = {
    "accumulating": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05)),
}


@pytest.mark.parametrize(
    ("optimizer", "mode"),
    [
        ("accumulating", {}),
        ("loss_scale", {}),
        ("loss_scale", {"jit_compile": True}),
    ],
)
def test_other_functions_of_a_step_may_be_compiled(optimizer, mode):
    model = built(compiled_within(measure_by=compiler), optimizer=OPTIMIZERS[optimizer](), **mode)
    assert len(find_at_once(model)) == SWEEP["num_steps"]
    schedule_a_loop(model)
