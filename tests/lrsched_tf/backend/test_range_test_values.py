"""Values of Keras, and of the framework below, are restored in place or named."""

import gc
import itertools

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from lrsched_tf.rewind.roots import snapshot_of
from tests.lrsched_tf.backend.training import SWEEP, arrays, dense, nothing, training

BACKEND = keras.backend.backend()


def trained():
    model = dense(loss=Counting())
    model.fit(*arrays(), verbose=0)
    return model


class Counting(keras.Loss):
    count = 0

    def call(self, y, outputs):
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)


class Slotted:
    __slots__ = ("count", "late")

    def __init__(self):
        self.count = 0


class Weighing(keras.regularizers.Regularizer):
    def __init__(self):
        self.calls = []

    def __call__(self, weight):
        return 0.0


def count_on(owner):
    owner.count += 1
    owner.late = True


def kept(value):
    """Return what hangs a value on a layer, which tracks it."""

    def hang(model):
        model.layers[0].kept = value()
        return model.layers[0]

    return hang


def regularized(model):
    model.layers[0].kernel.regularizer = Weighing()
    return model.layers[0].kernel.regularizer


def assign(variable):
    variable.assign(variable + 1)


# Where a value is, how it is changed, and read.
VALUES = {
    "weight": (lambda m: m.layers[0].kernel, assign, lambda v: np.array(v).tolist()),
    "weight that is frozen": (
        lambda m: m.layers[0],
        lambda layer: setattr(layer, "trainable", False),
        lambda layer: (layer.trainable, layer.kernel.trainable),
    ),
    "slot of the optimizer": (
        lambda m: m.optimizer.variables[-1],
        assign,
        lambda v: np.array(v).tolist(),
    ),
    "attribute of the optimizer": (lambda m: m.optimizer, count_on, lambda o: o.count),
    "attribute of a loss": (lambda m: m.loss, count_on, lambda o: o.count),
    "attribute of a layer": (lambda m: m.layers[1], count_on, lambda o: o.count),
    "metric": (
        lambda m: m.metrics[0],
        lambda metric: metric.update_state(1.0),
        lambda metric: [np.array(v).tolist() for v in metric.variables],
    ),
    "seed generator": (
        lambda m: m.layers[1].seed_generator,
        lambda seeds: seeds.next(),
        lambda seeds: np.array(seeds.state).tolist(),
    ),
    "regularizer": (regularized, lambda r: r.calls.append(1), lambda r: list(r.calls)),
    "object with slots": (
        kept(Slotted),
        lambda layer: count_on(layer.kept),
        lambda layer: (layer.kept.count, hasattr(layer.kept, "late")),
    ),
    "tracked list": (
        kept(lambda: [1, [2]]),
        lambda layer: (layer.kept.append(3), layer.kept[1].append(4)),
        lambda layer: repr(layer.kept),
    ),
    "tracked dict": (
        kept(lambda: {"a": {"b": 1}}),
        lambda layer: layer.kept["a"].update({"b": 2, "c": 3}),
        lambda layer: repr(layer.kept),
    ),
    "tracked set": (
        kept(lambda: {1}),
        lambda layer: layer.kept.add(2),
        lambda layer: sorted(layer.kept),
    ),
}


def check(model, owner, change, read):
    before, held = read(owner), snapshot_of(model)
    for _ in range(2):
        change(owner)
        assert read(owner) != before
        held.restore()
        assert held.differences() == []
        assert read(owner) == before


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_gets_its_content_back(kind):
    find, change, read = VALUES[kind]
    model = trained()
    for owner in (model.optimizer, model.loss, model.layers[1]):
        owner.count = 0
    check(model, find(model), change, read)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="values of TensorFlow")
@pytest.mark.parametrize("kind", ["variable", "generator", "list", "dict", "global generator"])
def test_a_value_of_tensorflow_gets_its_content_back(kind):
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
    model = trained()
    vars(model.layers[0])["kept"] = value
    check(model, value, change, read)


def tensors_of_torch():
    import torch

    return {
        "plain": torch.ones(3),
        "expanded": torch.ones(1, 3).expand(2, 3),
        "conjugate": torch.ones(3, dtype=torch.complex64).conj(),
        "half": torch.ones(3, dtype=torch.bfloat16),
    }


