"""The Keras part of `lrsched demo`."""

from __future__ import annotations

from typing import Any

import keras

from lrsched.curve.loss_curve import LossCurve
from lrsched.demo import BATCH_SIZE, SWEEP_STEPS, Data, Report, measure, run_module
from lrsched_tf.callbacks.cycles import OneCycle
from lrsched_tf.finder.lr_find import lr_find


def _convolution(outputs: int) -> list[Any]:
    convolution = keras.layers.Conv2D(outputs, 3, padding="same", use_bias=False)
    # momentum as in PyTorch: Keras's own 0.99 has not settled after so few steps
    return [convolution, keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]


def compiled(data: Data, seed: int, lr: float = 0.01) -> Any:
    """Return a seeded model, compiled with SGD with momentum."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(data.x_train.shape[1:]),
            *_convolution(16),
            layers.MaxPooling2D(2),
            *_convolution(32),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(lr, momentum=0.9), loss, metrics=["accuracy"])
    return model


def sweep(data: Data) -> LossCurve:
    return lr_find(
        compiled(data, seed=0),
        data.x_train,
        data.y_train,
        batch_size=BATCH_SIZE,
        num_steps=SWEEP_STEPS,
        progress=True,
    )


def run(data: Data, schedule: str, lr: float, seed: int) -> tuple[float, float, float]:
    model = compiled(data, seed, lr)
    callbacks = [OneCycle(max_lr=lr)] if schedule == "one_cycle" else []
    model.fit(
        data.x_train,
        data.y_train,
        batch_size=BATCH_SIZE,
        epochs=data.epochs,
        verbose=0,
        callbacks=callbacks,
    )
    train_loss, _ = model.evaluate(data.x_train, data.y_train, verbose=0)
    val_loss, val_accuracy = model.evaluate(data.x_val, data.y_val, verbose=0)
    return train_loss, val_loss, val_accuracy


def measure_all(data: Data) -> Report:
    return measure(
        f"Keras {keras.__version__} ({keras.backend.backend()})",
        data,
        sweep=lambda: sweep(data),
        train=lambda schedule, lr, seed: run(data, schedule, lr, seed),
    )


if __name__ == "__main__":
    run_module(measure_all)
