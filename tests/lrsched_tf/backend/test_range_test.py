"""What the range test of Keras measures, and what it says of it."""

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import LRFinder, lr_find
from tests.lrsched_tf.backend.training import (
    BATCH,
    SIZE,
    SWEEP,
    arrays,
    dense,
    momentum,
    state,
    trained,
)

X = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
Y = (3 * X + 1).astype("float32")


def one_weight(optimizer):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(("accumulate", "momentum"), [(1, 0.8), (3, 0.0)])
def test_an_update_has_the_lr_of_the_sweep_and_the_mean_loss_of_its_batches(accumulate, momentum):
    """SGD on one weight, with the momentum that is its own, written out in NumPy."""
    steps = accumulate if accumulate > 1 else None
    model = one_weight(keras.optimizers.SGD(7.0, momentum, gradient_accumulation_steps=steps))
    options = {"batch_size": 4, "shuffle": False, "num_steps": 12, "sweep": "exponential"}
    curve = lr_find(model, X, Y, start_lr=1e-3, end_lr=0.5, **options)
    weight, velocity, losses, batch = 1.0, 0.0, [], 0
    for lr in lrsched.exponential_sweep(1e-3, 0.5, 12).values():
        group = []
        for _ in range(accumulate):
            rows = slice(batch % 10 * 4, batch % 10 * 4 + 4)
            error = weight * X[rows].astype(float) - Y[rows]
            group.append(((error**2).mean(), (2 * error * X[rows]).mean()))
            batch += 1
        loss, gradient = np.mean(group, axis=0)
        losses.append(loss)
        velocity = momentum * velocity - lr * gradient
        weight += velocity
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 7.0


def test_updates_that_loss_scaling_skips_are_not_in_the_curve():
    inner = keras.optimizers.SGD(0.1)
    model = one_weight(keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127))
    curve = lr_find(model, X, 9 * X, batch_size=40, start_lr=1e-3, end_lr=0.4, num_steps=12)
    assert curve.notes[0] == "Loss scaling skipped updates; they are not in the curve."
    square, weight, losses = (X.astype(float) ** 2).mean(), 1.0, []
    for lr in curve.lr:
        losses.append((weight - 9) ** 2 * square)
        weight -= lr * 2 * (weight - 9) * square
    assert len(curve) == 12
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)


def test_updates_of_loss_scaling_are_counted_wherever_the_finder_is_in_the_list():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.extend(logs)

    finder, model = (
        LRFinder(num_steps=12),
        dense(optimizer=keras.optimizers.LossScaleOptimizer(momentum())),
    )
    callbacks = [Watch(), finder]
    history = model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=callbacks)
    assert {*history.history} == {*seen} == {"loss"}
    assert len(finder.curve) == 12


def test_the_loss_is_weighted_as_in_a_fit():
    model, (x, y) = trained(), arrays()
    weights = {}, {"sample_weight": np.full(SIZE, 2.0)}, {"class_weight": {0: 3.0, 1: 3.0}}
    options = {"batch_size": SIZE, **SWEEP}
    first = [lr_find(model, x, y, **more, **options).loss[0] for more in weights]
    np.testing.assert_allclose(first, first[0] * np.array([1, 2, 3]), rtol=1e-5)


def test_the_end_of_a_dataset_of_unknown_length_is_no_step_of_the_sweep():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    data = tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    unsized = lr_find(model, data.filter(lambda x, y: True), shuffle=False, **SWEEP)
    sized = lr_find(model, *arrays(), batch_size=BATCH, shuffle=False, **SWEEP)
    np.testing.assert_allclose(unsized.loss, sized.loss, rtol=1e-5)
    assert unsized.notes == ()


@pytest.mark.parametrize(
    ("steps", "sized"),
    [(None, True), (2, True), (3, True), (5, True), (None, False), (2, False), (5, False)],
)
def test_the_curve_says_how_often_the_data_was_read(steps, sized):
    """Three batches, of which 36 updates make 12 times, whatever an epoch is."""
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    data = tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)
    data = data if sized else data.filter(lambda x, y: True)
    model = trained()
    sweep = {"shuffle": False, **SWEEP, "num_steps": 36}
    curve = lr_find(model, data, steps_per_epoch=steps, **sweep)
    assert [note for note in curve.notes if note.startswith("The data was read 12 times")]
    endless = lr_find(model, data.repeat(), steps_per_epoch=steps or 3, **sweep)
    assert not [note for note in endless.notes if "was read" in note]


@pytest.mark.filterwarnings("ignore:LRFinder. fit ended before the sweep")
def test_the_curve_of_a_callback_says_that_it_had_many_epochs():
    model = trained()
    for epochs, said in ((10, 0), (20, 1)):
        finder = LRFinder(num_steps=31, stop_factor=None)
        model.fit(*arrays(), epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[finder])
        notes = [note for note in finder.curve.notes if "The data was read" in note]
        assert len(notes) == said
    assert notes[0].startswith("The data was read 11 times (number of batches: 3), so the losses")


def keeping():
    return keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5)


def returning():  # the last one that it sets is by chance the user's own
    return keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.05 + (epoch < 2))


@pytest.mark.parametrize(
    ("other", "first"), [(keeping, True), (returning, True), (returning, False)]
)
def test_another_callback_that_sets_the_lr_is_warned_of(other, first):
    model, finder = trained(), LRFinder(num_steps=12, end_lr=0.1)
    before, callbacks = state(model), [finder, other()][:: 1 if first else -1]
    with pytest.warns(UserWarning, match="something else set the learning rate") as warned:
        model.fit(*arrays(), epochs=20, batch_size=BATCH, verbose=0, callbacks=callbacks)
    assert len([w for w in warned if "range test" in str(w.message)]) == 1
    assert any("something else set the learning rate" in note for note in finder.curve.notes)
    assert state(model) == before
