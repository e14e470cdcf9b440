"""The range test of Keras: what it measures, and that it leaves the training as it was."""

import os
import random
import signal

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import LRFinder, OneCycle, lr_find

FIND = {"num_steps": 40, "start_lr": 1e-5, "end_lr": 1.0, "batch_size": 8}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(1e-3),
    "accumulating adam": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(1e-3)),
}


def data():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(70, 4)).astype("float32")
    return x, (x.sum(1) > 0).astype("int32") + (x[:, 0] > 1).astype("int32")


def compiled(optimizer="sgd", **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](), loss, metrics=["accuracy"], **options)
    return model


def everything(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)).tobytes() for v in variables]


def training_after(between, optimizer="sgd", epochs_before=1, **options):
    """History and end state of a training with `between(model)` somewhere in it."""
    model = compiled(optimizer, **options)
    x, y = data()
    if epochs_before:
        model.fit(x, y, batch_size=8, epochs=epochs_before, verbose=0)
    between(model)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    return history, everything(model), random.random()


@pytest.mark.parametrize(
    ("optimizer", "epochs_before"),
    [("sgd", 0), ("sgd", 1), ("adamw", 1), ("accumulating adam", 0), ("loss scale", 0)],
)
def test_training_after_it_is_bitwise_training_without_it(optimizer, epochs_before):
    untouched = training_after(lambda model: None, optimizer, epochs_before)

    def find(model):
        assert len(lr_find(model, *data(), **FIND)) > 10

    assert training_after(find, optimizer, epochs_before) == untouched


def test_found_twice_it_leaves_no_trace_either():
    def find_twice(model):
        first, second = lr_find(model, *data(), **FIND), lr_find(model, *data(), **FIND)
        assert first == second

    assert training_after(find_twice) == training_after(lambda model: None)


def test_a_trace_would_be_seen():
    untouched = training_after(lambda model: None)
    assert training_after(lambda model: model.fit(*data(), verbose=0)) != untouched


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_as_a_callback_it_leaves_no_trace(epochs_before):
    def find(model):
        finder = LRFinder(start_lr=1e-5, end_lr=1.0, num_steps=40)
        model.fit(*data(), batch_size=8, epochs=9, verbose=0, callbacks=[finder])
        assert len(finder.curve) > 10

    untouched = training_after(lambda model: None, epochs_before=epochs_before)
    assert training_after(find, epochs_before=epochs_before) == untouched


class Losses(keras.callbacks.Callback):
    """The loss of each batch, not the mean over the epoch so far."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])


class Interrupting(keras.callbacks.Callback):
    """Raises, or sends a real Ctrl-C, in the middle of the test."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 5:
            if self.how == "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError("in a callback")


