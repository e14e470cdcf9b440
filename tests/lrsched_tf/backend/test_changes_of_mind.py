"""A running schedule cools down, or takes longer; the weights show it from that step on."""

import warnings

import keras
import numpy as np
import pytest

import lrsched
from lrsched import Policy
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend.conftest import unsized
from tests.lrsched_tf.backend.custom_steps import compiled_step, gradients_of
from tests.lrsched_tf.backend.scheduling import (
    BACKEND_MODES,
    MAX_LR,
    MODES,
    STEPS,
    assert_ordinary,
    sgd,
)

BACKEND = keras.backend.backend()
POLICY = Policy(lr=lrsched.one_cycle(MAX_LR, STEPS), momentum=lrsched.one_cycle_momentum(STEPS))


class At(keras.callbacks.Callback):
    """Acts once, when so many batches of a fit are done."""

    def __init__(self, batches, act):
        super().__init__()
        self.batches, self.act, self.seen = batches, act, 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.seen == self.batches:
            self.act()
        self.seen += 1


class AtEnd(At):
    """The same at the end of a batch."""

    on_train_batch_begin = keras.callbacks.Callback.on_train_batch_begin

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.batches:
            self.act()


@pytest.fixture
def follow(check_weights):
    """Asserts that the weights are those of an lr and a momentum by a policy."""

    def check(model, policy):
        values = policy.values(STEPS)
        check_weights(model, lrs=values["lr"], momenta=values["momentum"])

    return check


@pytest.mark.parametrize("hook", [At, AtEnd])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "behind"])
def test_a_cooldown_in_the_middle_of_an_epoch(hook, is_before, problem, follow):
    model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
    other = hook(20, lambda: callback.cooldown(44))
    history = problem.fit(model, *([other, callback] if is_before else [callback, other])).history
    changed = POLICY.cooldown(20, 44)
    assert callback.policy == changed
    follow(model, changed)
    for others in (POLICY, POLICY.cooldown(21, 43), POLICY.cooldown(19, 44)):
        with pytest.raises(AssertionError, match="weights differ"):
            follow(model, others)
    assert history["learning_rate"] == [changed["lr"](31), changed["lr"](63)]
    np.testing.assert_array_equal(callback.history["learning_rate"], changed["lr"].values())
    assert abs(changed["lr"](20) - POLICY["lr"](20)) <= 1e-12
    assert_ordinary(model)


def test_a_cooldown_on_two_devices(two_devices, problem, follow):
    with two_devices:
        model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
        problem.fit(model, callback, At(20, lambda: callback.cooldown(44)))
    follow(model, POLICY.cooldown(20, 44))


@pytest.mark.parametrize("mode", BACKEND_MODES)
def test_an_extension_at_the_start_of_an_epoch(mode, problem, follow):
    model, callback = problem.model(sgd(), **MODES[mode]), ScheduleCallback(POLICY.truncated(40))
    longer = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: callback.extend(STEPS) if epoch else None
    )
    with pytest.warns(UserWarning, match="ends at step 40"):
        problem.fit(model, callback, longer)
    changed = POLICY.truncated(40).extended(STEPS, 32)
    assert callback.policy == changed
    follow(model, changed)


class Traced(keras.optimizers.SGD):
    """SGD that counts how often its update is traced, or run by Python."""

    def __init__(self):
        super().__init__(0.01, momentum=0.9)
        self.count = 0

    def apply(self, *arguments):
        self.count += 1
        return super().apply(*arguments)


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_change_costs_one_trace(is_changed, problem):
    """Of the steps that are compiled; an eager one is run by Python every time."""
    optimizer, callback = Traced(), ScheduleCallback(POLICY)
    model = problem.model(optimizer)
    optimizer.build(model.trainable_variables)
    problem.fit(model, callback, At(20, lambda: is_changed and callback.cooldown(44)))
    assert optimizer.count == (STEPS if BACKEND == "torch" else 1 + is_changed)


