"""Training goes on from a range test bit for bit as if there had been none, in every setting."""

import argparse
import array
import itertools
import random
from collections import OrderedDict, UserDict, UserList

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from lrsched_tf.snapshot import Snapshot
from tests.lrsched_tf.backend.custom_steps import Own, Wrapping
from tests.lrsched_tf.backend.training import (
    BATCH,
    SIZE,
    SWEEP,
    arrays,
    dense,
    need_float16,
    nothing,
    state,
    training,
    untouched,
)

BACKEND = keras.backend.backend()


def two_outputs():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile("adam", ["mse", "mae"], loss_weights=[1.0, 0.3], metrics=[["mae"], ["mse"]])
    return model


def own_step():
    model = Own()
    model(np.zeros((1, 3), "float32"))
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def half_precision():
    need_float16()
    layers = [keras.layers.Dense(4, dtype="mixed_float16"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**20), "mse")
    return model


def scheduled():
    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    return dense(optimizer=keras.optimizers.Adam(decay))


def two_optimizers():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("Keras < 3.15 has no MultiOptimizer")
    adam, sgd = keras.optimizers.Adam(), keras.optimizers.SGD(0.05, momentum=0.9)
    choose = {True: adam, False: sgd}
    return dense(optimizer=keras.optimizers.MultiOptimizer(lambda v: choose["bias" in v.path]))


