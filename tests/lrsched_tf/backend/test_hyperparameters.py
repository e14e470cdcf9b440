"""A hyper-parameter that the table of optimizers learns of by one row."""

import keras
import numpy as np
import pytest
from keras import ops

import lrsched
from lrsched_tf import ScheduleCallback
from lrsched_tf.compiled.optimizers import HYPERPARAMETERS, HyperParameter
from tests.lrsched_tf.backend.test_weights import BACKEND_MODES, MODES

STEPS = 64
LRS = lrsched.one_cycle(0.03, STEPS)
SHIFTS = lrsched.linear(0.1, 1.5, STEPS)


class Shifted(keras.optimizers.SGD):
    """SGD on gradients plus a number, which it reads as Adam reads its `epsilon`."""

    def __init__(self, learning_rate=0.01, shift=0.25, **options):
        super().__init__(learning_rate, **options)
        self.shift = shift

    def update_step(self, gradient, variable, learning_rate):
        lr = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, ops.multiply(lr, ops.add(gradient, self.shift)))


class Schedules(ScheduleCallback):
    """Schedules of hyper-parameters by name."""

    def __init__(self, **schedules):
        self._configure(
            schedules, restart=True, count="updates", steps_per_epoch=None, log_batches=False
        )


@pytest.fixture(autouse=True)
def row(monkeypatch):
    monkeypatch.setitem(HYPERPARAMETERS, "shift", HyperParameter("shift", "moved_by", ("shift",)))


def shifted(w, g, lr, shift, state, t):
    return w - lr * (g + shift)


@pytest.mark.parametrize("mode", BACKEND_MODES)
def test_one_row_schedules_a_made_up_hyperparameter(mode, problem, same_weights):
    model = problem.model(Shifted(), **MODES[mode])
    callback = Schedules(lr=LRS, shift=SHIFTS)
    history = problem.fit(model, callback).history
    lrs, shifts = LRS.values(), SHIFTS.values()
    same_weights(model, problem.expected(shifted, lrs, shifts))
    # The comparison sees a number that stays, and one that comes a step late.
    for others in (np.full(STEPS, 0.25), np.roll(shifts, 1)):
        with pytest.raises(AssertionError, match="weights differ"):
            same_weights(model, problem.expected(shifted, lrs, others))
    assert history["moved_by"] == [shifts[31], shifts[63]]
    np.testing.assert_array_equal(callback.history["moved_by"], shifts)
    assert type(model.optimizer.shift) is float
    assert model.optimizer.shift == 0.25


def test_it_may_be_scheduled_alone(problem, same_weights):
    model = problem.model(Shifted())
    problem.fit(model, Schedules(shift=SHIFTS))
    same_weights(model, problem.expected(shifted, np.full(STEPS, 0.01), SHIFTS.values()))


def test_an_optimizer_without_it_is_an_error(problem):
    model = problem.model(keras.optimizers.SGD(0.01))
    with pytest.raises(
        ValueError, match=r"a number for shift to schedule, got SGD \(pass shift=None"
    ):
        problem.fit(model, Schedules(shift=SHIFTS))
    assert "apply" not in vars(model.optimizer)
