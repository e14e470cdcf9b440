"""Any data that `fit` takes, in a range test: what it keeps and draws is as if not read."""

import random
import warnings

import keras
import numpy as np
import pytest

from lrsched_tf import lr_find
from tests.lrsched_tf.backend.training import (
    BATCH,
    SIZE,
    SWEEP,
    Shuffled,
    arrays,
    assert_no_trace,
    dense,
    find,
)

BACKEND = keras.backend.backend()


class Augmented(keras.utils.PyDataset):
    """Batches with noise from the global generators, enough of it to take a moment."""

    def __init__(self):
        super().__init__()
        self.x, self.y = arrays()
        self.reads = 0

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.reads += 1
        noise = np.random.normal(size=100_000).mean(dtype="float32") + np.float32(random.random())
        return self.x[:BATCH] * (self.reads % 3) + noise, self.y[:BATCH]

    def on_epoch_begin(self):
        random.random()

    def on_epoch_end(self):
        np.random.random()


def loader():
    torch = pytest.importorskip("torch", reason="the loader is of torch")
    torch.manual_seed(1)
    rows = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays()))
    return torch.utils.data.DataLoader(rows, BATCH, shuffle=True)


def drawing_loader():
    """Of a data set that counts and draws, with a generator for its order."""
    torch = pytest.importorskip("torch", reason="the loader is of torch")

    class Rows(torch.utils.data.Dataset):
        def __init__(self):
            self.calls, self.generator = 0, np.random.default_rng(0)

        def __len__(self):
            return SIZE

        def __getitem__(self, index):
            self.calls += 1
            x, y = arrays()
            return x[index] * (self.calls % 3) + self.generator.random(dtype="float32"), y[index]

    order = torch.Generator().manual_seed(2)
    return torch.utils.data.DataLoader(Rows(), BATCH, shuffle=True, generator=order)


def datasets():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    return tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)


def unsized_datasets():
    return datasets().filter(lambda x, y: True)


def drawing_datasets():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    generator = tensorflow.random.Generator.from_seed(1)
    # A thread that reads ahead draws more or less often, so that plain trainings differ.
    options = tensorflow.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.map_parallelization = False
    options.experimental_optimization.inject_prefetch = False
    return datasets().map(lambda x, y: (x + generator.normal(()), y)).with_options(options)


class PartUnused(keras.Model):
    """A layer of it is never built, so that Keras reads a batch before each `fit` to build it."""

    def __init__(self):
        super().__init__()
        self.used, self.spare = keras.layers.Dense(1), keras.layers.Dense(2)

    def build(self, shape):
        self.used.build(shape)

    def call(self, x):
        return self.used(x)


def part_unused():
    model = PartUnused()
    model(np.zeros((1, 3), "float32"))
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return model


CASES = {
    "PyDataset with noise": (Augmented, dense, 0),
    "PyDataset with noise, read by Keras first": (Augmented, part_unused, 1),
    "PyDataset in an order of its own": (Shuffled, dense, 1),
    # Before its first fit, Keras reads a batch, and on JAX and torch begins in mid-epoch.
    "PyDataset with workers": (lambda: Shuffled(workers=2), dense, 0),
    "loader": (loader, dense, 0),
    "loader, read by Keras first": (loader, part_unused, 1),
    "loader of rows that draw": (drawing_loader, dense, 1),
    "tf.data of unknown length": (unsized_datasets, dense, 0),
    "tf.data with noise": (drawing_datasets, dense, 1),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # of Keras, in a plain fit
@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_as_if_the_data_had_not_been_read(case):
    make, build, epochs_before = CASES[case]
    assert_no_trace(find, build, make, epochs_before=epochs_before)


def test_arrays_are_shuffled_as_if_there_had_been_no_range_test():
    assert_no_trace(find, part_unused, shuffle=True)


def captured(inner):
    """A pipeline with another one in a function of it."""
    import tensorflow

    return tensorflow.data.Dataset.range(1).flat_map(lambda index: inner)


def drawn():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    numbers = tensorflow.data.Dataset.random(seed=4, rerandomize_each_iteration=True)
    return tensorflow.data.Dataset.zip((datasets(), numbers)).map(lambda batch, number: batch)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: datasets().shuffle(9, seed=4).prefetch(1), True),
        (lambda: datasets().shuffle(9, seed=4, reshuffle_each_iteration=False), False),
        (drawn, True),
        (lambda: captured(datasets().shuffle(9, seed=2)), True),
        (lambda: captured(datasets()), False),
    ],
    ids=["seeded", "fixed", "drawn", "captured", "captured and fixed"],
)
def test_a_pipeline_that_shuffles_anew_from_a_seed_is_warned_of(make, named):
    keras.utils.set_random_seed(1)
    data, model = make(), dense()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        curve = lr_find(model, data, shuffle=False, **SWEEP)
    files = {w.filename for w in caught if "shuffles anew at each reading, from" in str(w.message)}
    assert files == ({__file__} if named else set())
    assert any(note.startswith("The data shuffles anew") for note in curve.notes) == named


def test_a_generator_is_warned_of_and_may_end():
    x, y = arrays()

    def batches():
        for index in range(5):
            yield x[index : index + 4], y[index : index + 4]

    def find_in_a_generator(model, **data):
        with pytest.warns(UserWarning, match="The data is a generator"):
            curve = lr_find(model, batches(), shuffle=False, **SWEEP)
        assert len(curve) == 5
        assert curve.stop_reason == "the data ended before the sweep"
        assert "gone from it" in curve.notes[0]

    assert_no_trace(find_in_a_generator)
