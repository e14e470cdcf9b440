"""Values of Keras, and of the framework below, are restored in place or named."""

import gc
import itertools
import weakref

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from lrsched_tf.rewind.roots import snapshot_of
from tests.lrsched_tf.backend.training import SWEEP, Shuffled, arrays, dense, trained

BACKEND = keras.backend.backend()


class Counting(keras.Loss):
    count = 0

    def call(self, y, outputs):
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)


class Warming:
    """A loss that is a method, of an object with state."""

    count = 0

    def loss(self, y, outputs):
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)


class Weighing(keras.regularizers.Regularizer):
    count = 0

    def __call__(self, weight):
        return 0.0


def layer_with(value):
    """Return what hangs a value on a layer, which tracks it."""

    def hang(model):
        model.layers[0].kept = value
        return model.layers[0]

    return hang


def regularizer(model):
    model.layers[0].kernel.regularizer = found = Weighing()
    return found


def owner_of_loss(model):
    warming = Warming()
    model.compile(model.optimizer, warming.loss)
    return warming


def assign(variable):
    variable.assign(variable + 1)


def count_on(owner):
    owner.count += 1


def numbers(*variables):
    return [np.array(keras.ops.convert_to_numpy(v)).tolist() for v in variables]


def count(owner):
    return owner.count


# Where a value is, how it is changed, and read.
VALUES = {
    "weight": (lambda m: m.layers[0].kernel, assign, numbers),
    "weight that is frozen": (
        lambda m: m.layers[0],
        lambda layer: setattr(layer, "trainable", False),
        lambda layer: (layer.trainable, layer.kernel.trainable),
    ),
    "slot of the optimizer": (lambda m: m.optimizer.variables[-1], assign, numbers),
    "attribute of the optimizer": (lambda m: m.optimizer, count_on, count),
    "attribute of a loss": (lambda m: m.loss, count_on, count),
    "attribute of a layer": (lambda m: m.layers[1], count_on, count),
    "object whose method is the loss": (owner_of_loss, count_on, count),
    "attribute of a regularizer": (regularizer, count_on, count),
    "metric": (
        lambda m: m.metrics[0],
        lambda metric: metric.update_state(1.0),
        lambda metric: numbers(*metric.variables),
    ),
    "seed generator": (
        lambda m: m.layers[1].seed_generator,
        lambda seeds: seeds.next(),
        lambda seeds: numbers(seeds.state),
    ),
    "tracked list": (
        layer_with([1, [2]]),
        lambda layer: (layer.kept.append(3), layer.kept[1].append(4)),
        lambda layer: repr(layer.kept),
    ),
    "tracked dict": (
        layer_with({"a": {"b": 1}}),
        lambda layer: layer.kept["a"].update({"b": 2, "c": 3}),
        lambda layer: repr(layer.kept),
    ),
    "tracked set": (
        layer_with({1}),
        lambda layer: layer.kept.add(2),
        lambda layer: sorted(layer.kept),
    ),
}


@pytest.fixture(scope="module")
def model():
    """One for all: each test leaves it as it was, or has failed."""
    model = trained(loss=Counting())
    for owner in (model.optimizer, model.loss, model.layers[1]):
        owner.count = 0
    return model


def check(model, owner, change, read):
    before, held = read(owner), snapshot_of(model)
    for _ in range(2):
        change(owner)
        assert read(owner) != before
        held.restore()
        assert held.differences() == []
        assert read(owner) == before


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_gets_its_content_back(kind, model):
    find, change, read = VALUES[kind]
    check(model, find(model), change, read)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="values of TensorFlow")
@pytest.mark.parametrize("kind", ["variable", "generator", "list", "dict", "global generator"])
def test_a_value_of_tensorflow_gets_its_content_back(kind, model):
    import tensorflow
    from tensorflow.python.trackable.data_structures import wrap_or_unwrap

    generator = tensorflow.random.Generator.from_seed(1)
    tensorflow.random.set_global_generator(tensorflow.random.Generator.from_seed(3))
    shared = tensorflow.random.get_global_generator()
    value, change, read = {
        "variable": (tensorflow.Variable([1.0]), assign, lambda v: v.numpy().tolist()),
        "generator": (generator, lambda g: g.normal(()), lambda g: g.state.numpy().tolist()),
        "list": (wrap_or_unwrap([1, 2]), lambda v: v.append(3), list),
        "dict": (wrap_or_unwrap({"a": 1}), lambda v: v.update(a=2, b=3), dict),
        "global generator": (
            None,
            lambda _: shared.normal(()),
            lambda _: shared.state.numpy().tolist(),
        ),
    }[kind]
    vars(model.layers[0])["kept"] = value
    check(model, value, change, read)


def test_a_tensor_of_torch_gets_its_content_back(model):
    torch = pytest.importorskip("torch", reason="tensors of torch")
    vars(model.layers[0])["kept"] = tensor = torch.ones(3)
    check(model, tensor, lambda tensor: tensor.mul_(2), lambda tensor: tensor.tolist())


@pytest.mark.skipif(BACKEND != "torch", reason="layers are modules of torch on that backend only")
def test_a_module_of_torch_keeps_gradients_buffers_modes_and_attributes():
    import torch

    class Normalizing(torch.nn.BatchNorm1d):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    module = Normalizing(3)
    module.register_buffer("queue", torch.zeros(2**23))  # 32 MiB, over the limit for arrays
    wrapper = keras.layers.TorchModuleWrapper(module)
    model = keras.Sequential([keras.Input((3,)), wrapper, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*arrays(), verbose=0)
    module.eval()
    module.weight.grad = gradient = torch.ones(3)
    before, calls = {n: value.clone() for n, value in module.state_dict().items()}, module.calls
    held = snapshot_of(model)
    gradient.mul_(2)
    module.queue += 1
    held.restore()
    assert (gradient == 1).all()
    lr_find(model, *arrays(), **SWEEP)
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not module.training
    assert module.weight.grad is gradient
    assert (gradient == 1).all()
    assert module.calls == calls


def test_callbacks_keep_their_notes_and_a_finder_neither_snapshot_nor_data():
    class Noting(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["loss"])

    model, noting, finder, data = dense(), Noting(), LRFinder(**SWEEP), Shuffled()
    vars(model.layers[0])["noting"] = noting
    model.fit(data, epochs=20, verbose=0, callbacks=[noting, finder])
    assert len(noting.losses) == SWEEP["num_steps"]
    assert finder._end.parts == []
    kept = weakref.ref(data)
    del data
    gc.collect()
    assert kept() is None or BACKEND == "tensorflow"  # which keeps it itself


def test_what_cannot_be_restored_is_named_at_the_line_of_the_user():
    ticks = itertools.count()

    def loss(y, outputs):
        next(ticks)
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    with pytest.warns(UserWarning, match=r"put back: model\..*\.ticks\.$") as caught:
        curve = lr_find(dense(loss=loss), *arrays(), **SWEEP)
    assert {w.filename for w in caught if w.category is UserWarning} == {__file__}
    assert any("could not put back" in note for note in curve.notes)
