"""A range test as a callback, in a `fit` that an exception or Ctrl-C breaks off."""

import contextlib
import gc
import os
import signal
import weakref

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
    untouched,
)

pytestmark = pytest.mark.filterwarnings("ignore:The on_epoch_end of the data has been called")


def breaking_in_the_data(model):
    with pytest.raises(KeyboardInterrupt):
        model.fit(Shuffled(interrupt=True), verbose=0, callbacks=[LRFinder()])


def breaking_in(hook):
    def breaking(model):
        def interrupt(*arguments, **logs):
            os.kill(os.getpid(), signal.SIGINT)

        other = keras.callbacks.LambdaCallback(**{hook: interrupt})
        with pytest.raises(KeyboardInterrupt):
            model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[LRFinder(), other])

    return breaking


class Breaking(keras.Sequential):
    """Breaks off a `fit` where nothing can be watched, but on JAX."""

    errors = ()

    def _get_metrics_result_or_logs(self, logs):
        errors, Breaking.errors = Breaking.errors, ()
        for error in errors:
            raise error
        return super()._get_metrics_result_or_logs(logs)


def breaking_between_callbacks(model, finder):
    Breaking.errors = (KeyboardInterrupt(),)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[finder])
    assert "apply" in vars(model.optimizer) or keras.backend.backend() == "jax"


@pytest.mark.parametrize(
    "interrupt",
    [breaking_in_the_data, breaking_in("on_train_batch_end"), breaking_in("on_epoch_end")],
)
def test_it_is_put_back_at_once(interrupt):
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before = state(model)
    interrupt(model)
    left = {*vars(model), *vars(model.optimizer)}
    assert not {"apply", "make_train_function", "train_step", "evaluate"} & left
    assert state(model) == before
    # What the user then does is not undone.
    model.layers[0].trainable = False
    model.layers[1].rate = 0.1
    model.layers[-1].set_weights([np.ones((4, 1)), np.zeros(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(*arrays(), verbose=0)
    assert not model.layers[0].trainable
    assert model.layers[1].rate == 0.1
    assert model.layers[-1].get_weights()[0].sum() == 4.0


def trained_with(find):
    """A model that was trained, with `find(model)` in between."""
    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    find(model)
    model.fit(*arrays(), batch_size=BATCH, epochs=2, verbose=0)
    return model


def test_an_interrupted_callback_is_put_back_by_the_next_fit():
    model = trained_with(breaking_in_the_data)
    assert state(model) == untouched()[1]
    left = {*vars(model), *vars(model.optimizer)}
    assert not {"apply", "make_train_function", "train_step"} & left


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.evaluate(*arrays(), verbose=0),
        lambda model: model.predict(arrays()[0], verbose=0),
        lambda model: model.get_weights(),
        lambda model: model.compile(model.optimizer, model.loss),
        lambda model: model.optimizer.learning_rate,
        lambda model: lr_find(model, *arrays(), **SWEEP),
    ],
)
def test_an_interrupted_callback_is_put_back_before_any_other_use(use):
    def trained(between):
        keras.utils.set_random_seed(1)
        model = dense(Breaking)
        model.fit(*arrays(), batch_size=BATCH, verbose=0)
        between(model)
        use(model)
        return state(model)

    def interrupted(model):
        breaking_between_callbacks(model, LRFinder())

    assert trained(interrupted) == trained(nothing)


def test_a_compile_or_a_load_after_an_interrupted_callback_stays(tmp_path):
    model = dense()
    zeros = [np.zeros_like(weight) for weight in model.get_weights()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(Shuffled(interrupt=True), verbose=0, callbacks=[LRFinder()])
    model.set_weights(zeros)
    adam = keras.optimizers.Adam(0.0)
    model.compile(adam, "mae")
    model.fit(*arrays(), verbose=0)
    assert (model.optimizer, model.loss) == (adam, "mae")
    assert not any(weight.any() for weight in model.get_weights())


def test_a_second_ctrl_c_waits_for_the_restoring():
    class Impatient(dict):
        """State of the user's own, whose restoring is slow enough for another Ctrl-C."""

        def __delitem__(self, key):
            os.kill(os.getpid(), signal.SIGINT)
            super().__delitem__(key)

    def find(model):
        notes = vars(model.layers[0])["notes"] = Impatient()
        count = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: notes.setdefault(epoch)
        )
        with pytest.raises(KeyboardInterrupt):
            model.fit(*arrays(), verbose=0, epochs=20, callbacks=[count, LRFinder(num_steps=12)])
        assert not notes

    assert state(trained_with(find)) == untouched()[1]


def test_a_compiled_loop_is_told_to_put_it_back_first():
    model, finder = dense(Breaking), LRFinder()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    before = state(model)
    breaking_between_callbacks(model, finder)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        weights = model.trainable_variables
        step = tensorflow.function(lambda: model.optimizer.apply(list(weights), weights))
        with pytest.raises(RuntimeError, match=r"call finder.restore\(\) first"):
            step()
    finder.restore()
    assert state(model) == before


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow keeps it itself")
@pytest.mark.parametrize("interrupt", [True, False])
def test_a_finder_does_not_keep_the_data(interrupt):
    data, model, finder = Shuffled(interrupt), dense(), LRFinder(num_steps=12)
    kept = weakref.ref(data)
    with contextlib.suppress(KeyboardInterrupt):
        model.fit(data, verbose=0, epochs=20, callbacks=[finder])
    del data
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("callback", [LRFinder, lambda: OneCycle(0.1)])
def test_a_ctrl_c_while_a_callback_begins_leaves_nothing_for_good(callback, monkeypatch):
    install = FitGuard.install

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        install(self, *arguments)

    def begin(model):
        monkeypatch.setattr(FitGuard, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*arrays(), batch_size=BATCH, verbose=0, callbacks=[callback()])
        monkeypatch.setattr(FitGuard, "install", install)
        model.get_weights()

    keras.utils.set_random_seed(1)
    model = dense()
    model.fit(*arrays(), batch_size=BATCH, verbose=0)
    begin(model)
    model.fit(*arrays(), batch_size=BATCH, epochs=2, verbose=0)
    assert not {"apply", "make_train_function", "train_step"} & {
        *vars(model),
        *vars(model.optimizer),
    }


def finder_in_a_fit(model):
    model.fit(*arrays(), verbose=0, callbacks=[LRFinder()])


def find(model):
    lr_find(model, *arrays(), **SWEEP)


@pytest.mark.parametrize("find", [find, finder_in_a_fit])
def test_a_schedule_at_work_is_not_disturbed_by_a_range_test_that_it_rules_out(find):
    def trained(between):
        keras.utils.set_random_seed(1)
        model = dense()
        other = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: between(model) if epoch == 1 else None
        )
        history = model.fit(
            *arrays(), batch_size=BATCH, epochs=3, verbose=0, callbacks=[OneCycle(0.1), other]
        ).history
        model.fit(*arrays(), batch_size=BATCH, verbose=0)
        return history["loss"], history["learning_rate"], state(model)

    def refused(model):
        with pytest.raises(ValueError, match="must hold one schedule for the optimizer"):
            find(model)

    assert trained(refused) == trained(nothing)


def test_a_schedule_applied_to_a_loop_is_not_disturbed_either():
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
            find(model)

    assert trained(refused) == trained(nothing)


def test_a_guard_that_something_else_put_back_does_not_call_itself():
    model = dense()
    vars(model)["make_train_function"] = FitGuard(model, lambda: None, lambda: None)
    model.fit(*arrays(), verbose=0)
    assert "make_train_function" not in vars(model)