@pytest.mark.parametrize("kind", ["plain", "expanded", "conjugate", "half"])
def test_a_tensor_of_torch_gets_its_content_back(kind):
    pytest.importorskip("torch", reason="tensors of torch")
    model, tensor = trained(), tensors_of_torch()[kind]
    vars(model.layers[0])["kept"] = tensor
    part = tensor[:1] if kind == "expanded" else tensor
    check(model, tensor, lambda _: part.mul_(2), lambda tensor: tensor.tolist())


def test_a_tensor_that_cannot_be_copied_in_place_is_named_if_it_changes():
    torch = pytest.importorskip("torch", reason="tensors of torch")
    model = trained()
    vars(model.layers[0])["kept"] = sparse = torch.eye(3).to_sparse()
    held = snapshot_of(model)
    assert held.differences() == []
    sparse.mul_(2)
    held.restore()
    assert held.differences() == [f"layer {model.layers[0].name}.kept"]


@pytest.mark.skipif(BACKEND != "torch", reason="layers are modules of torch on that backend only")
class TestModulesOfTorch:
    def wrapped(self, module):
        wrapper = keras.layers.TorchModuleWrapper(module)
        model = keras.Sequential([keras.Input((3,)), wrapper, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(*arrays(), verbose=0)
        return model

    def test_gradients_buffers_and_modes(self):
        import torch

        class Counting(torch.nn.BatchNorm1d):
            def forward(self, x):
                self.calls = getattr(self, "calls", 0) + 1
                return super().forward(x)

        module = Counting(3)
        model = self.wrapped(module)
        module.eval()
        module.weight.grad = gradient = torch.ones(3)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        calls = module.calls
        held = snapshot_of(model)
        gradient.mul_(2)
        held.restore()
        assert (gradient == 1).all()
        lr_find(model, *arrays(), **SWEEP)
        after = module.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert not module.training
        assert module.weight.grad is gradient
        assert (gradient == 1).all()
        assert module.calls == calls

    def test_a_buffer_of_any_size_and_what_hooks_do(self):
        import torch

        module = torch.nn.Linear(3, 3)
        module.register_buffer("queue", torch.zeros(2**23))  # 32 MiB
        model, calls = self.wrapped(module), []
        held = snapshot_of(model)
        module.queue += 1
        module.register_forward_hook(lambda *_: calls.append(1))
        held.restore()
        assert not module.queue.any()
        model(arrays()[0])
        assert calls == []


def test_callbacks_keep_their_notes():
    class Noting(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["loss"])

    model, noting = trained(), Noting()
    vars(model.layers[0])["noting"] = noting
    finder = LRFinder(**SWEEP)
    model.fit(*arrays(), epochs=20, verbose=0, callbacks=[noting, finder])
    assert len(noting.losses) == SWEEP["num_steps"]


class Warming:
    """A loss that grows from step to step."""

    step = 0

    def loss(self, y, outputs):
        self.step += 1
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1) * min(1.0, self.step / 100)


def test_with_a_loss_that_is_a_method():
    def train(between):
        warming = Warming()
        return training(lambda: dense(loss=warming.loss, run_eagerly=True), between), warming.step

    def find(model):
        curve = lr_find(model, *arrays(), batch_size=8, **SWEEP)
        assert not any("put back" in note for note in curve.notes)

    assert train(find) == train(nothing)


def test_what_cannot_be_restored_is_named_at_the_line_of_the_user():
    ticks = itertools.count()

    def loss(y, outputs):
        next(ticks)
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    with pytest.warns(UserWarning, match=r"put back: model\..*\.ticks\.$") as caught:
        curve = lr_find(dense(loss=loss), *arrays(), **SWEEP)
    assert {w.filename for w in caught if w.category is UserWarning} == {__file__}
    assert any("could not put back" in note for note in curve.notes)


def test_variables_of_the_code_around_are_left_alone():
    seen = []

    def loss(y, outputs):
        seen.append(1)
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    curve = lr_find(dense(loss=loss, run_eagerly=True), *arrays(), **SWEEP)
    assert len(seen) >= SWEEP["num_steps"]
    assert not any("put back" in note for note in curve.notes)


def test_a_snapshot_does_not_outlive_the_range_test():
    class Kept:
        pass

    model, finder = trained(), LRFinder(**SWEEP)
    model.fit(*arrays(), epochs=20, verbose=0, callbacks=[finder])
    gc.collect()
    assert finder._end.parts == []
