"""A policy drives every number that the updates of an optimizer read; the weights show it."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import lrsched
from lrsched import Policy
from lrsched_tf import ScheduleCallback
from tests.lrsched_tf.backend import reference
from tests.lrsched_tf.backend.scheduling import BACKEND_MODES, LRS, MAX_LR, MODES, STEPS, lr_of
from tests.recovered import draw, recovered

GOLDEN = Path(__file__).parents[2] / "golden" / "policy.yaml"
SGD = Policy(
    lr=lrsched.one_cycle(MAX_LR, STEPS),
    momentum=lrsched.one_cycle_momentum(STEPS),
    weight_decay=lrsched.cosine(0.8, 0.0, STEPS),
)
ADAMW = Policy(
    **SGD, beta_2=lrsched.linear(0.9, 0.999, STEPS), eps=lrsched.exponential(1.0, 0.01, STEPS)
)


def decayed(w, lr, decay):
    return w - w * decay * lr


def sgd(w, g, lr, of, state, t):
    return reference.sgd(decayed(w, lr, of["weight_decay"]), g, lr, of["momentum"], state, t)


def adamw(w, g, lr, of, state, t):
    beta_1, beta_2 = of["momentum"], of["beta_2"]
    w = decayed(w, lr, of["weight_decay"])
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g**2
    alpha = lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return w - alpha * m / (np.sqrt(v) + of["eps"])


def steps_of(values):
    """Values by name, each of shape [steps], as the lrs and the values of each step."""
    by_step = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return values.get("lr", np.full(len(by_step), 0.01)), by_step


@pytest.fixture
def check_policy(check_weights):
    """Asserts that the weights are those of NumPy by the values of a policy; others are seen."""

    def check(model, update, policy, **others):
        values = {**policy.values(), **{k: np.full(STEPS, v) for k, v in others.items()}}
        check_weights(model, update, *steps_of(values))
        for name in policy:
            late = {**values, name: np.roll(values[name], 1)}
            with pytest.raises(AssertionError, match="weights differ"):
                check_weights(model, update, *steps_of(late))

    return check


def decaying(**options):
    return keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.004, **options)


@pytest.mark.parametrize("mode", BACKEND_MODES)
@pytest.mark.parametrize(
    ("make", "update", "policy"),
    [(decaying, sgd, SGD), (keras.optimizers.AdamW, adamw, ADAMW)],
    ids=["sgd", "adamw"],
)
def test_a_policy_moves_the_weights_as_numpy_does(
    make, update, policy, mode, problem, check_policy
):
    model = problem.model(make(), **MODES[mode])
    callback = ScheduleCallback(policy)
    history = problem.fit(model, callback).history
    check_policy(model, update, policy)
    names = {"lr": "learning_rate", "eps": "epsilon"}
    for name, schedule in policy.items():
        shown = names.get(name, name)
        assert history[shown] == [schedule(31), schedule(63)]
        np.testing.assert_array_equal(callback.history[shown], schedule.values())
    assert callback.policy == policy
    assert model.optimizer.get_config()["weight_decay"] == 0.004


def test_a_policy_on_two_devices(two_devices, problem, check_policy):
    with two_devices:
        model = problem.model(decaying())
        problem.fit(model, ScheduleCallback(SGD))
    check_policy(model, sgd, SGD)


@pytest.mark.parametrize("name", ["weight_decay", "beta_2", "eps"])
def test_one_number_alone_leaves_the_others_to_the_user(name, problem, check_policy):
    model = problem.model(keras.optimizers.AdamW(0.01))
    policy = ADAMW.only(name)
    problem.fit(model, ScheduleCallback(policy))
    own = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.004, "beta_2": 0.999, "eps": 1e-7}
    check_policy(model, adamw, policy, **{k: v for k, v in own.items() if k != name})
    assert lr_of(model) == np.float32(0.01)


def test_weights_that_are_excluded_from_decay_stay_so(problem, check_policy):
    optimizer = decaying()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = problem.model(optimizer)
    problem.fit(model, ScheduleCallback(SGD))

    def update(w, g, lr, of, state, t):
        return sgd(w, g, lr, {**of, "weight_decay": of["weight_decay"] * (w.ndim > 1)}, state, t)

    check_policy(model, update, SGD)


@pytest.mark.parametrize(
    ("adam", "own", "expected"),
    [(None, {}, 0.0), (0.0, {}, 0.0), (0.3, {}, None), (0.3, {"adam_weight_decay": 0.7}, 0.7)],
    ids=["none", "zero", "driven", "by its own name"],
)
def test_the_decay_that_muon_gives_to_the_weights_of_adam(
    adam, own, expected, problem, check_weights
):
    decay = SGD["weight_decay"]
    model = problem.model(keras.optimizers.Muon(0.01, adam_weight_decay=adam))
    others = {name: lrsched.constant(value) for name, value in own.items()}
    problem.fit(model, ScheduleCallback(Policy(**others, weight_decay=decay)))

    def update(w, g, lr, of, state, t):
        if w.ndim == 2:  # which Muon decays itself; the reference does so by its default
            w = decayed(w, lr, of) / (1 - 0.004 * lr)
            return reference.muon(w, g, lr, 0.95, state, t)
        return reference.adam(
            decayed(w, lr, of if expected is None else expected), g, lr, 0.9, state, t
        )

    check_weights(model, update, np.full(STEPS, 0.01), decay.values())


def test_other_numbers_go_by_their_own_names(problem, check_weights):
    rhos = lrsched.linear(0.5, 0.99, STEPS)
    model = problem.model(keras.optimizers.RMSprop(0.01))
    history = problem.fit(model, ScheduleCallback(Policy(rho=rhos))).history

    def update(w, g, lr, rho, state, t):
        v = state["v"] = rho * state.get("v", 0.0) + (1 - rho) * g**2
        return w - lr * g / np.sqrt(v + 1e-7)

    check_weights(model, update, np.full(STEPS, 0.01), rhos.values())
    assert history["rho"] == [rhos(31), rhos(63)]
    assert model.optimizer.rho == 0.9


def test_a_number_that_keras_asks_for_in_python_first(problem, check_weights):
    clips = lrsched.linear(0.05, 2.0, STEPS)
    for name in ("clipnorm", "clipvalue"):
        model = problem.model(keras.optimizers.SGD(0.01, **{name: 1.0}))
        problem.fit(model, ScheduleCallback(Policy(**{name: clips})))

        def clipped(w, g, lr, clip, state, t, by_norm=name == "clipnorm"):
            if by_norm:
                return w - lr * g * min(1.0, clip / np.linalg.norm(g))
            return w - lr * np.clip(g, -clip, clip)

        check_weights(model, clipped, np.full(STEPS, 0.01), clips.values())


class Branching(keras.optimizers.SGD):
    """SGD with an update that depends on a number in Python."""

    threshold = 2.0

    def update_step(self, gradient, variable, learning_rate):
        factor = 0.5 if self.threshold > 1 else 1.0
        lr = ops.cast(learning_rate, variable.dtype) * factor * self.threshold
        self.assign_sub(variable, ops.multiply(gradient, lr))

    def _backend_update_step(self, gradients, variables, learning_rate):  # as on TensorFlow and JAX
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)


@pytest.mark.parametrize(("start", "end"), [(3.0, 2.0), (1.0, 0.5), (2.0, 0.5)])
def test_a_branch_in_python_takes_the_side_of_the_values_or_raises(
    start, end, problem, check_weights
):
    schedule = lrsched.linear(start, end, STEPS)
    values, model = schedule.values(), problem.model(Branching(0.01))
    callback = ScheduleCallback(Policy(threshold=schedule))
    if start > 1 > end and keras.backend.backend() != "torch":
        with pytest.raises(Exception, match=r"(?i)bool"):
            problem.fit(model, callback)
        assert "apply" not in vars(model.optimizer)
        return
    problem.fit(model, callback)

    def update(w, g, lr, value, state, t):
        return w - lr * g * value * (0.5 if value > 1 else 1.0)

    check_weights(model, update, np.full(STEPS, 0.01), values)


ABOUT = lrsched.linear(0.1, 0.2, STEPS)
READ = "optimizer must read {} in its updates to have a schedule of it, got {}, which does not"


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (keras.optimizers.SGD, "weight_decay", r"SGD \(compile with SGD\(weight_decay=0.004\)"),
        (
            keras.optimizers.Adam,
            "weight_decay",
            r"compile with Adam\(weight_decay=0.004\), or pass",
        ),
        (keras.optimizers.SGD, "beta_2", r"have a beta_2 to schedule, got SGD \(pass a policy wit"),
        (keras.optimizers.Lion, "eps", "must have an epsilon to schedule, got Lion"),
        (keras.optimizers.Adam, "weight_dekay", "have a number for weight_dekay to schedule, got"),
        (keras.optimizers.Adam, "amsgrad", "must have a number for amsgrad"),
    ],
)
def test_what_the_optimizer_does_not_have_leaves_the_model_untouched(make, name, message, problem):
    model = problem.model(make())
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        problem.fit(model, ScheduleCallback(Policy(lr=ABOUT, **{name: ABOUT})))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert "apply" not in vars(model.optimizer)


@pytest.mark.parametrize(
    ("make", "name"),
    [(decaying, "ema_momentum"), (keras.optimizers.Adagrad, "initial_accumulator_value")],
)
def test_a_number_that_no_update_reads_is_refused(make, name, problem):
    model = problem.model(make())
    before = model.get_weights()
    message = READ.format(name, type(model.optimizer).__name__)
    with pytest.raises(ValueError, match=message):
        problem.fit(model, ScheduleCallback(Policy(lr=ABOUT, **{name: ABOUT})))
    assert "apply" not in vars(model.optimizer)
    # An eager step has made its update by then.
    if keras.backend.backend() != "torch":
        np.testing.assert_array_equal(model.get_weights()[0], before[0])
    problem.fit(model, epochs=1)
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.parametrize("batches", [4, 40])
def test_where_gradients_accumulate_it_waits_for_an_update(batches, problem):
    optimizer = decaying(gradient_accumulation_steps=batches)
    model, policy = problem.model(optimizer), Policy(ema_momentum=lrsched.constant(0.5))
    with pytest.raises(ValueError, match=READ.format("ema_momentum", "SGD")):
        problem.fit(model, ScheduleCallback(policy))


def test_one_of_several_optimizers_has_to_read_it(problem):
    """Here Muon has no weights of Adam, whose beta_2 it holds."""
    matrices, rest = keras.optimizers.Muon(0.01), keras.optimizers.AdamW(0.01)
    model = problem.model("sgd")
    kernel, bias = model.trainable_variables
    gradients = [ops.ones_like(kernel.value), ops.ones_like(bias.value)]
    policy = Policy(beta_2=lrsched.constant(0.9))
    with ScheduleCallback(policy, optimizer=[matrices, rest]).applied_to(model):
        matrices.apply([gradients[0]], [kernel])
        rest.apply([gradients[1]], [bias])
    with (
        pytest.warns(UserWarning, match=READ.format("beta_2", "Muon")),
        ScheduleCallback(policy, optimizer=[matrices, rest]).applied_to(model),
    ):
        matrices.apply([gradients[0]], [kernel])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((SGD, SGD["momentum"]), TypeError, "momentum must be part of the Policy, got a Policy of"),
        (
            (Policy(weight_decay=lrsched.constant(0.1), momentum=lrsched.constant(1.0)),),
            ValueError,
            r"momentum must be in \[0, 1\), got 1",
        ),
        ((Policy(beta_2=lrsched.constant(1.0)),), ValueError, r"beta_2 must be in \[0, 1\), got 1"),
        ((Policy(loss_scale_factor=ABOUT),), ValueError, "got loss_scale_factor .the loss is mult"),
        ((Policy(gradient_accumulation_steps=ABOUT),), ValueError, "got gradient_accumulation_ste"),
        ((dict(SGD),), TypeError, "lr must be a Schedule, got {'lr'"),
    ],
)
def test_a_policy_is_checked_when_the_callback_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        ScheduleCallback(*arguments)


def test_a_policy_is_drawn_with_one_axes_for_each():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib")
    pyplot.switch_backend("Agg")
    axes = ScheduleCallback(SGD).plot()
    assert [ax.get_ylabel() for ax in axes] == ["lr", "momentum", "weight_decay"]
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), LRS)
    pyplot.close("all")


def test_the_policy_of_a_file_is_what_moved_the_weights():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    policy = Policy.from_config(yaml.safe_load(GOLDEN.read_text(encoding="utf-8")))
    start, gradients = draw(policy.total_steps, 6)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([start[:, None]])
    model.compile(decaying(), loss=lambda wanted, found: ops.mean(found))
    path = [start]
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: path.append(watch.model.get_weights()[0][:, 0])
    )
    options = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(
        gradients, np.zeros(len(gradients)), callbacks=[ScheduleCallback(policy), watch], **options
    )
    found = recovered(path, gradients, decoupled=True)
    assert found.keys() == policy.keys()
    for name, values in policy.values().items():
        first = 1 if name == "momentum" else 0  # which has nothing to carry on at first
        np.testing.assert_allclose(found[name][first:], values[first:], rtol=1e-4)