SETTINGS = {
    "custom step with own tracker": (own_step, {}),
    "two outputs": (two_outputs, {"y": [arrays()[1]] * 2}),
    "sample weights": (dense, {"sample_weight": np.linspace(0, 2, SIZE)}),
    "class weights": (dense, {"class_weight": {0: 0.5, 1: 2.0}}),
    "half precision": (half_precision, {}),
    "compiled the other way": (lambda: dense(jit_compile=BACKEND == "tensorflow"), {}),
    "eager": (lambda: dense(run_eagerly=True), {}),
    "lr from a schedule": (scheduled, {}),
    "two optimizers": (two_optimizers, {}),
    "several steps per execution": (lambda: dense(steps_per_execution=2), {}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_in_every_setting(setting):
    if BACKEND == "torch" and setting == "several steps per execution":
        pytest.skip("the torch backend of Keras runs one step per execution")
    build, options = SETTINGS[setting]
    x, y = arrays()

    def find(model):
        curve = lr_find(model, **{"x": x, "y": y, "batch_size": BATCH, **SWEEP, **options})
        assert len(curve) == SWEEP["num_steps"]
        assert np.isfinite(curve.loss).all()

    assert training(build, find, **options) == training(build, nothing, **options)


class Adversaries(keras.Model):
    """Two halves with an optimizer each, which the first step builds, each for its half."""

    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        self.judge = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        self.judge_optimizer = keras.optimizers.Adam(0.01)
        self.built = True

    def train_step(self, data):
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            made = keras.ops.mean(self.judge(self.maker(data[:, :2])))
            judged = keras.ops.mean(self.judge(data)) - made
        halves = (self.optimizer, self.maker, made), (self.judge_optimizer, self.judge, judged)
        for optimizer, half, loss in halves:
            weights = half.trainable_weights
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": made, "judged": judged}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="fit builds the optimizer beforehand")
def test_an_optimizer_is_built_by_the_first_step_of_fit_for_what_it_trains():
    def trained(find):
        keras.utils.set_random_seed(1)
        model = Adversaries()
        model.compile(keras.optimizers.Adam(0.01))
        x = arrays()[0][:, :3]
        if find:
            lr_find(model, x, batch_size=BATCH, **SWEEP)
            assert not model.optimizer.built
            assert not model.judge_optimizer.built
        history = model.fit(x, batch_size=BATCH, epochs=2, verbose=0).history
        return history, [np.array(v).tolist() for v in model.optimizer.variables]

    assert trained(find=True) == trained(find=False)


def test_with_averaged_weights():
    def build():
        return dense(optimizer=keras.optimizers.Adam(use_ema=True, ema_momentum=0.5))

    def find(model):
        lr_find(model, *arrays(), batch_size=BATCH, **SWEEP)

    # On JAX, Keras cannot train such a model a second time.
    assert training(build, find, epochs_before=0) == training(build, nothing, epochs_before=0)


def test_after_a_thousand_steps():
    x, y = arrays()

    def find(model):
        assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 1008
        lr_find(model, x, y, batch_size=1, **SWEEP)

    def build():  # with a step size that batches of one sample converge with
        return dense(optimizer=keras.optimizers.SGD(0.005, momentum=0.9))

    options = {"epochs_before": 42, "batch_size": 1}
    found, plain = training(build, find, **options), training(build, nothing, **options)
    assert found == plain
    assert plain[0]["loss"][-1] < 0.25  # the variance of the labels: it has learned something


def test_twice_in_a_row_each_as_if_it_were_the_first():
    x, y = arrays()

    def find_twice(model):
        traced = model.train_function
        curves = [lr_find(model, x, y, batch_size=BATCH, **SWEEP) for _ in range(2)]
        assert curves[0] == curves[1]
        assert model.train_function is traced

    assert training(dense, find_twice) == untouched()


def test_an_error_in_the_loss():
    broken = []

    def loss(y, outputs):
        if broken:
            raise ZeroDivisionError("in the loss")
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    def find(model):
        broken.append(True)
        with pytest.raises(ZeroDivisionError, match="in the loss"):
            lr_find(model, *arrays(), **SWEEP)
        broken.clear()

    def build():
        return dense(loss=loss)

    assert training(build, find) == training(build, nothing)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras alone fails there")
def test_states_of_recurrent_layers_are_put_back():
    def recurrent():
        layers = [keras.layers.Reshape((3, 1)), keras.layers.LSTM(2, stateful=True)]
        model = keras.Sequential([keras.Input((3,), batch_size=BATCH), *layers])
        model.compile("sgd", "mse")
        return model

    def find(model):
        assert not any("not put back" in n for n in lr_find(model, *arrays(), **options).notes)

    options = {**SWEEP, "batch_size": BATCH}
    assert training(recurrent, find) == training(recurrent, nothing)


def test_loss_scaling_puts_no_count_into_the_logs():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(set(logs))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(set(logs))

    finder = LRFinder(num_steps=12)
    history = half_precision().fit(
        *arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=[Watch(), finder]
    )
    assert set(history.history) == {"loss"}
    assert {name for names in seen for name in names} == {"loss"}
    assert len(finder.curve) == 12


def test_a_callback_that_sets_the_best_weights_comes_first():
    def find(model):
        best = keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True)
        finder = LRFinder(start_lr=1.0, end_lr=100.0, num_steps=40, stop_factor=None)
        model.fit(*arrays(), batch_size=BATCH, epochs=20, verbose=0, callbacks=[finder, best])
        assert best.best_weights is not None

    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before = state(model)
    find(model)
    assert state(model) == before


def test_python_state_is_put_back_and_what_cannot_be_is_named():
    class Keeping(Wrapping):
        def train_step(self, *arguments):
            next(self.tally)
            self.generator.random()
            self.table["seen"][0] += 1
            return super().train_step(*arguments)

    keras.utils.set_random_seed(1)
    model = dense(Keeping, run_eagerly=True)
    x, y = arrays()
    model.tally, model.generator = itertools.count(), np.random.default_rng(3)
    model.table = {"seen": [0], "cache": np.zeros(3)}
    with pytest.warns(UserWarning, match=r"could not put back: model\.tally\.$"):
        curve = lr_find(model, x, y, **SWEEP)
    assert "The range test could not put back: model.tally." in curve.notes
    assert model.table["seen"] == [0]
    assert "calls" not in vars(model)
    assert model.generator.random() == np.random.default_rng(3).random()


class Slotted:
    __slots__ = ("count", "late")

    def __init__(self):
        self.count = 0


def count_on(state):
    state.count += 1
    state.late = True


STATES = {
    "slots": (Slotted, count_on, lambda state: (state.count, hasattr(state, "late"))),
    "namespace": (lambda: argparse.Namespace(count=0), count_on, lambda n: dict(vars(n))),
    "user dict": (UserDict, lambda state: state.update({len(state): 1}), dict),
    "user list": (UserList, lambda state: state.append(1), list),
    "order": (
        lambda: OrderedDict(a=1, b=2, c=3),
        lambda state: state.move_to_end(next(iter(state))),
        list,
    ),
    "bit generator": (
        lambda: np.random.PCG64(1),
        lambda state: state.random_raw(),
        lambda state: state.state,
    ),
    "bytes": (lambda: bytearray(2), lambda state: state.append(1), bytes),
    "array": (lambda: array.array("l", [0]), lambda state: state.append(1), list),
}


def with_state(value, change):
    """A model that changes a value at each step."""

    class Changing(keras.Sequential):
        def train_step(self, *arguments):
            change(self.kept)
            return super().train_step(*arguments)

    model = dense(Changing, run_eagerly=True)
    vars(model)["kept"] = value
    model.fit(*arrays(), verbose=0)
    return model


@pytest.mark.parametrize("kind", STATES)
def test_any_python_state_is_put_back(kind):
    make, change, read = STATES[kind]
    model = with_state(make(), change)
    before = read(model.kept)
    curve = lr_find(model, *arrays(), **SWEEP)
    assert read(model.kept) == before
    assert not any("could not put back" in note for note in curve.notes)
    change(model.kept)
    assert read(model.kept) != before


@pytest.mark.parametrize(
    "make",
    [lambda: itertools.cycle(range(99)), lambda: iter([1] * 99), lambda: map(abs, range(99))],
)
def test_iterators_that_have_gone_on_are_named(make):
    model = with_state(make(), next)
    with pytest.warns(UserWarning, match=r"could not put back: model\.kept\."):
        lr_find(model, *arrays(), **SWEEP)
    still = with_state(make(), lambda state: None)
    assert not any("put back" in note for note in lr_find(still, *arrays(), **SWEEP).notes)


def test_one_thing_that_cannot_be_put_back_keeps_nothing_else_from_it():
    class Stubborn(dict):
        def __setitem__(self, key, value):
            raise ZeroDivisionError

    model = with_state(Stubborn(count=0), lambda state: dict.__setitem__(state, "count", 1))
    dict.__setitem__(model.kept, "count", 0)
    before = state(model)
    with pytest.warns(UserWarning, match=r"could not put back: model\.kept\."):
        curve = lr_find(model, *arrays(), **SWEEP)
    assert len(curve) == SWEEP["num_steps"]
    assert state(model) == before


def tensors_of_torch():
    import torch

    return {
        "expanded": torch.ones(1, 3).expand(2, 3),
        "one expanded": torch.ones(1).expand(4, 4),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(3, device="meta"),
        "conjugate": torch.ones(3, dtype=torch.complex64).conj(),
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.ones(0, 3),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    }


@pytest.mark.skipif(BACKEND != "torch", reason="tensors of torch")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_tensors_of_any_kind_are_put_back_or_named():
    import torch

    x, y = arrays()
    model = with_state(None, lambda kept: None)
    for name, tensor in tensors_of_torch().items():
        setattr(model, name, tensor)
    before = state(model)
    assert not any("put back" in note for note in lr_find(model, x, y, **SWEEP).notes)

    class Writing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for name in ("conjugate", "half", "sparse"):
                getattr(model, name).mul_(2)
            model.expanded[:1].mul_(2)
            getattr(model, "one expanded")[:1, :1].mul_(2)

    finder = LRFinder(**SWEEP)
    with pytest.warns(UserWarning, match=r"could not put back: model\.sparse\."):
        model.fit(x, y, verbose=0, epochs=20, callbacks=[finder, Writing()])
    for name in ("expanded", "one expanded", "conjugate", "half"):
        assert (getattr(model, name) == 1).all()
    assert state(model) == before
    assert len(finder.curve) == SWEEP["num_steps"]
    assert torch.equal(model.sparse.to_dense(), torch.eye(3) * 2**12)


def test_generators_of_tensorflow_are_put_back():
    if BACKEND != "tensorflow":
        pytest.skip("generators of TensorFlow")
    import tensorflow

    tensorflow.random.set_global_generator(tensorflow.random.Generator.from_seed(3))
    shared = tensorflow.random.get_global_generator()
    model = with_state(
        tensorflow.random.Generator.from_seed(1),
        lambda own: (own.normal(()), shared.normal(())),
    )
    before = model.kept.state.numpy().tolist(), shared.state.numpy().tolist()
    curve = lr_find(model, *arrays(), **SWEEP)
    assert (model.kept.state.numpy().tolist(), shared.state.numpy().tolist()) == before
    assert not any("put back" in note for note in curve.notes)


def test_the_global_generators_are_put_back():
    if BACKEND == "jax":
        pytest.skip("JAX draws no numbers from a global generator in a compiled step")

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    def drawn(between):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), Noisy(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        if between:
            lr_find(model, *arrays(), **SWEEP)
        numbers = [keras.ops.convert_to_numpy(keras.random.normal((2,))).tolist()]
        if BACKEND == "tensorflow":
            import tensorflow

            numbers.append(tensorflow.random.normal((2,)).numpy().tolist())
        return numbers

    assert drawn(True) == drawn(False)


def test_gradients_buffers_and_modes_of_torch_modules():
    if BACKEND != "torch":
        pytest.skip("modules of torch are layers on that backend only")
    import torch

    class Counting(torch.nn.BatchNorm1d):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x)

    wrapped = keras.layers.TorchModuleWrapper(Counting(3))
    model = keras.Sequential([keras.Input((3,)), wrapped, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*arrays(), verbose=0)
    wrapped.module.eval()
    wrapped.module.weight.grad = gradient = torch.ones(3)
    before = {name: value.clone() for name, value in wrapped.module.state_dict().items()}
    calls = wrapped.module.calls
    lr_find(model, *arrays(), **SWEEP)
    after = wrapped.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not wrapped.module.training
    assert wrapped.module.weight.grad is gradient
    assert wrapped.module.calls == calls


def test_the_check_names_what_a_training_changes_and_nothing_after_the_restoring():
    model = dense()
    model.fit(*arrays(), verbose=0)
    model.cache = {"seen": [1, 2]}
    snapshot = Snapshot(model)
    model.fit(*arrays(), verbose=0)
    model.cache["seen"].append(3)
    model.extra = 1
    random.random()
    changed = snapshot.remains()
    assert f"variable {model.layers[0].kernel.path}" in changed
    assert "random numbers of Python" in changed
    assert "model.cache['seen']" in changed
    assert "model" in changed
    assert f"variable {model.optimizer.iterations.path}" in changed
    snapshot.restore()
    assert snapshot.remains() == []
    assert model.cache == {"seen": [1, 2]}
    assert not hasattr(model, "extra")
