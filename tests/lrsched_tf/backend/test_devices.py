"""Two devices give the numbers of one, a GPU those of the CPU, and a range test leaves no trace."""

import keras
import numpy as np
import pytest

from lrsched_tf import OneCycle
from tests.lrsched_tf.backend.scheduling import LRS, MAX_LR, OPTIMIZERS, STEPS, lr_of, sgd
from tests.lrsched_tf.backend.training import (
    BATCH,
    SWEEP,
    arrays,
    assert_no_trace,
    find,
    trained,
)


def scaled():
    return keras.optimizers.LossScaleOptimizer(sgd())


@pytest.mark.parametrize(
    ("make", "mode"), [(sgd, {}), (scaled, {}), (sgd, {"steps_per_execution": 8})]
)
def test_two_devices_give_the_numbers_of_one(
    make, mode, two_devices, problem, check_weights, backend
):
    if backend == "tensorflow" and mode:
        pytest.skip("Keras runs several steps in one call on one device only with TensorFlow")
    with two_devices:
        model = problem.model(make(), **mode)
        own_lr = lr_of(model)
        history = problem.fit(model, OneCycle(MAX_LR))
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        assert "apply" not in vars(inner)
        assert lr_of(model) == own_lr
    check_weights(model)
    with pytest.raises(AssertionError, match="weights differ"):
        check_weights(model, momenta=np.full(STEPS, 0.9))
    assert history.history["learning_rate"] == [LRS[31], LRS[63]]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_gpu_gives_the_numbers_of_the_cpu(name, gpu, problem, same_weights):
    update, make = OPTIMIZERS[name]
    model = problem.model(make())
    problem.fit(model, OneCycle(MAX_LR))
    same_weights(model, problem.expected(update), tolerance=1e-4)


def without_noise():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model


def test_a_range_test_on_two_devices_has_the_curve_of_one(two_devices):
    x, y = arrays()
    options = {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}
    one = find(without_noise(), **options)
    with two_devices:
        two = find(without_noise(), **options)
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-5)


def test_training_on_two_devices_goes_on_as_if_there_had_been_no_range_test(two_devices):
    with two_devices:
        assert_no_trace(find, without_noise)


@pytest.mark.gpu
def test_training_on_a_gpu_goes_on_as_if_there_had_been_no_range_test(gpu):
    assert_no_trace()


def test_parts_of_a_variable_stay_where_they_are(two_devices, backend):
    if backend != "jax":
        pytest.skip("JAX alone has variables with a layout")
    with two_devices:
        model = trained()
        before = [v.value.sharding for v in model.variables]
        find(model, **dict(zip("xy", arrays(), strict=True)))
        assert [v.value.sharding for v in model.variables] == before


def test_a_dataset_that_is_distributed_already(two_devices, backend):
    if backend != "tensorflow":
        pytest.skip("only TensorFlow distributes datasets")
    import tensorflow

    with two_devices:
        data = tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)
        strategy = tensorflow.distribute.get_strategy()
        data = strategy.experimental_distribute_dataset(data)
        assert len(find(without_noise(), x=data, shuffle=False)) == SWEEP["num_steps"]
