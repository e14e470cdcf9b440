"""The range test of Keras: what it measures, and that it leaves the training as it was."""

import os
import random
import signal

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import LRFinder, OneCycle, lr_find
from tests.lrsched_tf.backend.classifier import FIND, compiled, data, everything


def training_after(between, optimizer="sgd", epochs_before=1, **options):
    """History and end state of a training with `between(model)` somewhere in it."""
    model = compiled(optimizer, **options)
    x, y = data()
    if epochs_before:
        model.fit(x, y, batch_size=8, epochs=epochs_before, verbose=0)
    between(model)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    return history, everything(model), random.random()


@pytest.mark.parametrize(
    ("optimizer", "epochs_before"),
    [("sgd", 0), ("sgd", 1), ("adamw", 1), ("accumulating adam", 0), ("loss scale", 0)],
)
def test_training_after_it_is_bitwise_training_without_it(optimizer, epochs_before):
    untouched = training_after(lambda model: None, optimizer, epochs_before)

    def find(model):
        assert len(lr_find(model, *data(), **FIND)) > 10

    assert training_after(find, optimizer, epochs_before) == untouched


def test_found_twice_it_leaves_no_trace_either():
    def find_twice(model):
        first, second = lr_find(model, *data(), **FIND), lr_find(model, *data(), **FIND)
        assert first == second

    assert training_after(find_twice) == training_after(lambda model: None)


def test_a_trace_would_be_seen():
    untouched = training_after(lambda model: None)
    assert training_after(lambda model: model.fit(*data(), verbose=0)) != untouched


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_as_a_callback_it_leaves_no_trace(epochs_before):
    def find(model):
        finder = LRFinder(start_lr=1e-5, end_lr=1.0, num_steps=40)
        model.fit(*data(), batch_size=8, epochs=9, verbose=0, callbacks=[finder])
        assert len(finder.curve) > 10

    untouched = training_after(lambda model: None, epochs_before=epochs_before)
    assert training_after(find, epochs_before=epochs_before) == untouched


class Losses(keras.callbacks.Callback):
    """The loss of each batch, not the mean over the epoch so far."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])


class Interrupting(keras.callbacks.Callback):
    """Raises, or sends a real Ctrl-C, in the middle of the test."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 5:
            if self.how == "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError("in a callback")


class Breaking(keras.utils.PyDataset):
    """Data that breaks, or meets a Ctrl-C, after some batches."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def __len__(self):
        return 9

    def __getitem__(self, index):
        x, y = data()
        if index == 5:
            if self.how == "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError("in the data")
        return x[index * 7 : index * 7 + 7], y[index * 7 : index * 7 + 7]


def test_an_interrupted_callback_is_put_back_on_request():
    def find(model):
        finder = LRFinder(start_lr=1e-5, end_lr=1.0, num_steps=40)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*data(), batch_size=8, verbose=0, callbacks=[finder, Interrupting("sigint")])
        finder.restore()

    assert training_after(find) == training_after(lambda model: None)


def test_broken_data_leaves_no_trace():
    def find(model):
        # each backend wraps the error of the data in its own
        with pytest.raises(Exception, match="in the data"):
            lr_find(model, Breaking("raise"), num_steps=40)

    assert training_after(find) == training_after(lambda model: None)


def test_steps_per_execution_is_put_back():
    if keras.backend.backend() == "torch":
        pytest.skip("the torch backend of Keras has no steps_per_execution, for that reason")

    def find(model):
        curve = lr_find(model, *data(), **FIND)
        assert len(curve) > 10
        assert model.steps_per_execution == 4

    untouched = training_after(lambda model: None, steps_per_execution=4)
    assert training_after(find, steps_per_execution=4) == untouched


def test_losses_are_those_of_each_batch_with_the_lr_that_followed():
    """Plain SGD on one weight, written out in NumPy."""
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    y = (3 * x + 1).astype("float32")
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.compile(keras.optimizers.SGD(7.0), "mse")
    curve = lr_find(
        model, x, y, batch_size=4, shuffle=False, start_lr=1e-3, end_lr=0.3, num_steps=25
    )
    weight, losses = 1.0, []
    for step, lr in enumerate(lrsched.exponential_sweep(1e-3, 0.3, 25).values()[: len(curve)]):
        batch = slice(step % 10 * 4, step % 10 * 4 + 4)
        error = weight * x[batch].astype(float) - y[batch]
        losses.append((error**2).mean())
        weight -= lr * (2 * error * x[batch]).mean()
    assert len(curve) == 25
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 7.0


def test_it_goes_on_into_one_cycle():
    model = compiled()
    curve = lr_find(model, *data(), num_steps=60, batch_size=8)
    suggestion = curve.suggest(fallback=0.1)
    assert suggestion.lr > 0
    history = model.fit(
        *data(), batch_size=8, epochs=6, verbose=0, callbacks=[OneCycle(max_lr=suggestion.lr)]
    ).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_update_has_the_mean_loss_of_its_batches(accumulate):
    """SGD with momentum on one weight, three batches an update, begun in the middle of one."""
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    y = (3 * x + 1).astype("float32")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    steps = accumulate if accumulate > 1 else None
    model.compile(keras.optimizers.SGD(0.0, gradient_accumulation_steps=steps), "mse")
    options = {"batch_size": 4, "shuffle": False}
    curve = lr_find(model, x, y, start_lr=1e-3, end_lr=0.5, num_steps=12, **options)
    weight, losses, batch = 1.0, [], 0
    for lr in lrsched.exponential_sweep(1e-3, 0.5, 12).values():
        group = []
        for _ in range(accumulate):
            rows = slice(batch % 10 * 4, batch % 10 * 4 + 4)
            error = weight * x[rows].astype(float) - y[rows]
            group.append(((error**2).mean(), (2 * error * x[rows]).mean()))
            batch += 1
        loss, gradient = np.mean(group, axis=0)
        losses.append(loss)
        weight -= lr * gradient
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)


def test_updates_that_loss_scaling_skips_are_not_in_the_curve():
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    model.compile(optimizer, "mse")
    curve = lr_find(model, x, 9 * x, batch_size=40, start_lr=1e-3, end_lr=0.4, num_steps=12)
    assert curve.notes[0] == "Loss scaling skipped updates; they are not in the curve."
    square, weight, losses = (x.astype(float) ** 2).mean(), 1.0, []
    for lr in curve.lr:
        losses.append((weight - 9) ** 2 * square)
        weight -= lr * 2 * (weight - 9) * square
    assert len(curve) == 12
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)


def test_a_limit_on_epochs_is_the_reason_of_the_stop():
    keras.config.set_max_epochs(2)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs to 2"):
            curve = lr_find(compiled(), *data(), **FIND)
    finally:
        keras.config.set_max_epochs(None)
    assert len(curve) == 18
    assert "set_max_epochs" in curve.stop_reason


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5),
        # The last one that it sets is by chance the user's own.
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.05 + (epoch < 2)),
        lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9),
    ],
)
def test_another_callback_that_sets_the_lr_is_warned_of(other, first):
    model, finder = compiled(), LRFinder(num_steps=20, end_lr=0.1)
    before, callbacks = everything(model), [finder, other()][:: 1 if first else -1]
    with pytest.warns(UserWarning, match="something else set the learning rate") as warned:
        model.fit(*data(), epochs=40, batch_size=8, verbose=0, callbacks=callbacks)
    assert len([w for w in warned if "range test" in str(w.message)]) == 1
    assert any("something else set the learning rate" in note for note in finder.curve.notes)
    assert everything(model)[: len(before)] == before
