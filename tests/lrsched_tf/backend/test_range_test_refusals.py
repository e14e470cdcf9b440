"""What a range test of Keras refuses, with nothing changed."""

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, lr_find
from tests.lrsched_tf.backend.training import BATCH, SIZE, SWEEP, arrays, dense, state, trained

BACKEND = keras.backend.backend()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"num_steps": 4}, ValueError, "num_steps must be an int >= 5"),
        ({"progress": "yes"}, TypeError, "progress must be a bool"),
        ({"epochs": 3}, TypeError, r"no argument 'epochs' \(here: num_steps"),
        ({"verbose": 0}, ValueError, r"about the training data, got \['verbose'\]"),
    ],
)
def test_bad_arguments_change_nothing(options, error, message):
    model = trained()
    before = state(model)
    with pytest.raises(error, match=message):
        lr_find(model, *arrays(), **options)
    assert state(model) == before


def test_a_finder_outside_of_fit_is_refused():
    model, finder = trained(), LRFinder(**SWEEP)
    for use in (
        lambda: model.evaluate(*arrays(), callbacks=[finder], verbose=0),
        lambda: model.predict(arrays()[0], callbacks=[finder], verbose=0),
    ):
        with pytest.raises(ValueError, match="must be a callback of fit, got evaluate or predict"):
            use()
    model.fit(*arrays(), epochs=99, verbose=0, validation_data=arrays(), callbacks=[finder])
    assert len(finder.curve) == 12
    model.evaluate(*arrays(), callbacks=[finder], verbose=0)


def test_a_fit_that_ends_before_the_sweep_is_warned_of():
    finder = LRFinder()
    with pytest.warns(UserWarning, match=r"fit ended before the sweep \(give it more epochs\)"):
        trained().fit(*arrays(), epochs=1, verbose=0, callbacks=[finder])
    assert "more epochs" in finder.curve.stop_reason


def test_a_finder_answers_to_other_names():
    with pytest.raises(AttributeError, match=r"no attribute 'losses' \(here: curve\.loss\)"):
        LRFinder().losses  # noqa: B018


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(TypeError, match="compiled with a Keras optimizer"):
        lr_find(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), *arrays())


def test_a_model_without_trainable_weights_is_refused():
    model = dense()
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="model must have trainable weights"):
        lr_find(model, *arrays(), **SWEEP)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras < 3.15")
def test_a_model_that_is_not_built_is_refused_where_fit_would_not_build_it():
    def history(find):
        keras.utils.set_random_seed(1)
        model, adam = keras.Sequential([keras.layers.Dense(1)]), keras.optimizers.Adam()
        model.compile(keras.optimizers.MultiOptimizer(lambda variable: adam), "mse")
        if find and BACKEND == "tensorflow":
            with pytest.raises(ValueError, match=r"model must be built.*without their weights"):
                lr_find(model, *arrays(), **SWEEP)
        elif find:
            lr_find(model, *arrays(), **SWEEP)
        return model.fit(*arrays(), epochs=2, verbose=0).history

    assert history(find=True) == history(find=False)


class Elsewhere(keras.Sequential):
    """A step that leaves the optimizer of the model alone."""

    def train_step(self, *arguments):
        logs = {"loss": keras.ops.mean(arguments[-1][0])}
        return (logs, arguments[0]) if BACKEND == "jax" else logs


class Twice(Elsewhere):
    """Two updates for each batch."""

    def train_step(self, *arguments):
        if BACKEND == "jax":
            _, after = keras.Sequential.train_step(self, *arguments)
            return keras.Sequential.train_step(self, after, arguments[1])
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
    lr_find(model, x, y, batch_size=4, num_steps=40)


def find_in_a_fit(model, x, y):
    model.fit(x, y, epochs=40, batch_size=4, verbose=0, callbacks=[LRFinder(num_steps=40)])


