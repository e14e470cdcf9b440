"""A cycle that `fit` ends before its end is said once, with both numbers."""

import warnings

import keras
import pytest

import lrsched
from lrsched_tf import CyclicalLR, OneCycle, ScheduleCallback
from tests.lrsched_tf.backend.conftest import BATCH
from tests.lrsched_tf.backend.scheduling import MAX_LR, sgd
from tests.lrsched_tf.backend.training import need_float16

IN_SAMPLES = 64 * BATCH


def said(problem, callback, *others, model=None, **options):
    """What a fit warns of, with the file that it points at."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problem.fit(model or problem.model(sgd()), callback, *others, **options)
    return [(str(w.message), w.filename) for w in caught if "has ended at step" in str(w.message)]


@pytest.mark.parametrize(
    ("callback", "what", "total"),
    [
        (OneCycle(MAX_LR, total_steps=IN_SAMPLES), "lr and momentum", IN_SAMPLES),
        (OneCycle(MAX_LR, 65, momentum=None), "lr", 65),
        (ScheduleCallback(momentum=lrsched.one_cycle_momentum(100)), "momentum", 100),
    ],
)
def test_a_cycle_longer_than_the_fit_is_said_once(callback, what, total, problem):
    (message, file), *more = said(problem, callback)
    assert f"the schedule of {what} has {total} steps, and the training has ended at step 64" in (
        message
    )
    assert "total_steps counts updates, not samples" in message
    assert file.endswith("conftest.py")
    assert not more


@pytest.mark.parametrize("length", [{"step_size": 33}, {"step_size_epochs": 1.05}])
def test_an_endless_one_is_said_if_its_first_cycle_does_not_end(length, problem):
    ((message, _),) = said(problem, CyclicalLR(1e-3, MAX_LR, **length))
    cycle = 2 * length.get("step_size", 34)
    assert f"of lr and momentum has its first cycle until step {cycle}, and the training" in message
    assert "step_size counts updates, not samples" in message


def test_data_that_runs_out_is_said(problem):
    callback = OneCycle(MAX_LR)
    model = problem.model(sgd())
    batches = (batch for batch in problem.batches()[:40])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(batches, epochs=2, steps_per_epoch=32, verbose=0, callbacks=[callback])
    messages = [str(w.message) for w in caught if "has ended at step" in str(w.message)]
    assert len(messages) == 1
    assert (
        "has 64 steps, and the training has ended at step 40 of it (the data ran out"
        in (messages[0])
    )


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def test_nothing_is_said_where_it_is_on_purpose(problem):
    assert not said(problem, OneCycle(MAX_LR))
    assert not said(problem, OneCycle(MAX_LR, total_steps=64))
    assert not said(problem, OneCycle(MAX_LR, total_steps=IN_SAMPLES), Stop())
    assert not said(problem, OneCycle(MAX_LR), Stop())
    assert not said(problem, CyclicalLR(1e-3, MAX_LR, step_size=32))
    assert not said(problem, CyclicalLR(1e-3, MAX_LR, step_size=1000, restart=False))
    assert not said(problem, ScheduleCallback(lrsched.constant(MAX_LR)))
    assert not said(problem, ScheduleCallback(lrsched.step_decay(MAX_LR, step_size=1000)))


def test_nothing_is_said_of_a_cycle_that_goes_on_in_the_next_fit(problem):
    callback, model = OneCycle(MAX_LR, total_steps=64, restart=False), problem.model(sgd())
    assert not said(problem, callback, model=model, epochs=1)
    assert not said(problem, callback, model=model, epochs=1)
    callback = OneCycle(MAX_LR, total_steps=64)
    assert not said(problem, callback, epochs=2, initial_epoch=1)


def test_nothing_is_said_where_an_exception_ends_the_fit(problem):
    def fail(epoch, logs):
        raise KeyboardInterrupt

    broken = keras.callbacks.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(KeyboardInterrupt):  # and warnings are errors
        problem.fit(problem.model(sgd()), OneCycle(MAX_LR, total_steps=IN_SAMPLES), broken)


def test_updates_that_loss_scaling_skips_are_not_missed(problem):
    need_float16()
    optimizer = keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=2.0**127)
    assert not said(problem, OneCycle(MAX_LR), model=problem.model(optimizer))
