"""What a range test of Keras refuses, with nothing changed."""

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, OneCycle, lr_find
from tests.lrsched_tf.backend.classifier import FIND, compiled, data, everything


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"num_steps": 5}, ValueError, "num_steps must be an int >= 10"),
        ({"progress": "yes"}, TypeError, "progress must be a bool"),
        ({"epochs": 3}, ValueError, r"about the training data, got \['epochs'\]"),
        ({"validation_data": 3}, ValueError, "validation_data"),
    ],
)
def test_bad_arguments_change_nothing(options, error, message):
    model = compiled()
    before = everything(model)
    with pytest.raises(error, match=message):
        lr_find(model, *data(), **options)
    assert everything(model) == before


def test_models_that_cannot_be_put_back_are_refused():
    with pytest.raises(TypeError, match="compiled with a Keras optimizer"):
        lr_find(keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)]), *data())


def every_part_alike():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("Keras < 3.15 has no MultiOptimizer")
    adam = keras.optimizers.Adam()
    return keras.optimizers.MultiOptimizer(lambda variable: adam)


class BuiltInPart(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.last = keras.layers.Dense(4, name="first"), keras.layers.Dense(1)

    def build(self, shape):
        self.first.build(shape)
        self.built = True

    def call(self, x):
        return self.last(self.first(x))


def built_in_part():
    model = BuiltInPart()
    model.build((None, 4))
    return model


def without_input():
    return keras.Sequential([keras.layers.Dense(1)])


@pytest.mark.parametrize("build", [without_input, built_in_part])
@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, every_part_alike])
def test_models_not_built_as_a_whole_are_refused_where_fit_would_not_build_them(build, optimizer):
    def trained(find):
        keras.utils.set_random_seed(1)
        model = build()
        model.compile(optimizer(), "mse")
        if find and keras.backend.backend() == "tensorflow":
            with pytest.raises(ValueError, match=r"model must be built.*without their weights"):
                lr_find(model, *data(), **FIND)
        elif find:
            lr_find(model, *data(), **FIND)
        return model.fit(*data(), epochs=2, verbose=0).history

    assert trained(find=True) == trained(find=False)


class Elsewhere(keras.Sequential):
    """A step that leaves the optimizer of the model alone."""

    def train_step(self, *arguments):
        logs = {"loss": keras.ops.mean(arguments[-1][0])}
        return (logs, arguments[0]) if keras.backend.backend() == "jax" else logs