@pytest.mark.parametrize(
    ("kind", "size", "got", "find"),
    [
        (Elsewhere, SIZE, "none for 1", find_at_once),
        (Twice, SIZE, "2 for 1", find_at_once),
        (Twice, 4, "2 for 1", find_in_a_fit),
        (Seldom, SIZE, "2 for 6", find_in_a_fit),
        (Seldom, 4, "1 for 2", find_at_once),
    ],
)
def test_a_step_of_other_than_one_update_is_an_error(kind, size, got, find):
    """Or the curve would hold learning rates that no update had."""
    model = kind([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=kind is Seldom)
    model.optimizer.build(model.trainable_variables)
    before = state(model), dict(vars(model.optimizer))
    with pytest.raises(ValueError, match=f"one update for each batch, got one that made {got} "):
        find(model, *(part[:size] for part in arrays()))
    assert (state(model), dict(vars(model.optimizer))) == before
    assert not {"train_step", "make_train_function"} & set(vars(model))


class Reporting(keras.Sequential):
    """A step that reports what it is told to."""

    def train_step(self, *arguments):
        logs = super().train_step(*arguments)
        return (self.report(logs[0]), logs[1]) if BACKEND == "jax" else self.report(logs)


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
    model = dense(Reporting)
    model.report = report
    before = state(model)
    with pytest.raises(error, match=message):
        lr_find(model, *arrays(), **SWEEP)
    assert state(model)[: len(before)] == before


class Empty(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError(index)


def empty_dataset():
    tensorflow = pytest.importorskip("tensorflow", reason="tf.data is of TensorFlow")
    return tensorflow.data.Dataset.from_tensor_slices((np.zeros((0, 3)), np.zeros(0))).batch(4)


@pytest.mark.filterwarnings("ignore:The data is a generator")
@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        list,
        lambda: np.zeros((0, 3)),
        Empty,
        empty_dataset,
        lambda: (batch for batch in ()),
    ],
    ids=["nothing", "no arrays", "arrays", "PyDataset", "tf.data", "generator"],
)
def test_data_without_batches_is_an_error(make):
    model = dense()
    before = state(model)
    with pytest.raises(ValueError, match=r"must give batches, got none|at least one batch"):
        lr_find(model, make(), shuffle=False, num_steps=10)
    assert state(model)[: len(before)] == before


def test_a_callback_that_is_not_in_a_list_is_an_error():
    if BACKEND == "tensorflow":
        pytest.skip("TensorFlow calls it from the main thread all the same")
    model, finder = trained(), LRFinder(num_steps=40)
    before = state(model)
    with pytest.raises(ValueError, match=r"pass callbacks=\[finder\]"):
        model.fit(*arrays(), epochs=9, batch_size=BATCH, verbose=0, callbacks=finder)
    finder.restore()
    model.reset_metrics()
    assert state(model) == before


def test_a_callback_needs_the_loss_of_each_batch():
    if BACKEND == "torch":
        pytest.skip("the torch backend of Keras has no steps_per_execution")
    model = dense(steps_per_execution=4)
    with pytest.raises(ValueError, match="lr_find sets it for the test"):
        model.fit(*arrays(), verbose=0, callbacks=[LRFinder()])


def test_a_used_finder_is_refused():
    model, finder = dense(), LRFinder(num_steps=10)
    model.fit(*arrays(), batch_size=BATCH, epochs=4, verbose=0, callbacks=[finder])
    with pytest.raises(ValueError, match="a new LRFinder for every fit"):
        model.fit(*arrays(), verbose=0, callbacks=[finder])


def test_one_whose_fit_broke_off_is_used_too():
    def stop(batch, logs=None):
        raise ZeroDivisionError

    model, finder = dense(), LRFinder(num_steps=10)
    callbacks = [finder, keras.callbacks.LambdaCallback(on_train_batch_end=stop)]
    with pytest.raises(ZeroDivisionError):
        model.fit(*arrays(), verbose=0, callbacks=callbacks)
    finder.restore()
    with pytest.raises(ValueError, match="a new LRFinder for every fit"):
        model.fit(*arrays(), verbose=0, callbacks=[finder])


@pytest.mark.parametrize("find", [lambda **given: lr_find(dense(), **given), LRFinder])
def test_names_of_other_finders_are_answered_with_ours(find):
    for name, ours in {"min_lr": "start_lr", "num_training": "num_steps"}.items():
        with pytest.raises(TypeError, match=rf"no argument '{name}' \(here: {ours}\)"):
            find(**{name: 1})
