"""Training goes on from a range test bit for bit as if there had been none, in every setting."""

import itertools
import random

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from lrsched_tf.snapshot import Snapshot
from tests.lrsched_tf.backend.custom_steps import Own, Wrapping
from tests.lrsched_tf.backend.training import (
    BATCH,
    SIZE,
    SWEEP,
    arrays,
    dense,
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

    options = {"epochs_before": 42, "batch_size": 1}
    assert training(dense, find, **options) == training(dense, nothing, **options)


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


def test_loss_scaling_puts_no_count_into_the_logs():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(set(logs))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(set(logs))

    finder = LRFinder(num_steps=12)
    history = half_precision().fit(
        *arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=[Watch(), finder]
    )
    assert set(history.history) == {"loss"}
    assert {name for names in seen for name in names} == {"loss"}
    assert len(finder.curve) == 12


def test_a_callback_that_sets_the_best_weights_comes_first():
    def find(model):
        best = keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True)
        finder = LRFinder(start_lr=1.0, end_lr=100.0, num_steps=40, stop_factor=None)
        model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=[finder, best])
        assert best.best_weights is not None

    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before = state(model)
    find(model)
    assert state(model) == before


def test_python_state_is_put_back_and_what_cannot_be_is_named():
    class Keeping(Wrapping):
        def train_step(self, *arguments):
            next(self.tally)
            self.generator.random()
            self.table["seen"][0] += 1
            return super().train_step(*arguments)

    keras.utils.set_random_seed(1)
    model = dense(Keeping, run_eagerly=True)
    x, y = arrays()
    model.tally, model.generator = itertools.count(), np.random.default_rng(3)
    model.table = {"seen": [0], "cache": np.zeros(3)}
    with pytest.warns(UserWarning, match=r"could not put back: model\.tally\.$"):
        curve = lr_find(model, x, y, **SWEEP)
    assert "The range test could not put back: model.tally." in curve.notes
    assert model.table["seen"] == [0]
    assert "calls" not in vars(model)
    assert model.generator.random() == np.random.default_rng(3).random()


def test_the_global_generators_are_put_back():
    if BACKEND == "jax":
        pytest.skip("JAX draws no numbers from a global generator in a compiled step")

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    def drawn(between):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), Noisy(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        if between:
            lr_find(model, *arrays(), **SWEEP)
        numbers = [keras.ops.convert_to_numpy(keras.random.normal((2,))).tolist()]
        if BACKEND == "tensorflow":
            import tensorflow

            numbers.append(tensorflow.random.normal((2,)).numpy().tolist())
        return numbers

    assert drawn(True) == drawn(False)


def test_gradients_buffers_and_modes_of_torch_modules():
    if BACKEND != "torch":
        pytest.skip("modules of torch are layers on that backend only")
    import torch

    class Counting(torch.nn.BatchNorm1d):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x)

    wrapped = keras.layers.TorchModuleWrapper(Counting(3))
    model = keras.Sequential([keras.Input((3,)), wrapped, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*arrays(), verbose=0)
    wrapped.module.eval()
    wrapped.module.weight.grad = gradient = torch.ones(3)
    before = {name: value.clone() for name, value in wrapped.module.state_dict().items()}
    calls = wrapped.module.calls
    lr_find(model, *arrays(), **SWEEP)
    after = wrapped.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not wrapped.module.training
    assert wrapped.module.weight.grad is gradient
    assert wrapped.module.calls == calls


def test_the_check_names_what_a_training_changes_and_nothing_after_the_restoring():
    model = dense()
    model.fit(*arrays(), verbose=0)
    model.cache = {"seen": [1, 2]}
    snapshot = Snapshot(model)
    model.fit(*arrays(), verbose=0)
    model.cache["seen"].append(3)
    model.extra = 1
    random.random()
    changed = snapshot.remains()
    assert f"variable {model.layers[0].kernel.path}" in changed
    assert "random numbers of Python" in changed
    assert "model.cache['seen']" in changed
    assert "model" in changed
    assert f"variable {model.optimizer.iterations.path}" in changed
    snapshot.restore()
    assert snapshot.remains() == []
    assert model.cache == {"seen": [1, 2]}
    assert not hasattr(model, "extra")
