"""Training goes on from a range test bit for bit as if there had been none, in every setting."""

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from tests.lrsched_tf.backend.custom_steps import Own
from tests.lrsched_tf.backend.training import (
    BATCH,
    SIZE,
    SWEEP,
    Shuffled,
    arrays,
    assert_no_trace,
    dense,
    find,
    interrupt,
    momentum,
    need_float16,
    state,
    trained,
    training,
    untouched,
)

BACKEND = keras.backend.backend()


def own_step():
    model = Own([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def two_outputs():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile("adam", ["mse", "mae"], loss_weights=[1.0, 0.3], metrics=[["mae"], ["mse"]])
    return model


def half_precision():
    need_float16()
    layers = [keras.layers.Dense(4, dtype="mixed_float16"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = keras.optimizers.LossScaleOptimizer(momentum(), initial_scale=2.0**20)
    model.compile(optimizer, "mse")
    return model


def normalized():
    layers = [keras.layers.Dense(4, kernel_regularizer="l2"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(1e-3), "mse", metrics=["mae"])
    return model


def recurrent():
    if BACKEND == "torch":
        pytest.skip("Keras alone fails there")
    layers = [keras.layers.Reshape((3, 1)), keras.layers.LSTM(2, stateful=True)]
    model = keras.Sequential([keras.Input((3,), batch_size=BATCH), *layers])
    model.compile("sgd", "mse")
    return model


def accumulating():
    return dense(optimizer=keras.optimizers.Adam(gradient_accumulation_steps=2))


def averaging():
    return dense(optimizer=keras.optimizers.Adam(use_ema=True, ema_momentum=0.5))


def scheduled():
    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    return dense(optimizer=keras.optimizers.Adam(decay))


def two_optimizers():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("Keras < 3.15 has no MultiOptimizer")
    choose = {True: keras.optimizers.Adam(), False: momentum()}
    return dense(optimizer=keras.optimizers.MultiOptimizer(lambda v: choose["bias" in v.path]))


def several_steps():
    if BACKEND == "torch":
        pytest.skip("the torch backend of Keras runs one step per execution")
    return dense(steps_per_execution=2)


FIRST = {"epochs_before": 0}
SETTINGS = {
    "before the first fit": (dense, FIRST),
    "custom step with own tracker": (own_step, {}),
    "two outputs": (two_outputs, {"y": [arrays()[1]] * 2, **FIRST}),
    "weights and normalization": (normalized, {"sample_weight": np.linspace(0, 2, SIZE)}),
    "states of a recurrent layer": (recurrent, {}),
    "half precision": (half_precision, {}),
    "gradients that accumulate": (accumulating, FIRST),
    # On JAX, Keras cannot train such a model a second time.
    "averaged weights": (averaging, FIRST),
    "lr from a schedule": (scheduled, {}),
    "two optimizers": (two_optimizers, {}),
    "compiled the other way": (lambda: dense(jit_compile=BACKEND == "tensorflow"), {}),
    "eager": (lambda: dense(run_eagerly=True), {}),
    "several steps per execution": (several_steps, {}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_in_every_setting(setting):
    build, options = SETTINGS[setting]
    assert_no_trace(find, build, **options)


def test_twice_in_a_row_each_as_if_it_were_the_first():
    def find_twice(model, **data):
        traced = model.train_function
        assert find(model, **data) == find(model, **data)
        assert model.train_function is traced

    assert_no_trace(find_twice)


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_as_a_callback(epochs_before):
    def find_in_a_fit(model, **data):
        finder = LRFinder(**SWEEP)
        model.fit(**data, epochs=9, verbose=0, callbacks=[finder])
        assert len(finder.curve) == 12
        # The data is not restored, which the user is told.
        assert any("threads that read ahead" in note for note in finder.curve.notes)

    assert_no_trace(find_in_a_fit, epochs_before=epochs_before)


def test_a_trace_would_be_seen():
    assert training(dense, lambda model, x, y, **data: model.train_on_batch(x, y)) != untouched()


def divide():
    raise ZeroDivisionError("in the data")


@pytest.mark.parametrize(("act", "error"), [(interrupt, "^$"), (divide, "in the data")])
def test_after_an_error_or_ctrl_c(act, error):
    def break_off(model, **data):
        # Each backend wraps an error of the data in its own.
        with pytest.raises((KeyboardInterrupt, Exception), match=error):
            lr_find(model, Shuffled(act), num_steps=10_000)

    assert_no_trace(break_off)


class Halves(keras.Model):
    """Two layers with an optimizer each, which the first step builds for what it trains."""

    def __init__(self):
        super().__init__()
        self.layers_of_it = [keras.layers.Dense(1), keras.layers.Dense(1)]
        for layer in self.layers_of_it:
            layer.build((None, 3))
        self.second_optimizer, self.built = keras.optimizers.Adam(0.01), True

    def train_step(self, data):
        import tensorflow as tf

        optimizers = self.optimizer, self.second_optimizer
        for layer, optimizer in zip(self.layers_of_it, optimizers, strict=True):
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(layer(data[0]) - data[1]))
            weights = layer.trainable_weights
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="fit builds the optimizer beforehand")
def test_an_optimizer_is_built_by_the_first_step_of_fit_for_what_it_trains():
    def build():
        model = Halves()
        model.compile(keras.optimizers.Adam(0.01))
        return model

    def find_unbuilt(model, **data):
        find(model, **data)
        assert not model.optimizer.built
        assert not model.second_optimizer.built

    assert_no_trace(find_unbuilt, build, **FIRST)


@pytest.mark.parametrize("first", [True, False])
def test_a_callback_that_sets_the_best_weights_comes_first(first):
    best = keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True)
    finder = LRFinder(start_lr=1.0, end_lr=100.0, num_steps=40, stop_factor=None)
    model = trained()
    before, callbacks = state(model), [finder, best][:: 1 if first else -1]
    history = model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=callbacks)
    assert best.best_weights is not None
    assert state(model) == before
    assert "on_train_end" not in vars(history)
    assert model.history is history


def test_a_list_of_callbacks_of_the_user_s_without_a_history():
    model, finder = trained(), LRFinder(num_steps=12)
    before = state(model)
    callbacks = keras.callbacks.CallbackList([finder], model=model, epochs=20)
    model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=callbacks)
    assert state(model) == before
    assert len(finder.curve) == 12


@pytest.mark.parametrize("used", [False, True])
def test_the_global_generators_are_restored(used):
    if BACKEND == "jax":
        pytest.skip("JAX draws no numbers from a global generator in a compiled step")

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    def drawn(between):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), Noisy(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        if used:
            keras.random.normal(())
        if between:
            lr_find(model, *arrays(), **SWEEP)
        numbers = [keras.ops.convert_to_numpy(keras.random.normal((2,))).tolist()]
        if BACKEND == "tensorflow":
            import tensorflow

            numbers.append(tensorflow.random.normal((2,)).numpy().tolist())
        return numbers

    assert drawn(True) == drawn(False)