def test_an_optimizer_that_makes_no_update_is_an_error():
    model = compiled()
    model.trainable = False
    model.compile(keras.optimizers.SGD(0.1), model.loss)
    with pytest.raises(ValueError, match="model must have trainable weights"):
        lr_find(model, *data(), **FIND)
    model = Elsewhere([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="got one that made none for 1 "):
        lr_find(model, *data(), **FIND)


class Twice(Elsewhere):
    """Two updates for each batch."""

    def train_step(self, *arguments):
        if keras.backend.backend() == "jax":
            _, state = keras.Sequential.train_step(self, *arguments)
            return keras.Sequential.train_step(self, state, arguments[1])
        keras.Sequential.train_step(self, *arguments)
        return keras.Sequential.train_step(self, *arguments)


class Seldom(Elsewhere):
    """An update for every fourth batch, the first one among them."""

    calls = 0

    def train_step(self, *arguments):
        self.calls += 1
        kind = keras.Sequential if self.calls % 4 == 1 else Elsewhere
        return kind.train_step(self, *arguments)


def find_at_once(model, x, y):
    lr_find(model, x, y, **FIND)


def find_in_a_fit(model, x, y):
    model.fit(x, y, epochs=40, batch_size=8, verbose=0, callbacks=[LRFinder(num_steps=40)])


def schedule_a_fit(model, x, y):
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[OneCycle(0.1, momentum=None)])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function is TensorFlow's")
@pytest.mark.parametrize("use", [find_at_once, find_in_a_fit, schedule_a_fit])
def test_a_step_that_keeps_its_traces_is_refused(use):
    import tensorflow as tf

    class Decorated(keras.Sequential):
        @tf.function
        def train_step(self, data):
            return super().train_step(data)

    def trained(between):
        keras.utils.set_random_seed(3)
        model = Decorated([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        between(model)
        return model.fit(*data(), epochs=2, verbose=0, shuffle=False).history

    def refused(model):
        with pytest.raises(ValueError, match="train_step of Decorated must be a plain function"):
            use(model, *data())

    assert trained(refused) == trained(lambda model: None)


@pytest.mark.parametrize(
    ("kind", "size", "got"),
    [
        (Twice, 70, "2 for 1"),
        (Twice, 8, "2 for 1"),
        (Seldom, 70, "3 for 9"),
        (Seldom, 8, "1 for 2"),
    ],
)
@pytest.mark.parametrize("find", [find_at_once, find_in_a_fit])
def test_a_step_of_other_than_one_update_is_an_error(kind, size, got, find):
    """Or the curve would hold learning rates that no update had."""
    keras.utils.set_random_seed(1)
    x, y = (part[:size] for part in data())
    model = kind([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=kind is Seldom)
    model.optimizer.build(model.trainable_variables)
    before = everything(model), dict(vars(model.optimizer))
    with pytest.raises(ValueError, match=f"one update for each batch, got one that made {got} "):
        find(model, x, y)
    assert (everything(model), dict(vars(model.optimizer))) == before
    assert not {"train_step", "make_train_function"} & set(vars(model))


def test_data_of_unknown_length_with_one_batch_hides_no_second_update():
    tensorflow = pytest.importorskip("tensorflow", reason="needs tf.data")
    x, y = data()
    batches = tensorflow.data.Dataset.from_tensors((x, y)).filter(lambda x, y: True)
    model = Twice([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="got one that made 2 for 1 "):
        lr_find(model, batches, shuffle=False, num_steps=12)


class Reporting(keras.Sequential):
    """A step that reports what it is told to."""

    def train_step(self, *arguments):
        logs = super().train_step(*arguments)
        if keras.backend.backend() == "jax":
            return self.report(logs[0]), logs[1]
        return self.report(logs)


@pytest.mark.parametrize(
    ("report", "error", "message"),
    [
        (lambda logs: {"cost": logs["loss"]}, ValueError, r"with 'loss', got \['cost'\]"),
        (
            lambda logs: {"loss": keras.ops.ones(3)},
            TypeError,
            r"loss must be one real number, got shape \(3,\)",
        ),
    ],
)
def test_a_step_that_reports_no_loss(report, error, message):
    model = Reporting([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.report = report
    model.compile("sgd", "mse")
    x, y = data()
    before = everything(model)
    with pytest.raises(error, match=message):
        lr_find(model, x, y[:, None], **FIND)
    assert everything(model)[: len(before)] == before


class Empty(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError(index)


@pytest.mark.filterwarnings("ignore:The data is a generator")
@pytest.mark.parametrize(
    "kind", ["nothing", "no arrays", "PyDataset", "arrays", "tf.data", "generator"]
)
def test_data_without_batches_is_an_error(kind):
    model, x = compiled(), np.zeros((0, 4), "float32")
    before = everything(model)
    if kind in ("nothing", "no arrays"):
        inputs = {"x": None if kind == "nothing" else []}
    elif kind == "PyDataset":
        inputs = {"x": Empty()}
    elif kind == "arrays":
        inputs = {"x": x, "y": x[:, 0]}
    elif kind == "tf.data":
        tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
        inputs = {"x": tensorflow.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(4)}
    else:
        inputs = {"x": (batch for batch in ()), "shuffle": False}
    with pytest.raises(ValueError, match=r"must give batches, got none|at least one batch"):
        lr_find(model, **inputs, num_steps=10)
    assert everything(model)[: len(before)] == before


def test_a_callback_that_is_not_in_a_list_is_an_error():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow calls it from the main thread all the same")
    model = compiled()
    before = everything(model)
    finder = LRFinder(num_steps=40)
    with pytest.raises(ValueError, match=r"pass callbacks=\[finder\]"):
        model.fit(*data(), epochs=9, batch_size=8, verbose=0, callbacks=finder)
    finder.restore()
    assert everything(model)[: len(before)] == before


def test_a_callback_needs_the_loss_of_each_batch():
    if keras.backend.backend() == "torch":
        pytest.skip("the torch backend of Keras has no steps_per_execution")
    model = compiled(steps_per_execution=4)
    with pytest.raises(ValueError, match="lr_find sets it for the test"):
        model.fit(*data(), verbose=0, callbacks=[LRFinder()])


def test_a_used_finder_is_refused():
    model, finder = compiled(), LRFinder(num_steps=10)
    model.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[finder])
    with pytest.raises(ValueError, match="a new LRFinder for every fit"):
        model.fit(*data(), verbose=0, callbacks=[finder])