@pytest.mark.parametrize("how", ["initial_epoch", "restart=False"])
def test_the_policy_of_before_resumes_in_another_callback(how, problem, follow):
    model, first = problem.model(sgd()), OneCycle(MAX_LR, STEPS, restart=False)
    problem.fit(model, first, At(20, lambda: first.cooldown(44)), epochs=1)
    saved = Policy.from_json(first.policy.to_json())
    if how == "initial_epoch":
        problem.fit(model, ScheduleCallback(saved), initial_epoch=1)
    else:
        problem.fit(model, ScheduleCallback(saved, restart=False), epochs=1)
    follow(model, POLICY.cooldown(20, 44))


def test_one_of_a_whole_fit_and_one_without_an_end(problem, follow, check_weights):
    model, whole = problem.model(sgd()), OneCycle(MAX_LR)
    problem.fit(model, whole, At(20, lambda: whole.cooldown(44, "linear", 0.001)))
    follow(model, POLICY.cooldown(20, 44, "linear", 0.001))
    model, endless = problem.model(sgd()), CyclicalLR(0.001, 0.03, 8, momentum=None)
    problem.fit(model, endless, At(20, lambda: endless.cooldown(44)))
    cooled = lrsched.cyclical(0.001, 0.03, 8).cooldown(20, 44)
    check_weights(model, lrs=cooled.values(), momenta=np.full(STEPS, 0.9))


def test_it_holds_for_the_next_fit_of_the_same_callback(problem, follow):
    callback = OneCycle(MAX_LR)
    problem.fit(problem.model(sgd()), callback, At(20, lambda: callback.cooldown(44)))
    model = problem.model(sgd())
    problem.fit(model, callback)
    follow(model, POLICY.cooldown(20, 44))


def test_other_names_go_down_on_demand(problem, follow):
    model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
    names = ["momentum", "lr"]
    problem.fit(model, callback, At(20, lambda: callback.cooldown(44, "linear", names=names)))
    follow(model, POLICY.cooldown(20, 44, "linear", names=names))


def test_updates_are_counted_where_gradients_accumulate(problem, check_weights):
    model = problem.model(sgd(gradient_accumulation_steps=2))
    policy, changed = POLICY.truncated(32), POLICY.truncated(32).cooldown(10, 22)
    callback = ScheduleCallback(policy)
    problem.fit(model, callback, At(20, lambda: callback.cooldown(22)))
    assert callback.policy == changed
    values = changed.values()
    check_weights(model, lrs=values["lr"], momenta=values["momentum"], accumulate=2)


class TestInALoop:
    def test_over_train_on_batch(self, problem, follow):
        model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
        with callback.applied_to(model):
            for step, batch in enumerate(problem.batches()):
                if step == 20:
                    callback.cooldown(44)
                model.train_on_batch(*batch)
        follow(model, POLICY.cooldown(20, 44))
        assert_ordinary(model)

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="about tf.function")
    @pytest.mark.parametrize("is_new", [True, False])
    def test_a_tf_function_of_before_is_warned_of_at_once(self, is_new, problem, follow):
        model, callback = problem.model(sgd()), ScheduleCallback(POLICY)

        def loop(said):
            step = compiled_step(model)
            with callback.applied_to(model):
                for number, batch in enumerate(problem.batches()):
                    if number == 20:
                        callback.cooldown(44)
                        said += [str(w.message) for w in warned]
                        step = compiled_step(model) if is_new else step
                    step(*batch)

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            loop(said := [])
        assert "not in steps that tf.function has compiled before" in said[-1]
        stale = [str(w.message) for w in warned if "of 64 updates" in str(w.message)]
        follow(model, POLICY.cooldown(20, 44) if is_new else POLICY)
        assert len(stale) == (not is_new)
        assert is_new or "44 of 64 updates were made by a step" in stale[0]

    @pytest.mark.skipif(BACKEND != "jax", reason="about jax.jit")
    def test_jax_traces_the_steps_of_a_user_anew(self, problem, follow):
        import jax

        model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)

        @jax.jit
        def step(weights, state, gradients):
            return optimizer.stateless_apply(state, gradients, weights)

        def values():
            variables = model.trainable_variables, optimizer.variables
            return [[v.value for v in each] for each in variables]

        step(*values(), values()[0])  # with the user's own lr, in a trace that JAX keeps
        with callback.applied_to(optimizer):
            for number, (x, y) in enumerate(problem.batches()):
                if number == 20:
                    callback.cooldown(44)
                new = step(*values(), gradients_of(model, x, y))
                variables = *model.trainable_variables, *optimizer.variables
                for variable, value in zip(variables, [*new[0], *new[1]], strict=True):
                    variable.assign(value)
        follow(model, POLICY.cooldown(20, 44))

    @pytest.mark.skipif(BACKEND != "jax", reason="about stateless updates")
    def test_an_optimizer_that_does_not_count_cannot_tell_the_step(self, problem):
        model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)
        weights, state = (
            [v.value for v in each] for each in (model.trainable_variables, optimizer.variables)
        )
        with callback.applied_to(optimizer):
            optimizer.stateless_apply(state, gradients_of(model, *problem.batches()[0]), weights)
            with pytest.raises(RuntimeError, match="must be told the step by the optimizer"):
                callback.cooldown(44)
            optimizer.apply(weights)


