"""A sweep by two speeds is fast up to a tenth of the lr that the optimizer came with."""

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import KerasSchedule, LRFinder, lr_find
from lrsched_tf.compiled.optimizers import leaf_optimizers, own_lr
from tests.lrsched_tf.backend.training import dense

USUAL = 10**-3.5
FINE = 2e-5
# Twenty steps per decade, where a fast part has twelve.
ENDS = {"start_lr": 1e-7, "end_lr": 0.1, "num_steps": 120}
ONES = np.ones((121, 1), "float32")


def sweep_to(knee):
    return lrsched.two_speed_sweep(*ENDS.values(), knee).values()


def fine(**options):
    return keras.optimizers.Adam(FINE, **options)


def later_set():
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.learning_rate = FINE
    return optimizer


def halving():
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(8 * FINE, 1, 0.5))
    optimizer.iterations.assign(3)
    return optimizer


def warming_up():
    """To eight times the lr of its next step."""
    decay = keras.optimizers.schedules.CosineDecay(0.0, 90, warmup_target=8 * FINE, warmup_steps=8)
    return keras.optimizers.Adam(decay)


def warming_up_as_ours():
    return keras.optimizers.Adam(
        KerasSchedule(lrsched.warmup_cosine(8 * FINE, total_steps=90, warmup_steps=8))
    )


def decayed():
    optimizer = keras.optimizers.Adam(KerasSchedule(lrsched.linear(FINE, 0.0, 8)))
    optimizer.iterations.assign(9)
    return optimizer


def multi(choose):
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("Keras < 3.15 has no MultiOptimizer")
    return keras.optimizers.MultiOptimizer(choose())


def several():
    parts = iter([fine(), keras.optimizers.SGD(0.5), fine(), fine()])
    return multi(lambda: lambda variable: next(parts))


def one_without_weights():
    return multi(lambda: keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.5), {".*": fine()}))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (fine, FINE),
        (later_set, FINE),
        (halving, FINE),
        (lambda: keras.optimizers.Adam(lambda: FINE), FINE),
        (lambda: keras.optimizers.LossScaleOptimizer(fine()), FINE),
        (lambda: fine(gradient_accumulation_steps=2), FINE),
        (several, 0.5),
        (one_without_weights, FINE),
        (warming_up, FINE),
        (warming_up_as_ours, FINE),
        (decayed, 0.0),
        (lambda: keras.optimizers.SGD(0.0), 0.0),
        (lambda: keras.optimizers.SGD(-0.1), 0.0),
        (lambda: keras.optimizers.SGD(float("nan")), 0.0),
        (lambda: keras.optimizers.SGD(lambda: float("inf")), 0.0),
    ],
)
def test_the_lr_of_an_optimizer_is_that_which_it_has_now(make, found):
    leaves = leaf_optimizers(dense(optimizer=make()))
    assert own_lr(leaves) == pytest.approx(found, rel=1e-6)


def test_of_several_optimizers_it_is_the_highest():
    given = [fine(), keras.optimizers.Adam(3 * FINE), keras.optimizers.SGD(-1.0)]
    assert own_lr(leaf_optimizers(None, given)) == pytest.approx(3 * FINE, rel=1e-6)


def test_two_devices_have_one_lr(two_devices):
    with two_devices:
        models = [dense(optimizer=make()) for make in (fine, halving, warming_up)]
    for model in models:
        assert own_lr(leaf_optimizers(model)) == pytest.approx(FINE, rel=1e-6)


class Weights(keras.callbacks.Callback):
    """The weights after each update, from the device."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen.append(self.model.get_weights()[0].item())

    def on_train_batch_end(self, batch, logs=None):
        self.on_train_begin()


def falling(optimizer):
    """A model whose gradient is 1 at every step, so that its weight falls by the lr."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer, loss=lambda y, outputs: keras.ops.mean(outputs, axis=-1))
    return model


@pytest.mark.parametrize(
    ("make", "knee"),
    [(fine, FINE / 10), (lambda: keras.optimizers.SGD(0.05), USUAL)],
    ids=["fine-tuning", "usual"],
)
def test_the_knee_is_where_the_weights_say_from_both_doors(make, knee):
    finder, weights = LRFinder(**ENDS), Weights()
    model = falling(make())
    model.fit(ONES, ONES, batch_size=1, verbose=0, callbacks=[finder, weights])
    np.testing.assert_allclose(-np.diff(weights.seen), sweep_to(knee), rtol=2e-3)
    np.testing.assert_allclose(finder.curve.lr, sweep_to(knee), rtol=1e-6)
    assert model.get_weights()[0].item() == 0.0
    curve = lr_find(model, ONES, ONES, batch_size=1, **ENDS)
    np.testing.assert_array_equal(curve.lr, finder.curve.lr)


def test_another_sweep_has_the_lrs_that_were_asked_for():
    plain, rising = lrsched.exponential_sweep(*ENDS.values()), lrsched.linear(1e-4, 1e-2, 20)
    model = falling(fine())
    for sweep, options in ((plain, {**ENDS, "sweep": "exponential"}), (rising, {"sweep": rising})):
        curve = lr_find(model, ONES, ONES, batch_size=1, **options)
        np.testing.assert_array_equal(curve.lr, sweep.values())
