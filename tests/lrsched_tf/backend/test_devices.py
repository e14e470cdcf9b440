"""Two devices give the numbers of one; and a GPU, where there is one, those of the CPU."""

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import OneCycle
from tests.lrsched_tf.backend import reference

STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()
OPTIMIZERS = {
    "sgd": (reference.sgd, lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
    "adamw": (reference.adamw, lambda: keras.optimizers.AdamW(0.01)),
    "loss_scale": (
        reference.sgd,
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01, momentum=0.9)),
    ),
}


@pytest.mark.parametrize("mode", [{}, {"steps_per_execution": 8}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_devices_give_the_numbers_of_one(
    name, mode, two_devices, problem, same_weights, backend
):
    if backend == "tensorflow" and mode:
        pytest.skip("Keras runs several steps in one call on one device only with TensorFlow")
    update, make = OPTIMIZERS[name]
    with two_devices:
        model = problem.model(make(), **mode)
        before = len(model.optimizer.variables)
        history = problem.fit(model, OneCycle(MAX_LR))
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        assert "apply" not in vars(inner)
        assert float(keras.ops.convert_to_numpy(inner.learning_rate)) == np.float32(0.01)
        assert len(model.optimizer.variables) >= before
    same_weights(model, problem.expected(update, LRS, MOMENTA))
    with pytest.raises(AssertionError, match="weights differ"):
        same_weights(model, problem.expected(update, LRS, np.full(STEPS, 0.9)))
    assert history.history["learning_rate"] == [LRS[31], LRS[63]]


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gpu_gives_the_numbers_of_the_cpu(name, gpu, problem, same_weights):
    update, make = OPTIMIZERS[name]
    model = problem.model(make())
    problem.fit(model, OneCycle(MAX_LR))
    same_weights(model, problem.expected(update, LRS, MOMENTA), tolerance=1e-4)
