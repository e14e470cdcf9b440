"""Typical curves, and what a range test leaves of them."""

import numpy as np

from lrsched.curve.loss_curve import LossCurve
from lrsched.range_test import RangeTest


def losses_at(lr, *, drop_at=1e-3, edge_at=0.3, noise=0.02, seed=0):
    """Losses of a typical sweep: flat, a drop around `drop_at`, a divergence around `edge_at`."""
    lr = np.asarray(lr)
    jitter = noise * np.random.default_rng(seed).standard_normal(lr.size)
    drop = 2 / (1 + (lr / drop_at) ** 1.5)
    return 0.3 + drop + np.minimum((lr / edge_at) ** 3, 1e6) + jitter


def typical(num_steps=300, *, start_lr=1e-7, **shape):
    """lr and loss of a sweep up to 10."""
    lr = np.geomspace(start_lr, 10.0, num_steps)
    return lr, losses_at(lr, **shape)


def noisy(level, seed=0, num_steps=300):
    return level + 0.05 * np.random.default_rng(seed).standard_normal(num_steps)


def drive(test, transform=lambda loss: loss):
    losses = losses_at(test.planned_lr)
    used = []
    for loss in losses:
        used.append(test.lr)
        if not test.record(transform(float(loss))):
            break
    return used


def stopped(lr, loss, planned):
    """The curve of a range test that meets these losses."""
    test = RangeTest(planned[0], planned[-1], len(planned))
    test.record_all(loss.tolist())
    end = len(test.curve)
    return LossCurve(lr[:end], loss[:end], num_steps=len(planned)), test.curve.stop_reason
