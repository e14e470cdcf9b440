"""A training in two parts with something in between, down to the last bit."""

import functools
import os
import random
import signal

import keras
import numpy as np
import pytest

SWEEP = {"num_steps": 12, "start_lr": 1e-4, "end_lr": 0.3, "stop_factor": None}
SIZE, BATCH = 24, 8


def arrays():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(SIZE, 3)).astype("float32")
    return x, (x.sum(1, keepdims=True) > 0).astype("float32")


class Shuffled(keras.utils.PyDataset):
    """Batches in an order that it draws itself; a Ctrl-C in the second batch if asked to."""

    def __init__(self, interrupt=False, **options):
        super().__init__(**options)
        self.x, self.y = arrays()
        self.generator, self.order = np.random.default_rng(0), np.arange(SIZE)
        self.interrupt = interrupt

    def __len__(self):
        return SIZE // BATCH

    def __getitem__(self, index):
        if self.interrupt and index == 1:
            os.kill(os.getpid(), signal.SIGINT)
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.generator.shuffle(self.order)


def dense(kind=keras.Sequential, **options):
    options = {"optimizer": keras.optimizers.SGD(0.05, momentum=0.9), "loss": "mse", **options}
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dropout(0.2)]
    model = kind([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(**options)
    return model


def need_float16():
    """Skip a test where XLA cannot convert to float16, for want of instructions that do."""
    if keras.backend.backend() == "jax":
        import jax

        try:
            jax.jit(lambda x: x.astype("float16"))(np.ones(1, "float32"))
        except jax.errors.JaxRuntimeError as error:
            pytest.skip(f"needs float16, which XLA has not on this processor: {error}")


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.array(keras.ops.convert_to_numpy(v)).tobytes() for v in variables]


def attributes(thing):
    return {name: value for name, value in vars(thing).items() if not name.startswith("_")}


def training(build, between, *, epochs_before=1, **fit):
    """What a training with `between(model)` in it comes to, down to the last bit."""
    keras.utils.set_random_seed(1)
    model = build()
    x, y = arrays()
    fit = {"x": x, "y": y, "verbose": 0, "batch_size": BATCH, **fit}
    if epochs_before:
        model.fit(**fit, epochs=epochs_before)
        before = attributes(model), attributes(model.optimizer)
        between(model)
        assert (attributes(model), attributes(model.optimizer)) == before
    else:
        between(model)
    history = model.fit(**fit, epochs=2).history
    # Trainings that diverge to NaN would prove nothing, as NaN does not equal itself.
    assert np.isfinite(history["loss"]).all()
    return history, state(model), random.random(), np.random.random()


def trained_with(find):
    """Return a model that was trained, with `find(model)` in between."""
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    find(model)
    model.fit(*arrays(), batch_size=BATCH, epochs=2, verbose=0)
    return model


def nothing(model):
    pass


@functools.cache
def untouched():
    return training(dense, nothing)
