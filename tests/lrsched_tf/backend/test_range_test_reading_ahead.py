"""Threads that read ahead have ended before a range test restores what they draw from."""

import random
import threading
from contextlib import nullcontext

import keras
import numpy as np
import pytest

from lrsched_tf import lr_find
from tests.lrsched_tf.backend.training import BATCH, SWEEP, arrays, dense

BACKEND = keras.backend.backend()
STEPS, BATCHES = SWEEP["num_steps"], 50
# Where everything that reads is waited for, a slow read costs this time, in seconds.
SLOW = 0.5


class Progress:
    """How far the threads are; of the module, so that the range test does not restore it."""

    def __init__(self):
        self.is_ahead, self.is_over, self.has_drawn = (threading.Event() for _ in range(3))
        self.steps, self.breaks = 0, None


PROGRESS = Progress()


@pytest.fixture
def progress(monkeypatch):
    fresh = Progress()
    monkeypatch.setitem(globals(), "PROGRESS", fresh)
    return fresh


def read(index):
    """A batch; the first that the range test does not train on is slow.

    Its random numbers are drawn when the range test is over. Where the range test waits for the
    read, they are drawn at a time limit instead: the outcome depends on neither thread's speed.
    """
    if index == STEPS - 1 and PROGRESS.breaks == "data":
        break_in("data")
    if index == STEPS:
        PROGRESS.is_ahead.set()
        PROGRESS.is_over.wait(SLOW)
    noise = np.float32(random.random() + np.random.random())
    if index == STEPS:
        PROGRESS.has_drawn.set()
    x = arrays()[0][:BATCH] + noise
    return x, x[:, :1]


def loss(y, outputs):
    """The mean squared error; the last step begins when the slow read has begun."""
    PROGRESS.steps += 1
    if PROGRESS.steps == STEPS:
        break_in("loss")
    return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)


def break_in(place):
    assert PROGRESS.is_ahead.wait(60)
    if PROGRESS.breaks == place:
        raise ZeroDivisionError(place)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        return read(index)


def pipeline():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")

    def batch(index):
        x, y = tensorflow.numpy_function(read, [index], ["float32"] * 2)
        x.set_shape((BATCH, 3))
        y.set_shape((BATCH, 1))
        return x, y

    return tensorflow.data.Dataset.range(BATCHES).map(batch, num_parallel_calls=2)


def loader():
    torch = pytest.importorskip("torch", reason="the loader is of torch")
    return torch.utils.data.DataLoader(Batches(), batch_size=None)


SOURCES = {
    "tf.data": pipeline,
    "PyDataset with workers": lambda: Batches(workers=2),
    "PyDataset": Batches,
    "loader": loader,
}


def random_states():
    _, keys, position, *_ = np.random.get_state()
    return random.getstate(), keys.tobytes(), position


CASES = [
    ("tf.data", None),
    ("tf.data", "loss"),
    ("tf.data", "data"),
    ("PyDataset with workers", "loss"),
    ("PyDataset with workers", "data"),
    ("PyDataset", None),
    ("loader", "loss"),
]


@pytest.mark.parametrize(("source", "breaks"), CASES)
def test_reading_ahead_ends_before_anything_is_restored(source, breaks, progress):
    if BACKEND != "tensorflow" and source in ("PyDataset", "loader"):
        pytest.skip("fit reads such data ahead on TensorFlow only")
    data, model = SOURCES[source](), dense(run_eagerly=True, loss=loss)
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    progress.steps, progress.breaks, before = 0, breaks, random_states()
    with pytest.raises(Exception, match=breaks) if breaks else nullcontext():
        lr_find(model, data, shuffle=False, **SWEEP)
    progress.is_over.set()
    assert progress.has_drawn.wait(60)
    assert random_states() == before


def plain():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    return tensorflow.data.Dataset.from_tensor_slices(arrays()).map(lambda x, y: (x, y)).batch(8)


@pytest.mark.parametrize(
    ("source", "named"),
    [(pipeline, True), (lambda: Batches(workers=2), True), (plain, False), (Batches, False)],
)
def test_that_threads_draw_ahead_in_any_fit_is_in_the_notes(source, named, progress):
    progress.is_ahead.set()
    progress.is_over.set()
    curve = lr_find(dense(), source(), shuffle=False, **SWEEP)
    assert any("read the data ahead" in note for note in curve.notes) == named
