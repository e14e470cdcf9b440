"""Any data that `fit` takes, in a range test: what it keeps and draws is as if not read."""

import itertools
import random
import warnings
from contextlib import nullcontext

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
    dense,
    training,
    untouched,
)

BACKEND = keras.backend.backend()


def test_with_data_that_shuffles_itself():
    def train(between):
        data = Shuffled()
        options = {"x": data, "y": None, "batch_size": None}
        result = training(dense, lambda model: between(model, data), **options)
        return result, data.order.tolist()

    found = train(lambda model, data: lr_find(model, data, **SWEEP))
    assert found == train(lambda model, data: None)


def test_a_real_ctrl_c_in_the_middle():
    def find(model):
        with pytest.raises(KeyboardInterrupt):
            lr_find(model, Shuffled(interrupt=True), num_steps=10_000)

    assert training(dense, find) == untouched()


class Augmented(keras.utils.PyDataset):
    """Batches with noise from the global generators, enough of it to take a moment."""

    reads = 0

    def __init__(self):
        super().__init__()
        self.x, self.y = arrays()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.reads += 1
        noise = np.random.normal(size=100_000).mean(dtype="float32") + np.float32(random.random())
        return self.x[:BATCH] + noise, self.y[:BATCH]

    def on_epoch_begin(self):
        random.random()

    def on_epoch_end(self):
        np.random.random()


def shuffling_loader(generator_of_its_own):
    torch = pytest.importorskip("torch", reason="the loader is of torch")
    torch.manual_seed(1)
    own = torch.Generator().manual_seed(2) if generator_of_its_own else None
    rows = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays()))
    return torch.utils.data.DataLoader(rows, BATCH, shuffle=True, generator=own)


def sampling_loader(sampler):
    torch = pytest.importorskip("torch", reason="the loader is of torch")
    rows = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays()))
    own = torch.Generator().manual_seed(2)
    samplers = {
        "random": lambda: torch.utils.data.RandomSampler(rows, generator=own),
        "subset": lambda: torch.utils.data.SubsetRandomSampler(range(SIZE), generator=own),
        "weighted": lambda: torch.utils.data.WeightedRandomSampler(
            torch.linspace(0, 1, SIZE), SIZE, generator=own
        ),
    }
    if sampler == "batch":
        batches = torch.utils.data.BatchSampler(samplers["random"](), BATCH, drop_last=True)
        return torch.utils.data.DataLoader(rows, batch_sampler=batches)
    return torch.utils.data.DataLoader(rows, BATCH, sampler=samplers[sampler]())


def drawing_loader(kind):
    """Of a data set that counts and draws, as it is, inside of a Subset, or as a stream."""
    torch = pytest.importorskip("torch", reason="the loader is of torch")

    class Rows(torch.utils.data.Dataset):
        calls, generator = 0, None

        def __init__(self):
            self.generator = np.random.default_rng(0)

        def __len__(self):
            return SIZE

        def __getitem__(self, index):
            self.calls += 1
            x, y = arrays()
            return x[index] * (self.calls % 3) + self.generator.random(dtype="float32"), y[index]

    class Stream(torch.utils.data.IterableDataset):
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            order = np.random.default_rng(self.epoch).permutation(SIZE)
            return zip(*(part[order] for part in arrays()), strict=True)

    rows = Stream() if kind == "stream" else Rows()
    if kind == "subset":
        rows = torch.utils.data.Subset(rows, list(range(SIZE)))
    return torch.utils.data.DataLoader(rows, BATCH)


def drawing_pipeline(kind):
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    generator = tensorflow.random.Generator.from_seed(1)
    # A thread that reads ahead draws more or less often, so that plain trainings differ.
    options = tensorflow.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.map_parallelization = False
    options.experimental_optimization.inject_prefetch = False
    if kind == "noise":
        data = datasets().map(lambda x, y: (x + generator.normal(()), y))
    else:
        seeds = tensorflow.data.Dataset.counter().map(lambda _: generator.make_seeds(1)[:, 0])
        zipped = tensorflow.data.Dataset.zip((datasets(), seeds))
        data = zipped.map(lambda b, s: (b[0] + tensorflow.random.stateless_normal((), s), b[1]))
    return data.with_options(options)


