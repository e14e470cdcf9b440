"""A hyper-parameter that the table of optimizers learns of by one row."""

import keras
import numpy as np
import pytest
from keras import ops

import lrsched
from lrsched_tf import ScheduleCallback
from lrsched_tf.compiled.hyperparameters import HYPERPARAMETERS, HyperParameter
from tests.lrsched_tf.backend.scheduling import BACKEND_MODES, LRS, MAX_LR, MODES, STEPS

SHIFT = lrsched.linear(0.1, 1.5, STEPS)
SHIFTS = SHIFT.values()


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
def test_one_row_schedules_a_made_up_hyperparameter(mode, problem, check_weights):
    model = problem.model(Shifted(), **MODES[mode])
    callback = Schedules(lr=lrsched.one_cycle(MAX_LR, STEPS), shift=SHIFT)
    history = problem.fit(model, callback).history
    check_weights(model, shifted, LRS, SHIFTS)
    # The comparison sees a number that stays, and one that comes a step late.
    for others in (np.full(STEPS, 0.25), np.roll(SHIFTS, 1)):
        with pytest.raises(AssertionError, match="weights differ"):
            check_weights(model, shifted, LRS, others)
    assert history["moved_by"] == [SHIFTS[31], SHIFTS[63]]
    np.testing.assert_array_equal(callback.history["moved_by"], SHIFTS)
    assert type(model.optimizer.shift) is float
    assert model.optimizer.shift == 0.25


def test_it_may_be_scheduled_alone(problem, check_weights):
    model = problem.model(Shifted())
    problem.fit(model, Schedules(shift=SHIFT))
    check_weights(model, shifted, np.full(STEPS, 0.01), SHIFTS)
