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
    arrays,
    dense,
    need_float16,
    nothing,
    state,
    training,
    untouched,
)

BACKEND = keras.backend.backend()


def two_outputs():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile("adam", ["mse", "mae"], loss_weights=[1.0, 0.3], metrics=[["mae"], ["mse"]])
    return model


def own_step():
    model = Own()
    model(np.zeros((1, 3), "float32"))
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def half_precision():
    need_float16()
    layers = [keras.layers.Dense(4, dtype="mixed_float16"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**20), "mse")
    return model


def scheduled():
    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    return dense(optimizer=keras.optimizers.Adam(decay))


def two_optimizers():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("Keras < 3.15 has no MultiOptimizer")
    adam, sgd = keras.optimizers.Adam(), keras.optimizers.SGD(0.05, momentum=0.9)
    choose = {True: adam, False: sgd}
    return dense(optimizer=keras.optimizers.MultiOptimizer(lambda v: choose["bias" in v.path]))


SETTINGS = {
    "custom step with own tracker": (own_step, {}),
    "two outputs": (two_outputs, {"y": [arrays()[1]] * 2}),
    "sample weights": (dense, {"sample_weight": np.linspace(0, 2, SIZE)}),
    "class weights": (dense, {"class_weight": {0: 0.5, 1: 2.0}}),
    "half precision": (half_precision, {}),
    "compiled the other way": (lambda: dense(jit_compile=BACKEND == "tensorflow"), {}),
    "eager": (lambda: dense(run_eagerly=True), {}),
    "lr from a schedule": (scheduled, {}),
    "two optimizers": (two_optimizers, {}),
    "several steps per execution": (lambda: dense(steps_per_execution=2), {}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_in_every_setting(setting):
    if BACKEND == "torch" and setting == "several steps per execution":
        pytest.skip("the torch backend of Keras runs one step per execution")
    build, options = SETTINGS[setting]
    x, y = arrays()

    def find(model):
        curve = lr_find(model, **{"x": x, "y": y, "batch_size": BATCH, **SWEEP, **options})
        assert len(curve) == SWEEP["num_steps"]
        assert np.isfinite(curve.loss).all()

    assert training(build, find, **options) == training(build, nothing, **options)


class Adversaries(keras.Model):
    """Two halves with an optimizer each, which the first step builds, each for its half."""

    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        self.judge = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        self.judge_optimizer = keras.optimizers.Adam(0.01)
        self.built = True

    def train_step(self, data):
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            made = keras.ops.mean(self.judge(self.maker(data[:, :2])))
            judged = keras.ops.mean(self.judge(data)) - made
        halves = (self.optimizer, self.maker, made), (self.judge_optimizer, self.judge, judged)
        for optimizer, half, loss in halves:
            weights = half.trainable_weights
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": made, "judged": judged}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="fit builds the optimizer beforehand")
def test_an_optimizer_is_built_by_the_first_step_of_fit_for_what_it_trains():
    def trained(find):
        keras.utils.set_random_seed(1)
        model = Adversaries()
        model.compile(keras.optimizers.Adam(0.01))
        x = arrays()[0][:, :3]
        if find:
            lr_find(model, x, batch_size=BATCH, **SWEEP)
            assert not model.optimizer.built
            assert not model.judge_optimizer.built
        history = model.fit(x, batch_size=BATCH, epochs=2, verbose=0).history
        return history, [np.array(v).tolist() for v in model.optimizer.variables]

    assert trained(find=True) == trained(find=False)


def test_with_averaged_weights():
    def build():
        return dense(optimizer=keras.optimizers.Adam(use_ema=True, ema_momentum=0.5))

    def find(model):
        lr_find(model, *arrays(), batch_size=BATCH, **SWEEP)

    # On JAX, Keras cannot train such a model a second time.
    assert training(build, find, epochs_before=0) == training(build, nothing, epochs_before=0)


def test_after_a_thousand_steps():
    x, y = arrays()

    def find(model):
        assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 1008
        lr_find(model, x, y, batch_size=1, **SWEEP)

    def build():  # with a step size that batches of one sample converge with
        return dense(optimizer=keras.optimizers.SGD(0.005, momentum=0.9))

    options = {"epochs_before": 42, "batch_size": 1}
    found, plain = training(build, find, **options), training(build, nothing, **options)
    assert found == plain
    assert plain[0]["loss"][-1] < 0.25  # the variance of the labels: it has learned something


def test_twice_in_a_row_each_as_if_it_were_the_first():
    x, y = arrays()

    def find_twice(model):
        traced = model.train_function
        curves = [lr_find(model, x, y, batch_size=BATCH, **SWEEP) for _ in range(2)]
        assert curves[0] == curves[1]
        assert model.train_function is traced

    assert training(dense, find_twice) == untouched()


def test_an_error_in_the_loss():
    broken = []

    def loss(y, outputs):
        if broken:
            raise ZeroDivisionError("in the loss")
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    def find(model):
        broken.append(True)
        with pytest.raises(ZeroDivisionError, match="in the loss"):
            lr_find(model, *arrays(), **SWEEP)
        broken.clear()

    def build():
        return dense(loss=loss)

    assert training(build, find) == training(build, nothing)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras alone fails there")
def test_states_of_recurrent_layers_are_put_back():
    def recurrent():
        layers = [keras.layers.Reshape((3, 1)), keras.layers.LSTM(2, stateful=True)]
        model = keras.Sequential([keras.Input((3,), batch_size=BATCH), *layers])
        model.compile("sgd", "mse")
        return model

    def find(model):
        assert not any("not put back" in n for n in lr_find(model, *arrays(), **options).notes)

    options = {**SWEEP, "batch_size": BATCH}
    assert training(recurrent, find) == training(recurrent, nothing)


def test_updates_of_loss_scaling_are_counted_wherever_the_finder_is_in_the_list():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(set(logs))

    finder = LRFinder(num_steps=12)
    callbacks = [Watch(), finder]
    model = half_precision()
    history = model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=callbacks)
    assert set(history.history) == {"loss"}
    assert {name for names in seen for name in names} == {"loss"}
    assert len(finder.curve) == 12


@pytest.mark.parametrize("first", [True, False])
def test_a_callback_that_sets_the_best_weights_comes_first(first):
    best = keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True)
    finder = LRFinder(start_lr=1.0, end_lr=100.0, num_steps=40, stop_factor=None)
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before, callbacks = state(model), [finder, best][:: 1 if first else -1]
    history = model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=callbacks)
    assert best.best_weights is not None
    assert state(model) == before
    assert "on_train_end" not in vars(history)
    assert model.history is history


def test_a_list_of_callbacks_of_the_user_s_without_a_history():
    keras.utils.set_random_seed(1)
    model, finder = dense(), LRFinder(num_steps=12)
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
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
