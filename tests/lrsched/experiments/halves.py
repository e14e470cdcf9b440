"""A small data set, and the sizes of the models that are made for it, whatever the framework."""

import numpy as np

from lrsched.experiments.dataset import Dataset


def halves():
    """Two classes that a bright half tells apart."""
    random = np.random.default_rng(0)
    y = np.arange(160) % 2
    x = random.random((160, 8, 8, 1), dtype=np.float32) / 4
    x[y == 1, :, :4] += 0.7
    return Dataset("halves", 2, x[:128], y[:128], x[128:], y[128:])


def _convolution(inputs, outputs, pixels=9):
    return inputs * outputs * pixels + 2 * outputs  # and those of BatchNorm


CNN_PARAMETERS = _convolution(1, 16) + _convolution(16, 32) + 512 * 2 + 2
RESNET_PARAMETERS = (
    _convolution(1, 8)
    + sum(_convolution(a, b) + _convolution(b, b) for a, b in ((8, 8), (8, 16), (16, 32)))
    + _convolution(8, 16, 1)
    + _convolution(16, 32, 1)
    + 32 * 2
    + 2
)
