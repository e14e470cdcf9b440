"""A range test on two devices, and on a GPU: the curve of one device, and no trace."""

import keras
import numpy as np
import pytest

from lrsched_tf import lr_find

SWEEP = {"num_steps": 12, "start_lr": 1e-4, "end_lr": 0.3, "batch_size": 8, "shuffle": False}
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}


def arrays():
    x = np.random.default_rng(2).normal(size=(40, 3)).astype("float32")
    return x, x.sum(1, keepdims=True)


def compiled(dropout=0.0):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, activation="tanh")]
    layers += [keras.layers.Dropout(dropout)] if dropout else []
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    loss = keras.losses.MeanSquaredError()
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["mae"])
    return model


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)).tobytes() for v in variables]


def test_two_devices_give_the_curve_of_one(two_devices):
    one = lr_find(compiled(), *arrays(), **SWEEP)
    with two_devices:
        two = lr_find(compiled(), *arrays(), **SWEEP)
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-5)
    assert len(one) == SWEEP["num_steps"]


def trained(find):
    model = compiled(dropout=0.3)
    model.fit(*arrays(), **FIT)
    if find:
        lr_find(model, *arrays(), **SWEEP)
    return model.fit(*arrays(), **FIT, epochs=2).history, state(model)


def test_training_goes_on_as_if_there_had_been_none(two_devices):
    with two_devices:
        assert trained(find=True) == trained(find=False)


class Noisy(keras.utils.PyDataset):
    """Draws random numbers for each batch."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        x, y = (part[index * 8 : index * 8 + 8] for part in arrays())
        return x + np.random.normal(size=x.shape).astype("float32"), y


def test_the_first_fit_draws_what_it_would_have(two_devices):
    def trained(find):
        model, data = compiled(), Noisy()
        if find:
            lr_find(model, data, num_steps=12, start_lr=1e-4, end_lr=0.3, shuffle=False)
        return model.fit(data, epochs=2, shuffle=False, verbose=0).history, state(model)

    with two_devices:
        assert trained(find=True) == trained(find=False)


@pytest.mark.gpu
def test_training_on_a_gpu_goes_on_as_if_there_had_been_none(gpu):
    assert trained(find=True) == trained(find=False)


def test_parts_of_a_variable_stay_where_they_are(two_devices):
    if keras.backend.backend() != "jax":
        pytest.skip("JAX alone has variables with a layout")
    with two_devices:
        model = compiled()
        model.fit(*arrays(), **FIT)
        before = [v.value.sharding for v in model.variables]
        lr_find(model, *arrays(), **SWEEP)
        assert [v.value.sharding for v in model.variables] == before


def test_a_dataset_that_is_distributed_already(two_devices):
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow distributes datasets")
    with two_devices:
        data = tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(8)
        strategy = tensorflow.distribute.get_strategy()
        data = strategy.experimental_distribute_dataset(data)
        curve = lr_find(compiled(), data, shuffle=False, num_steps=SWEEP["num_steps"])
    assert len(curve) == SWEEP["num_steps"]
