"""A cycle of 64 updates, for every optimizer and mode, and what a `fit` with it must leave."""

from functools import partial

import keras
import numpy as np

import lrsched
from tests.lrsched_tf.backend import reference

STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()
# Of an epoch without a schedule.
PLAIN_LRS, PLAIN_MOMENTA = np.full(32, 0.01), np.full(32, 0.9)
OPTIMIZERS = {
    "sgd": (reference.sgd, partial(keras.optimizers.SGD, momentum=0.9)),
    "nesterov": (reference.nesterov, partial(keras.optimizers.SGD, momentum=0.9, nesterov=True)),
    "adam": (reference.adam, keras.optimizers.Adam),
    "adamw": (reference.adamw, keras.optimizers.AdamW),
    "nadam": (reference.nadam, keras.optimizers.Nadam),
    "adamax": (reference.adamax, keras.optimizers.Adamax),
    "lamb": (reference.lamb, keras.optimizers.Lamb),
    "lion": (reference.lion, keras.optimizers.Lion),
    "rmsprop": (reference.rmsprop, partial(keras.optimizers.RMSprop, momentum=0.9)),
    "muon": (reference.muon, keras.optimizers.Muon),
}
MODES = {
    "jit": {"jit_compile": True},
    "no_jit": {"jit_compile": False},
    "eager": {"run_eagerly": True},
    "many_steps": {"steps_per_execution": 8},
}
# On JAX "no_jit" is eager too, as all of PyTorch is unless it is asked to compile, which takes it
# half a minute for each model. The first is the default on a CPU.
BACKEND_MODES = {
    "tensorflow": ["no_jit", "jit", "eager", "many_steps"],
    "jax": ["jit", "no_jit", "many_steps"],
    "torch": ["no_jit"],
}[keras.backend.backend()]


def sgd(**arguments):
    return keras.optimizers.SGD(0.01, momentum=0.9, **arguments)


def lr_of(model):
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def assert_ordinary(model):
    assert not {"apply", "_get_current_learning_rate"} & vars(model.optimizer).keys()
    assert not {"make_train_function", "train_step"} & vars(model).keys()
    assert type(model.optimizer.momentum) is float
    assert model.optimizer.momentum == 0.9
    assert lr_of(model) == np.float32(0.01)
    config = model.optimizer.get_config()
    assert config["momentum"] == 0.9
    assert config["learning_rate"] == np.float32(0.01)
