"""Processes that read for a DataLoader of torch: the range test has some of its own."""

import functools
import gc
import multiprocessing

import keras
import pytest

from lrsched_tf import lr_find
from tests.lrsched_tf.backend.training import BATCH, SIZE, SWEEP, arrays, training

torch = pytest.importorskip("torch", reason="the loader is of torch")
BACKEND = keras.backend.backend()
pytestmark = [
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # of JAX
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python >= 3.12
]


class Augmented(torch.utils.data.Dataset):
    """Draws noise in its worker, which goes on drawing as long as it lives."""

    breaks = False

    def __init__(self):
        self.x, self.y = map(torch.from_numpy, arrays())

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        if self.breaks:
            raise ZeroDivisionError
        return self.x[index] + torch.randn(3), self.y[index]


def loader():
    options = {"num_workers": 1, "persistent_workers": True}
    return torch.utils.data.DataLoader(Augmented(), BATCH, shuffle=True, **options)


class Inside(keras.utils.PyDataset):
    """Reads from a loader."""

    def __init__(self):
        super().__init__()
        self.loader = loader()

    def __len__(self):
        return SIZE // BATCH

    def __getitem__(self, index):
        x, y = next(iter(self.loader))
        return x.numpy(), y.numpy()


def workers():
    gc.collect()  # of loaders that nothing holds any more
    return {process.pid for process in multiprocessing.active_children()}


def linear(*shape):
    model = keras.Sequential([*shape, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def train(find, make, *shape, epochs_before=1):
    torch.manual_seed(1)
    data = make()
    options = {"x": data, "y": None, "batch_size": None, "shuffle": False}
    between = functools.partial(find, data=data)
    return training(lambda: linear(*shape), between, epochs_before=epochs_before, **options)


def untouched(model, data):
    pass


@functools.cache
def trained(make, epochs_before):
    return train(untouched, make, keras.Input((3,)), epochs_before=epochs_before)


def find(model, data):
    before = workers()
    lr_find(model, data, shuffle=False, **SWEEP)
    assert workers() == before


@pytest.mark.parametrize(("make", "epochs_before"), [(loader, 1), (loader, 0), (Inside, 1)])
def test_with_workers_that_persist(make, epochs_before):
    found = train(find, make, keras.Input((3,)), epochs_before=epochs_before)
    assert found == trained(make, epochs_before)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="such a model is refused")
def test_with_a_model_that_the_first_batch_of_the_workers_builds():
    def find(model, data):
        lr_find(model, data, shuffle=False, **SWEEP)

    assert train(find, loader, epochs_before=0) == train(untouched, loader, epochs_before=0)


def test_the_workers_of_a_test_that_breaks_off_end():
    def find(model, data):
        before, data.dataset.breaks = workers(), True
        with pytest.raises(ZeroDivisionError) as caught:
            lr_find(model, data, shuffle=False, **SWEEP)
        assert workers() == before, "while the traceback is kept"
        del caught  # or its frames would hold on to the loader
        data.dataset.breaks = False

    assert train(find, loader, keras.Input((3,))) == trained(loader, 1)


def test_an_epoch_that_is_under_way_is_named_where_it_has_gone_on():
    data = torch.utils.data.DataLoader(Augmented(), 1)

    class Reading(Inside):
        def __init__(self):
            super().__init__()
            self.batches = iter(data)

        def __getitem__(self, index):
            x, y = next(self.batches)
            return x.numpy(), y.numpy()

    with pytest.warns(UserWarning, match=r"could not put back: data\.batches\."):
        lr_find(linear(keras.Input((3,))), Reading(), shuffle=False, **{**SWEEP, "num_steps": 10})