REFUSED = [
    (lambda c: c.cooldown(45), ValueError, r"at \+ steps must be <= total_steps \(64\), got 65"),
    (lambda c: c.cooldown(1), ValueError, "steps must be an int >= 2, got 1"),
    (lambda c: c.cooldown(10.0), TypeError, "steps must be an int"),
    (lambda c: c.cooldown(10, "sine"), ValueError, "shape must be one of 'sqrt', 'linear'"),
    (lambda c: c.cooldown(10, "exp"), ValueError, "to must be > 0, got 0"),
    (lambda c: c.cooldown(10, names=["beta_2"]), ValueError, "names must be of this policy's lr"),
    (lambda c: c.extend(40), ValueError, r"the present total_steps must be <= total_steps \(40\)"),
    (lambda c: c.extend(80.5), TypeError, "total_steps must be an int"),
]


def test_what_cannot_be_changes_nothing(problem, follow):
    model, callback = problem.model(sgd()), ScheduleCallback(POLICY)
    tried = []

    def attempt():
        for change, error, message in REFUSED:
            with pytest.raises(error, match=message):
                change(callback)
            tried.append(message)

    problem.fit(model, callback, At(20, attempt))
    assert len(tried) == len(REFUSED)
    assert callback.policy == POLICY
    follow(model, POLICY)


def test_a_change_outside_of_a_run_is_refused(problem):
    callback = OneCycle(MAX_LR)
    with pytest.raises(AttributeError, match="must know the length of fit to have a schedule"):
        _ = callback.policy
    outside = pytest.raises(RuntimeError, match=r"cooldown must be called in a run, from its first")
    with outside:
        callback.cooldown(10)
    problem.fit(problem.model(sgd()), callback)
    with outside:
        callback.cooldown(10)
    assert callback.policy == POLICY


def test_a_change_behind_the_end_is_refused(problem):
    callback = ScheduleCallback(POLICY.truncated(20))
    late = At(20, lambda: callback.extend(100))
    with (
        pytest.warns(UserWarning, match="ends at step 20"),
        pytest.raises(ValueError, match="extend must be called before the schedules end, got step"),
    ):
        problem.fit(problem.model(sgd()), callback, late)


def test_a_cooldown_longer_than_the_fit_is_refused(problem):
    callback = ScheduleCallback(Policy(lr=lrsched.constant(0.01)))
    late = At(20, lambda: callback.cooldown(45))
    message = r"steps must be <= what fit has left \(44\), got 45 \(fewer steps\)"
    with pytest.raises(ValueError, match=message):
        problem.fit(problem.model(sgd()), callback, late)


def test_one_in_the_epoch_that_learns_its_length_is_refused(problem):
    callback = OneCycle(MAX_LR, steps_per_epoch="learn")
    early = At(20, lambda: callback.cooldown(10))
    model, data = problem.model(sgd()), unsized(problem)
    with pytest.raises(RuntimeError, match="when the length of an epoch is known"):
        model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[callback, early])


def test_an_exception_after_a_change_leaves_nothing(problem):
    model, callback = problem.model(sgd()), ScheduleCallback(POLICY)

    def fail(*arguments, **options):
        raise RuntimeError("of the user's")

    def change():
        callback.cooldown(44)
        model.compute_loss = fail

    with pytest.raises(RuntimeError, match="of the user's"):
        problem.fit(model, callback, At(20, change))
    del model.compute_loss
    assert_ordinary(model)
