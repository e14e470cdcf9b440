"""fit_one_cycle: the range test first, then the training, on the same data."""

import inspect
import re

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import lrsched
from lrsched_tf import OneCycle, fit_one_cycle
from lrsched_tf.callbacks import one_cycle_fit
from tests.lrsched_tf.backend.conftest import unsized
from tests.lrsched_tf.backend.scheduling import MAX_LR, sgd

QUIET = {"verbose": 0, "shuffle": False, "batch_size": 4}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x[:900] / 16.0).astype("float32"), y[:900]


def classifier():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss=loss, metrics=["accuracy"])
    return model


def test_with_a_peak_it_is_fit_with_one_cycle(problem, check_weights):
    model = problem.model(sgd())
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    history = fit_one_cycle(
        model, problem.x, problem.y, epochs=2, max_lr=MAX_LR, callbacks=watch, **QUIET
    )
    check_weights(model)
    assert history.history["learning_rate"] == [log["learning_rate"] for log in seen]
    assert (history.lr_curve, history.suggestion) == (None, None)


def test_without_a_peak_it_finds_one_says_so_and_trains(digits, capsys):
    options = {"validation_split": 0.2, "range_test": {"num_steps": 100}, "verbose": 2}
    history = fit_one_cycle(classifier(), *digits, epochs=6, batch_size=32, **options).history
    said = re.search(
        r"Suggested lr for the peak of one-cycle training: (\S+)", capsys.readouterr()[0]
    )
    steps = 6 * 23
    expected = lrsched.one_cycle(float(said[1]), steps)(np.arange(22, steps, 23))
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=5e-3)
    assert history["val_accuracy"][-1] > 0.75


def test_the_samples_kept_for_validation_are_not_looked_at(digits, capsys):
    """They have no targets here, so one of them would end the range test at once."""
    x, y = digits
    targets = np.eye(10, dtype="float32")[y]
    targets[-90:] = np.nan
    model = classifier()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="mse")
    test = {"num_steps": 100}
    options = {"verbose": 0, "validation_split": 0.11, "range_test": test}
    history = fit_one_cycle(model, x, targets, epochs=1, **options)
    assert len(history.lr_curve) > 50
    assert history.suggestion == history.lr_curve.suggest(schedule="one_cycle")
    peak = lrsched.one_cycle(history.suggestion.lr, 26)
    assert history.history["learning_rate"] == [peak(25)]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert capsys.readouterr().out == ""


@pytest.fixture
def found(monkeypatch):
    """Shapes of what range tests train on, which find a learning rate in any case."""
    find, shapes = one_cycle_fit.lr_find, []

    def surely(model, x, y, **options):
        shapes.append(keras.tree.map_structure(lambda part: tuple(part.shape), (x, y)))
        assert np.isfinite(find(model, x, y, **options).loss).all()
        return lrsched.LossCurve(np.geomspace(1e-4, 1e-2, 40), np.linspace(2.0, 1.0, 40))

    monkeypatch.setattr(one_cycle_fit, "lr_find", surely)
    return shapes


SPLIT = {
    "validation_split": 0.125,
    "accept_doubt": True,
    "range_test": {"num_steps": 20, "end_lr": 0.01},
}


def _sparse(x):
    return pytest.importorskip("scipy.sparse", reason="needs SciPy").csr_matrix(x)


def _sparse_of_tensorflow(x):
    return pytest.importorskip("tensorflow", reason="needs tf").sparse.from_dense(x)


def _frame(x):
    return pytest.importorskip("pandas", reason="needs pandas").DataFrame(x)


@pytest.mark.parametrize(
    "made", [_sparse, _sparse_of_tensorflow, _frame, keras.ops.convert_to_tensor]
)
def test_what_fit_splits_is_split_for_the_range_test_too(made, problem, found, backend):
    if made in (_sparse, _sparse_of_tensorflow) and backend == "torch":
        pytest.skip("the torch backend of Keras has no sparse tensors")
    model = problem.model(sgd())
    fit_one_cycle(model, made(problem.x), problem.y, epochs=1, **SPLIT, **QUIET)
    assert found == [((112, 3), (112, 2))]
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 28


def test_parts_and_weights_are_split_for_the_range_test_too(problem, found):
    """The weights of the samples that are kept for validation are not numbers."""
    inputs = {name: keras.Input((3,), name=name) for name in ("a", "b")}
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()([*inputs.values()])))
    model.compile(sgd(), loss="mse")
    data = {"x": {"a": problem.x, "b": problem.x}, "y": problem.y}
    weights = np.ones(len(problem.x))
    weights[-16:] = np.nan
    fit_one_cycle(model, **data, epochs=1, sample_weight=weights, **SPLIT, **QUIET)
    assert found == [({"a": (112, 3), "b": (112, 3)}, (112, 2))]


