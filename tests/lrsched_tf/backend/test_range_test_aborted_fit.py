"""A range test as a callback, in a `fit` that an exception or Ctrl-C ends."""

import gc
import os
import random
import signal
import weakref
from contextlib import nullcontext

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, OneCycle, lr_find
from lrsched_tf.fit_guard import FitGuard
from tests.lrsched_tf.backend.training import (
    BATCH,
    SWEEP,
    Shuffled,
    arrays,
    dense,
    nothing,
    state,
    trained_with,
    untouched,
)

LATE = pytest.warns(UserWarning, match="has put everything back just now")


def left_over(model):
    ours = {"apply", "make_train_function", "train_step", "compile"}
    return ours & {*vars(model), *vars(model.optimizer)}


def interrupt(*arguments, **logs):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("act", [interrupt, lambda: 1 // 0])
def test_an_error_in_a_step_restores_everything_at_once(act, at):
    def loss(y, outputs):
        if countdown and not countdown.pop():
            act()
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    countdown = []
    keras.utils.set_random_seed(1)
    model = dense(loss=loss, run_eagerly=True)
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before, numbers = state(model), random.getstate()
    countdown += range(at + 1)
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[LRFinder()])
    assert not left_over(model)
    assert state(model) == before
    assert random.getstate() == numbers
    # What the user then does is not undone.
    model.layers[0].trainable = False
    model.layers[-1].set_weights([np.ones((4, 1)), np.zeros(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(*arrays(), verbose=0)
    assert not model.layers[0].trainable
    assert model.layers[-1].get_weights()[0].sum() == 4.0


def aborted_between_steps(model, hook="on_train_batch_end"):
    """A `fit` that Ctrl-C ends in another callback, where the range test cannot see it."""
    finder, other = LRFinder(), keras.callbacks.LambdaCallback(**{hook: interrupt})
    with pytest.raises(KeyboardInterrupt):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[finder, other])
    return finder


NEXT_USES = {
    "fit": nothing,
    "train_on_batch": lambda model: model.train_on_batch(*arrays()),
    "compile": lambda model: model.compile(model.optimizer, model.loss),
    "lr_find": lambda model: lr_find(model, *arrays(), **SWEEP),
}


@pytest.mark.parametrize("use", NEXT_USES)
def test_after_one_from_elsewhere_the_next_use_restores_and_says_so(use):
    def find(model):
        aborted_between_steps(model)
        assert left_over(model)

    expected = trained_with(NEXT_USES[use])
    with LATE as caught:
        model = trained_with(lambda model: (find(model), NEXT_USES[use](model)))
    assert not left_over(model)
    assert state(model) == state(expected)
    assert len([w for w in caught if w.category is UserWarning]) == 1


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_begin", "on_epoch_end"])
def test_restore_does_so_on_request_and_until_then_the_model_is_as_fit_left_it(hook):
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    model.reset_metrics()
    before, weights = state(model), model.get_weights()
    finder = aborted_between_steps(model, hook)
    model.evaluate(*arrays(), verbose=0)
    has_trained = any((a != b).any() for a, b in zip(weights, model.get_weights(), strict=True))
    assert has_trained == (hook != "on_epoch_begin")
    finder.restore()
    assert not left_over(model)
    finder.restore()
    model.reset_metrics()
    assert state(model) == before


def test_what_is_compiled_after_an_aborted_fit_stays():
    model, adam = dense(), keras.optimizers.Adam(0.0)
    aborted_between_steps(model)
    with LATE:
        model.compile(adam, "mae")
    model.fit(*arrays(), verbose=0)
    assert (model.optimizer, model.loss) == (adam, "mae")


def test_a_second_ctrl_c_waits_for_the_restoring():
    class Impatient(random.Random):
        """State of the user's own, whose restoring is slow enough for another Ctrl-C."""

        def setstate(self, state):
            if hasattr(self, "ready"):
                interrupt()
            super().setstate(state)

    def find(model):
        numbers = vars(model.layers[0])["numbers"] = Impatient(1)
        numbers.ready, before = True, numbers.getstate()
        count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: numbers.random())
        with pytest.raises(KeyboardInterrupt):
            model.fit(*arrays(), verbose=0, epochs=20, callbacks=[count, LRFinder(num_steps=12)])
        assert numbers.getstate() == before
        del model.layers[0].numbers

    assert state(trained_with(find)) == untouched()[1]


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow keeps it itself")
def test_a_finder_does_not_keep_the_data():
    data, model, finder = Shuffled(), dense(), LRFinder(num_steps=12)
    kept = weakref.ref(data)
    model.fit(data, verbose=0, epochs=20, callbacks=[finder])
    del data
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("callback", [LRFinder, lambda: OneCycle(0.1)])
def test_a_ctrl_c_while_a_callback_begins_leaves_nothing_for_good(callback, monkeypatch):
    install = FitGuard.install

    def interrupted(self):
        interrupt()
        install(self)

    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    monkeypatch.setattr(FitGuard, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[callback()])
    monkeypatch.setattr(FitGuard, "install", install)
    with LATE if callback is LRFinder else nullcontext():
        model.fit(*arrays(), batch_size=BATCH, verbose=0)
    assert not left_over(model)


NESTED = {
    "train_on_batch": lambda model: model.train_on_batch(*arrays()),
    "fit": lambda model: model.fit(*arrays(), verbose=0),
    "lr_find": lambda model: lr_find(model, *arrays(), **SWEEP),
    "LRFinder": lambda model: model.fit(*arrays(), verbose=0, callbacks=[LRFinder()]),
}


@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize("callback", [LRFinder, lambda: OneCycle(0.1)])
def test_what_trains_within_a_fit_ends_the_schedule_with_an_error(callback, nested):
    class Nesting(keras.callbacks.Callback):
        begun = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.begun += 1

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                with LATE if callback is LRFinder else nullcontext():
                    NESTED[nested](self.model)

    model, other = dense(), Nesting()
    with pytest.raises(RuntimeError, match="fit or train_on_batch of the same model"):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[callback(), other])
    assert other.begun == 2, "no batch is trained without the schedule"
    assert not left_over(model)
    model.fit(*arrays(), verbose=0)


def test_a_schedule_applied_to_a_loop_is_not_disturbed_by_a_range_test():
    def trained(between):
        keras.utils.set_random_seed(1)
        model = dense()
        with OneCycle(0.1, total_steps=8).applied_to(model):
            for step in range(8):
                model.train_on_batch(*arrays())
                if step == 3:
                    between(model)
        return state(model), float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def refused(model):
        with pytest.raises(ValueError, match="must hold one schedule for the optimizer"):
            lr_find(model, *arrays(), **SWEEP)

    assert trained(refused) == trained(nothing)


def test_a_guard_that_something_else_put_there_again_does_not_call_itself():
    model = dense()
    vars(model)["make_train_function"] = FitGuard(model, lambda: None, lambda: None)
    model.fit(*arrays(), verbose=0)
    assert not left_over(model)


@pytest.mark.parametrize("second", [LRFinder, lambda: OneCycle(0.1)])
def test_two_schedules_in_one_fit_leave_nothing(second):
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    model.reset_metrics()
    before = state(model)
    with pytest.raises(ValueError, match="must hold one schedule for the optimizer"):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[LRFinder(), second()])
    assert not left_over(model)
    model.reset_metrics()
    assert state(model) == before