class Breaking(keras.utils.PyDataset):
    """Data that breaks, or meets a Ctrl-C, after some batches."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def __len__(self):
        return 9

    def __getitem__(self, index):
        x, y = data()
        if index == 5:
            if self.how == "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError("in the data")
        return x[index * 7 : index * 7 + 7], y[index * 7 : index * 7 + 7]


def test_an_interrupted_callback_is_put_back_on_request():
    def find(model):
        finder = LRFinder(start_lr=1e-5, end_lr=1.0, num_steps=40)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*data(), batch_size=8, verbose=0, callbacks=[finder, Interrupting("sigint")])
        finder.restore()

    assert training_after(find) == training_after(lambda model: None)


def test_broken_data_leaves_no_trace():
    def find(model):
        # each backend wraps the error of the data in its own
        with pytest.raises(Exception, match="in the data"):
            lr_find(model, Breaking("raise"), num_steps=40)

    assert training_after(find) == training_after(lambda model: None)


def test_steps_per_execution_is_put_back():
    if keras.backend.backend() == "torch":
        pytest.skip("the torch backend of Keras has no steps_per_execution, for that reason")

    def find(model):
        curve = lr_find(model, *data(), **FIND)
        assert len(curve) > 10
        assert model.steps_per_execution == 4

    untouched = training_after(lambda model: None, steps_per_execution=4)
    assert training_after(find, steps_per_execution=4) == untouched


def test_losses_are_those_of_each_batch_with_the_lr_that_followed():
    """Plain SGD on one weight, written out in NumPy."""
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    y = (3 * x + 1).astype("float32")
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.compile(keras.optimizers.SGD(7.0), "mse")
    curve = lr_find(
        model, x, y, batch_size=4, shuffle=False, start_lr=1e-3, end_lr=0.3, num_steps=25
    )
    weight, losses = 1.0, []
    for step, lr in enumerate(lrsched.exponential_sweep(1e-3, 0.3, 25).values()[: len(curve)]):
        batch = slice(step % 10 * 4, step % 10 * 4 + 4)
        error = weight * x[batch].astype(float) - y[batch]
        losses.append((error**2).mean())
        weight -= lr * (2 * error * x[batch]).mean()
    assert len(curve) == 25
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 7.0


def test_it_goes_on_into_one_cycle():
    model = compiled()
    curve = lr_find(model, *data(), num_steps=60, batch_size=8)
    suggestion = curve.suggest(fallback=0.1)
    assert suggestion.lr > 0
    history = model.fit(
        *data(), batch_size=8, epochs=6, verbose=0, callbacks=[OneCycle(max_lr=suggestion.lr)]
    ).history
    assert history["loss"][-1] < history["loss"][0]


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


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_update_has_the_mean_loss_of_its_batches(accumulate):
    """SGD with momentum on one weight, three batches an update, begun in the middle of one."""
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    y = (3 * x + 1).astype("float32")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    steps = accumulate if accumulate > 1 else None
    model.compile(keras.optimizers.SGD(0.0, gradient_accumulation_steps=steps), "mse")
    options = {"batch_size": 4, "shuffle": False}
    curve = lr_find(model, x, y, start_lr=1e-3, end_lr=0.5, num_steps=12, **options)
    weight, losses, batch = 1.0, [], 0
    for lr in lrsched.exponential_sweep(1e-3, 0.5, 12).values():
        group = []
        for _ in range(accumulate):
            rows = slice(batch % 10 * 4, batch % 10 * 4 + 4)
            error = weight * x[rows].astype(float) - y[rows]
            group.append(((error**2).mean(), (2 * error * x[rows]).mean()))
            batch += 1
        loss, gradient = np.mean(group, axis=0)
        losses.append(loss)
        weight -= lr * gradient
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)


def test_updates_that_loss_scaling_skips_are_not_in_the_curve():
    x = np.random.default_rng(0).normal(size=(40, 1)).astype("float32")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    model.compile(optimizer, "mse")
    curve = lr_find(model, x, 9 * x, batch_size=40, start_lr=1e-3, end_lr=0.4, num_steps=12)
    assert curve.notes[0] == "Loss scaling skipped updates; they are not in the curve."
    square, weight, losses = (x.astype(float) ** 2).mean(), 1.0, []
    for lr in curve.lr:
        losses.append((weight - 9) ** 2 * square)
        weight -= lr * 2 * (weight - 9) * square
    assert len(curve) == 12
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-5)


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


def test_a_limit_on_epochs_is_the_reason_of_the_stop():
    keras.config.set_max_epochs(2)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs to 2"):
            curve = lr_find(compiled(), *data(), **FIND)
    finally:
        keras.config.set_max_epochs(None)
    assert len(curve) == 18
    assert "set_max_epochs" in curve.stop_reason


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


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.5),
        # The last one that it sets is by chance the user's own.
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.05 + (epoch < 2)),
        lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9),
    ],
)
def test_another_callback_that_sets_the_lr_is_warned_of(other, first):
    model, finder = compiled(), LRFinder(num_steps=20, end_lr=0.1)
    before, callbacks = everything(model), [finder, other()][:: 1 if first else -1]
    with pytest.warns(UserWarning, match="something else set the learning rate") as warned:
        model.fit(*data(), epochs=40, batch_size=8, verbose=0, callbacks=callbacks)
    assert len([w for w in warned if "range test" in str(w.message)]) == 1
    assert any("something else set the learning rate" in note for note in finder.curve.notes)
    assert everything(model)[: len(before)] == before