DRAWING = {
    "arrays": arrays,
    "PyDataset": lambda: (Augmented(),),
    "loader": lambda: (shuffling_loader(generator_of_its_own=False),),
    "loader with a generator": lambda: (shuffling_loader(generator_of_its_own=True),),
}
KEEPING = {
    "random sampler": lambda: sampling_loader("random"),
    "subset sampler": lambda: sampling_loader("subset"),
    "weighted sampler": lambda: sampling_loader("weighted"),
    "batch sampler": lambda: sampling_loader("batch"),
    "data set": lambda: drawing_loader("rows"),
    "part of a data set": lambda: drawing_loader("subset"),
    "stream": lambda: drawing_loader("stream"),
    "noise of tf.data": lambda: drawing_pipeline("noise"),
    "seeds of tf.data": lambda: drawing_pipeline("seeds"),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # of Keras, in a plain fit
@pytest.mark.parametrize("kind", KEEPING)
def test_with_data_that_keeps_what_it_draws_with(kind):
    def train(find):
        def between(model):
            if find:
                assert len(lr_find(model, data, shuffle=False, **SWEEP)) == SWEEP["num_steps"]

        data = KEEPING[kind]()
        return training(dense, between, x=data, y=None, batch_size=None, shuffle=False)

    assert train(find=True) == train(find=False)


def test_a_place_in_the_data_that_cannot_be_put_back_is_named():
    class Going(Shuffled):
        def __init__(self):
            super().__init__()
            self.turns = itertools.count()

        def __getitem__(self, index):
            next(self.turns)
            return super().__getitem__(index)

    with pytest.warns(UserWarning, match=r"could not put back: data\.turns\.") as caught:
        lr_find(dense(), Going(), **SWEEP)
    assert {w.filename for w in caught if w.category is UserWarning} == {__file__}


@pytest.mark.parametrize("kind", ["captured", "drawn"])
def test_an_order_that_goes_on_inside_of_a_pipeline_is_warned_of(kind):
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    inner, one = datasets().shuffle(9, seed=2), tensorflow.data.Dataset.range(1)
    if kind == "captured":
        data = one.flat_map(lambda index: inner)
    else:
        drawn = tensorflow.data.Dataset.random(seed=4, rerandomize_each_iteration=True)
        data = tensorflow.data.Dataset.zip((datasets(), drawn)).map(lambda batch, number: batch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        curve = lr_find(dense(), data, shuffle=False, **SWEEP)
    assert any("shuffles anew at each reading" in str(warning.message) for warning in caught)
    assert any("shuffles anew at each reading" in note for note in curve.notes)
    inner = datasets()
    plain = lr_find(dense(), one.flat_map(lambda index: inner), shuffle=False, **SWEEP)
    assert not any("shuffles" in note for note in plain.notes)


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


@pytest.mark.parametrize("epochs_before", [0, 1])
@pytest.mark.parametrize("build", [dense, part_unused])
@pytest.mark.parametrize("kind", DRAWING)
def test_with_data_drawn_at_random(kind, build, epochs_before):
    refused = BACKEND == "tensorflow" and build is part_unused and not epochs_before
    refusal = pytest.raises(ValueError, match=r"weights: dense_\d+$")  # which has no trace either

    def train(find):
        def between(model):
            if find:
                with refusal if refused else nullcontext():
                    lr_find(model, *data, shuffle=shuffle, **SWEEP, **batch_size)

        data, shuffle = DRAWING[kind](), kind == "arrays"
        batch_size = {"batch_size": BATCH} if kind == "arrays" else {}
        x, y = (*data, None)[:2]
        options = {"x": x, "y": y, "batch_size": BATCH if y is not None else None}
        return training(build, between, epochs_before=epochs_before, shuffle=shuffle, **options)

    assert train(find=True) == train(find=False)


def test_with_workers_before_the_first_fit_of_all():
    """Keras reads a batch to build losses and metrics, and on JAX and torch begins in mid-epoch."""

    def train(find):
        def between(model):
            if find:
                lr_find(model, data, **SWEEP)

        data = Shuffled(workers=2)
        return training(dense, between, epochs_before=0, x=data, y=None, batch_size=None)

    assert train(find=True) == train(find=False)


def test_what_is_compiled_is_built_by_the_next_fit_if_it_was_not():
    model = dense(metrics=["mae"])
    parts = model._compile_loss, model._compile_metrics
    built = [part.built for part in parts]
    random_numbers = np.random.get_state()[1].tobytes()
    lr_find(model, *arrays(), batch_size=BATCH, **SWEEP)
    assert np.random.get_state()[1].tobytes() == random_numbers
    if BACKEND != "tensorflow":  # which builds them in the first step
        assert [part.built for part in parts] == built == [False, False]
    assert set(model.fit(*arrays(), verbose=0).history) == {"loss", "mae"}


def datasets():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    return tensorflow.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # of Keras, in a plain fit
def test_with_a_dataset_of_unknown_length():
    def train(between):
        data = datasets().filter(lambda x, y: True)
        options = {"x": data, "y": None, "batch_size": None, "shuffle": False, "epochs_before": 0}
        return training(dense, lambda model: between(model, data), **options)

    def find(model, data):
        curve = lr_find(model, data, shuffle=False, **SWEEP)
        assert curve.notes == ("The data was read 4 times (number of batches: 3).",)

    assert train(find) == train(lambda model, data: None)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_end_of_such_a_dataset_is_no_step_of_the_sweep():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    unsized = lr_find(model, datasets().filter(lambda x, y: True), shuffle=False, **SWEEP)
    sized = lr_find(model, *arrays(), batch_size=BATCH, shuffle=False, **SWEEP)
    np.testing.assert_allclose(unsized.loss, sized.loss, rtol=1e-5)


def test_with_a_loader_of_torch_whose_order_is_its_own():
    torch = pytest.importorskip("torch", reason="the loader is of torch")

    class Order(torch.utils.data.Sampler):
        def __init__(self, data):
            self.data, self.rows, self.epoch = data, list(range(SIZE)), 0
            self.generator = random.Random(0)

        def __iter__(self):
            self.epoch += 1
            self.generator.shuffle(self.rows)
            return iter(list(self.rows))

        def __len__(self):
            return SIZE

    class Rows(torch.utils.data.TensorDataset):
        def __init__(self, *tensors):
            super().__init__(*tensors)
            self.order = np.arange(SIZE)

        def __getitem__(self, index):
            np.random.default_rng(index).shuffle(self.order)
            return super().__getitem__(index)

    def train(between):
        rows = Rows(*map(torch.from_numpy, arrays()))
        data = torch.utils.data.DataLoader(rows, BATCH, sampler=Order(rows))
        options = {"x": data, "y": None, "batch_size": None, "shuffle": False}
        result = training(dense, lambda model: between(model, data), **options)
        return result, data.sampler.rows, data.sampler.epoch, rows.order.tolist()

    found = train(lambda model, data: lr_find(model, data, shuffle=False, **SWEEP))
    assert found == train(lambda model, data: None)


def test_a_seeded_shuffle_is_warned_of_beforehand():
    model = dense()
    with pytest.warns(UserWarning, match="shuffles anew at each reading, from a seed") as caught:
        curve = lr_find(model, datasets().shuffle(9, seed=4).prefetch(1), shuffle=False, **SWEEP)
    assert {w.filename for w in caught if w.category is UserWarning} == {__file__}
    assert curve.notes[0].startswith("The data shuffles anew")
    keras.utils.set_random_seed(1)
    fixed = datasets().shuffle(9, seed=4, reshuffle_each_iteration=False)
    assert "shuffles" not in str(lr_find(model, fixed, shuffle=False, **SWEEP).notes)


def test_a_generator_is_warned_of_and_may_end():
    x, y = arrays()

    def batches():
        for index in range(5):
            yield x[index : index + 4], y[index : index + 4]

    def find(model):
        with pytest.warns(UserWarning, match="The data is a generator"):
            curve = lr_find(model, batches(), shuffle=False, **SWEEP)
        assert len(curve) == 5
        assert curve.stop_reason == "the data ended before the sweep"
        assert "gone from it" in curve.notes[0]

    assert training(dense, find) == untouched()
