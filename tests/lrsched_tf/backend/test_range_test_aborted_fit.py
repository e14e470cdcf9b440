"""A range test as a callback, in a `fit` that an exception or Ctrl-C ends."""

import random
from contextlib import nullcontext

import keras
import numpy as np
import pytest

from lrsched_tf import LRFinder, OneCycle, lr_find
from tests.lrsched_tf.backend.training import (
    BATCH,
    SWEEP,
    arrays,
    dense,
    interrupt,
    nothing,
    state,
    trained,
)

LATE = pytest.warns(UserWarning, match="has put everything back just now")


def left_over(model):
    ours = {"apply", "make_train_function", "train_step", "compile"}
    return ours & {*vars(model), *vars(model.optimizer)}


@pytest.mark.parametrize(("act", "at"), [(interrupt, 0), (lambda: 1 // 0, 2)])
def test_an_error_in_a_step_restores_everything_at_once(act, at):
    def loss(y, outputs):
        if countdown and not countdown.pop():
            act()
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    countdown = []
    model = trained(loss=loss, run_eagerly=True)
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
    "fit": lambda model: model.fit(*arrays(), batch_size=BATCH, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(*arrays()),
    "lr_find": lambda model: lr_find(model, *arrays(), **SWEEP),
}


@pytest.mark.parametrize("use", NEXT_USES)
def test_after_one_from_elsewhere_the_next_use_restores_and_says_so(use):
    expected = trained()
    NEXT_USES[use](expected)
    model = trained()
    aborted_between_steps(model)
    assert left_over(model)
    with LATE as caught:
        NEXT_USES[use](model)
    assert not left_over(model)
    assert state(model) == state(expected)
    assert len([w for w in caught if w.category is UserWarning]) == 1


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_begin"])
def test_restore_does_so_on_request_and_until_then_the_model_is_as_fit_left_it(hook):
    model = trained()
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


NESTED = {
    "train_on_batch": lambda model: model.train_on_batch(*arrays()),
    "fit": lambda model: model.fit(*arrays(), verbose=0),
    "lr_find": lambda model: lr_find(model, *arrays(), **SWEEP),
    "LRFinder": lambda model: model.fit(*arrays(), verbose=0, callbacks=[LRFinder()]),
}


@pytest.mark.filterwarnings("ignore:LRFinder. fit ended before the sweep")
@pytest.mark.parametrize(
    ("callback", "nested"),
    [
        (LRFinder, "train_on_batch"),
        (LRFinder, "LRFinder"),
        (OneCycle, "train_on_batch"),
        (OneCycle, "fit"),
        (OneCycle, "lr_find"),
    ],
)
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
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[callback(0.1), other])
    assert other.begun == 2, "no batch is trained without the schedule"
    assert not left_over(model)


def test_a_schedule_applied_to_a_loop_goes_on_after_others_that_are_refused_in_it():
    def looped(between):
        model = trained()
        with OneCycle(0.1, total_steps=4).applied_to(model):
            for step in range(4):
                model.train_on_batch(*arrays())
                if step == 1:
                    between(model)
        return state(model), float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def refused(model):
        for use in (NEXT_USES["lr_find"], lambda m: m.fit(*arrays(), callbacks=[OneCycle(0.1)])):
            with pytest.raises(ValueError, match="must hold one schedule for the optimizer"):
                use(model)

    assert looped(refused) == looped(nothing)
