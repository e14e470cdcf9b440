"""Processes that read for a DataLoader of torch: the range test has some of its own."""

import gc
import multiprocessing

import keras
import pytest

from lrsched_tf import lr_find
from tests.lrsched_tf.backend.training import BATCH, SIZE, SWEEP, arrays, assert_no_trace, find

torch = pytest.importorskip("torch", reason="the loader is of torch")
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
    torch.manual_seed(1)
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


def linear():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def workers():
    gc.collect()  # of loaders that nothing holds any more
    return {process.pid for process in multiprocessing.active_children()}


def find_and_end_workers(model, **data):
    before = workers()
    find(model, **data)
    assert workers() == before


def break_off_and_end_workers(model, x, **data):
    before, x.dataset.breaks = workers(), True
    with pytest.raises(ZeroDivisionError) as caught:
        lr_find(model, x, **data, **SWEEP)
    assert workers() == before, "while the traceback is kept"
    del caught  # or its frames would hold on to the loader
    x.dataset.breaks = False


@pytest.mark.parametrize(
    ("between", "make", "epochs_before"),
    [
        (find_and_end_workers, loader, 0),
        (find_and_end_workers, Inside, 1),
        (break_off_and_end_workers, loader, 1),
    ],
)
def test_with_workers_that_persist(between, make, epochs_before):
    assert_no_trace(between, linear, make, epochs_before=epochs_before)
