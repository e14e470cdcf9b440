"""A training in two parts with something in between, down to the last bit."""

import functools
import os
import random
import signal

import keras
import numpy as np
import pytest

from lrsched_tf import lr_find

SWEEP = {"num_steps": 12, "start_lr": 1e-4, "end_lr": 0.3, "stop_factor": None}
SIZE, BATCH = 24, 8


def arrays():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(SIZE, 3)).astype("float32")
    return x, (x.sum(1, keepdims=True) > 0).astype("float32")


def interrupt(*arguments, **logs):
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


class Shuffled(keras.utils.PyDataset):
    """Batches in an order that it draws itself; the second may do something first."""

    def __init__(self, act=None, **options):
        super().__init__(**options)
        self.x, self.y = arrays()
        self.generator, self.order = np.random.default_rng(0), np.arange(SIZE)
        self.act = act

    def __len__(self):
        return SIZE // BATCH

    def __getitem__(self, index):
        if self.act is not None and index == 1:
            self.act()
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.generator.shuffle(self.order)


def momentum():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def dense(kind=keras.Sequential, **options):
    options = {"optimizer": momentum(), "loss": "mse", **options}
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dropout(0.2)]
    model = kind([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(**options)
    return model


def trained(**options):
    """A model after an epoch."""
    keras.utils.set_random_seed(1)
    model = dense(**options)
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    model.reset_metrics()
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


def attributes(model):
    owned = {**vars(model), **vars(model.optimizer)}
    return {name: value for name, value in owned.items() if not name.startswith("_")}


def find(model, **data):
    """A range test that goes to its end."""
    before = attributes(model)
    curve = lr_find(model, **data, **SWEEP)
    assert attributes(model) == before
    assert len(curve) == SWEEP["num_steps"]
    assert np.isfinite(curve.loss).all()
    return curve


def nothing(model, **data):
    pass


def training(build, between, make_data=None, *, epochs_before=1, **options):
    """What a training with `between(model, **data)` in it comes to, down to the last bit.

    The data are arrays, or what `make_data` returns; other options are those of `fit` and
    `lr_find`.
    """
    keras.utils.set_random_seed(1)
    model = build()
    if make_data is None:
        options = {**dict(zip("xy", arrays(), strict=True)), "batch_size": BATCH, **options}
    else:
        options = {"x": make_data(), "shuffle": False, **options}
    if epochs_before:
        model.fit(**options, epochs=epochs_before, verbose=0)
    between(model, **options)
    history = model.fit(**options, epochs=2, verbose=0).history
    # Trainings that diverge to NaN would prove nothing, as NaN does not equal itself.
    assert np.isfinite(history["loss"]).all()
    return history, state(model), random.random(), np.random.random()


@functools.cache
def untouched():
    return training(dense, nothing)


def assert_no_trace(between=find, build=dense, make_data=None, **options):
    """A training goes on from `between(model, **data)` as if there had been none."""
    usual = build is dense and make_data is None and not options
    plain = untouched() if usual else training(build, nothing, make_data, **options)
    assert training(build, between, make_data, **options) == plain