def test_a_range_test_that_is_not_sure_stops_with_the_reason(problem):
    """Targets that have nothing to do with the inputs."""
    model = problem.model(sgd())
    noise = np.random.default_rng(0).normal(size=problem.y.shape) * 1e3
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"max_lr must be given, since the range test is not sure"):
        fit_one_cycle(model, problem.x, noise, epochs=1, **QUIET)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_it_trains_in_doubt_when_told_to(problem, monkeypatch, capsys):
    doubtful = lrsched.LossCurve(np.geomspace(1e-4, 1.0, 40), np.linspace(2.0, 1.0, 40))
    monkeypatch.setattr(one_cycle_fit, "lr_find", lambda *data, **more: doubtful)
    suggestion = doubtful.suggest(schedule="one_cycle")
    assert suggestion.lr is not None
    assert not suggestion.confident
    model = problem.model(sgd())
    with pytest.raises(ValueError, match="or accept_doubt=True to use it all the same"):
        fit_one_cycle(model, problem.x, problem.y, epochs=2, **QUIET)
    history = fit_one_cycle(
        model, problem.x, problem.y, epochs=2, accept_doubt=True, **{**QUIET, "verbose": 2}
    )
    expected = lrsched.one_cycle(suggestion.lr, 64)
    assert history.history["learning_rate"] == [expected(31), expected(63)]
    assert str(suggestion) in capsys.readouterr().out


def test_where_none_is_found_it_trains_at_the_fallback(problem):
    """A sweep of five steps gives no suggestion."""
    model, few = problem.model(sgd()), {"num_steps": 5, "stop_factor": None}
    with pytest.raises(ValueError, match="or accept_doubt=True with a fallback="):
        fit_one_cycle(
            model, problem.x, problem.y, epochs=2, accept_doubt=True, **{**QUIET, "range_test": few}
        )
    history = fit_one_cycle(
        model,
        problem.x,
        problem.y,
        epochs=2,
        accept_doubt=True,
        fallback=0.03,
        **{**QUIET, "range_test": few},
    )
    assert history.history["learning_rate"] == [lrsched.one_cycle(0.03, 64)(k) for k in (31, 63)]


def test_where_the_loss_only_rises_it_asks_whether_the_model_is_trained(problem):
    """A linear model at its best weights."""
    model = problem.model(sgd())
    inputs = np.c_[problem.x, np.ones(len(problem.x))]
    weights, *_ = np.linalg.lstsq(inputs, problem.y, rcond=None)
    model.set_weights([weights[:3], weights[3]])
    options = {**QUIET, "epochs": 1, "accept_doubt": True, "range_test": {"num_steps": 60}}
    with pytest.raises(ValueError, match=r"accept_doubt=True with pretrained=\)"):
        fit_one_cycle(model, problem.x, problem.y, **options)
    history = fit_one_cycle(model, problem.x, problem.y, pretrained=True, fallback=1.0, **options)
    guess = history.lr_curve.suggest(pretrained=False).lr
    assert history.suggestion.lr == pytest.approx(guess / 10)
    assert history.history["learning_rate"] == [lrsched.one_cycle(guess / 10, 32)(31)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_lr": -1.0}, ValueError, "max_lr must be > 0"),
        ({"pct_start": 30}, ValueError, "pct_start must be in"),
        ({"total_steps": 1}, ValueError, "total_steps must be an int >= 2"),
        ({"div_facto": 3}, TypeError, "arguments must be those of fit or of OneCycle, got"),
        ({"accept_doubt": 1}, TypeError, "accept_doubt must be a bool"),
        ({"on_doubt": "use"}, TypeError, r"no argument 'on_doubt' .here: accept_doubt=True"),
        (
            {"fallback": 0.1},
            ValueError,
            "fallback must come with accept_doubt=True, got",
        ),
        ({"fallback": -1, "accept_doubt": True}, ValueError, "fallback must be > 0"),
        ({"pretrained": "yes"}, TypeError, "pretrained must be a bool"),
        ({"callbacks": keras.callbacks.CallbackList([])}, TypeError, "got a CallbackList"),
    ],
)
def test_bad_arguments_are_told_before_the_range_test(
    arguments, error, message, problem, monkeypatch
):
    monkeypatch.delattr(one_cycle_fit, "lr_find")
    with pytest.raises(error, match=message):
        fit_one_cycle(problem.model(sgd()), problem.x, problem.y, epochs=1, **arguments)


def test_an_optimizer_without_momentum_is_told_before_the_range_test(problem):
    model = problem.model(keras.optimizers.RMSprop())
    with pytest.raises(ValueError, match="optimizer must have a momentum > 0"):
        fit_one_cycle(model, problem.x, problem.y, epochs=1)
    fit_one_cycle(model, problem.x, problem.y, epochs=1, max_lr=0.01, momentum=None, verbose=0)


def test_data_of_unknown_length_needs_a_number_before_the_range_test(problem):
    model = problem.model(sgd())
    with pytest.raises(ValueError, match="must be given for data of unknown length, got neither"):
        fit_one_cycle(model, unsized(problem), epochs=2, verbose=0, shuffle=False)
    assert model.optimizer.iterations == 0


def test_a_generator_is_not_used_up_by_a_range_test(problem):
    batches = (batch for batch in problem.batches(1))
    model = problem.model(sgd())
    with pytest.raises(ValueError, match="max_lr must be given for a generator"):
        fit_one_cycle(model, batches, epochs=1, total_steps=32)
    assert len(list(batches)) == 32


def test_one_cycle_and_fit_one_cycle_have_the_same_defaults():
    ours = inspect.signature(fit_one_cycle).parameters
    for name, parameter in inspect.signature(OneCycle.__init__).parameters.items():
        if name in ours and name != "max_lr":
            assert ours[name].default == parameter.default
