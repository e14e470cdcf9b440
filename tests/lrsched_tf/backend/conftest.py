"""A linear model, its data, and the comparison of its weights with the reference."""

import keras
import numpy as np
import pytest

from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.scheduling import LRS, MOMENTA, STEPS

BATCH = 4


def pytest_configure(config):
    # Keras converts its variables in a way that NumPy 2 warns of, in `get_weights` for one.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")
    if keras.backend.backend() == "tensorflow":
        # Two devices for the tests of tf.distribute, before anything uses the first.
        import tensorflow

        processor = tensorflow.config.list_physical_devices("CPU")[0]
        two = [tensorflow.config.LogicalDeviceConfiguration()] * 2
        tensorflow.config.set_logical_device_configuration(processor, two)


class Problem:
    """Linear regression of two outputs on three inputs: 32 batches, run through twice."""

    epochs = 2

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(STEPS // self.epochs * BATCH, 3)).astype("float32")
        truth = np.array([[1.0, -0.7], [-2.0, 0.4], [0.5, 1.2]])
        noise = 0.3 * rng.normal(size=(len(self.x), 2))
        self.y = (self.x @ truth + 0.8 + noise).astype("float32")
        self.start = [rng.normal(size=(3, 2)).astype("float32"), np.array([0.3, -0.4], "float32")]

    def batches(self, epochs=None):
        cuts = range(0, len(self.x), BATCH)
        return [(self.x[i : i + BATCH], self.y[i : i + BATCH]) for i in cuts] * (
            epochs or self.epochs
        )

    def model(self, optimizer, kind=keras.Sequential, **compile_arguments):
        model = kind([keras.Input((3,)), keras.layers.Dense(2)])
        model.set_weights(self.start)
        model.compile(optimizer, loss="mse", **compile_arguments)
        return model

    def fit(self, model, *callbacks, epochs=None, **arguments):
        """Train on the batches in order; callbacks as for `fit`."""
        arguments = {"verbose": 0, "shuffle": False, "batch_size": BATCH, **arguments}
        epochs = epochs or self.epochs
        return model.fit(self.x, self.y, epochs=epochs, callbacks=list(callbacks), **arguments)

    def expected(self, update, lrs=LRS, momenta=MOMENTA, *, accumulate=1, batches=None):
        batches = batches or self.batches()
        return reference.train(self.start, batches, update, lrs, momenta, accumulate=accumulate)[0]


def unsized(problem):
    """Batches of a length that Keras cannot tell, to be gone through again and again."""
    if keras.backend.backend() == "torch":
        import torch

        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(problem.batches(1))

        return torch.utils.data.DataLoader(Stream(), batch_size=None)
    tensorflow = pytest.importorskip("tensorflow", reason="needs tf.data")
    parts = zip(*problem.batches(1), strict=True)
    data = tensorflow.data.Dataset.from_tensor_slices(tuple(np.stack(part) for part in parts))
    return data.filter(lambda x, y: True)


@pytest.fixture(scope="session")
def problem():
    return Problem()


@pytest.fixture(scope="session")
def backend():
    return keras.backend.backend()


@pytest.fixture(scope="session")
def strategy():
    """What spreads a training over two devices; one for all tests.

    TensorFlow counts the collective operations of each strategy from the same number, and takes
    those of a second one for the first one's.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if keras.backend.backend() == "torch":
        pytest.skip("Keras distributes no training on PyTorch")
    import jax

    if len(jax.devices()) < 2:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=2")
    return keras.distribution.DataParallel(devices=keras.distribution.list_devices())


@pytest.fixture(scope="session")
def gpu(backend):
    """Skips a test where Keras would not train on a GPU."""
    if backend == "torch":
        import torch

        found = torch.cuda.is_available()
    elif backend == "jax":
        import jax

        found = jax.default_backend() == "gpu"
    else:
        import tensorflow

        found = bool(tensorflow.config.list_physical_devices("GPU"))
    if not found:
        pytest.skip("no GPU that Keras can use on this backend")


@pytest.fixture
def two_devices(strategy):
    """A context in which a model is made and trained on two devices."""
    return strategy.scope()


@pytest.fixture
def same_weights():
    """Asserts that the weights of a model are these, in float32 accuracy."""

    def check(model, expected, tolerance=2e-5):
        found = model.get_weights()
        error = max(abs(a - b).max() for a, b in zip(found, expected, strict=True))
        assert error <= tolerance, f"weights differ by {error:.2g}"

    return check


@pytest.fixture
def check_weights(problem, same_weights):
    """Asserts that the weights are those of NumPy, with the lr and momentum of each update."""

    def check(model, update=reference.sgd, lrs=LRS, momenta=MOMENTA, **options):
        same_weights(model, problem.expected(update, lrs, momenta, **options))

    return check
