"""A cycle of 64 updates, and what a `fit` with it must leave."""

import keras
import numpy as np

import lrsched

STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()
PLAIN_LRS, PLAIN_MOMENTA = np.full(32, 0.01), np.full(32, 0.9)


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


class Stop(keras.callbacks.Callback):
    """Raises at a place of the user's choice."""

    def __init__(self, error, *, epoch=1, batch=None):
        super().__init__()
        self._error, self._epoch, self._at = error, epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch
        if self._at is None and epoch == self._epoch:
            raise self._error

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self._at and self._now == self._epoch:
            raise self._error
