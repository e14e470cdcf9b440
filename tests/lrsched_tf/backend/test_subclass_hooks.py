"""Hooks that a subclass of the user's overrides are called, on every backend."""

import keras
import pytest

from lrsched_tf import CyclicalLR, LRFinder, OneCycle
from tests.lrsched_tf.backend.conftest import unsized
from tests.lrsched_tf.backend.scheduling import MAX_LR, sgd

HOOKS = ["on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"]


def counting(kind, hook, seen):
    def count(self, batch, logs=None):
        seen.append((batch, logs))

    return type("Counting", (kind,), {hook: count})


@pytest.mark.parametrize("log_batches", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_batches_are_called_and_the_schedule_is_at_work(
    hook, log_batches, problem, check_weights
):
    seen = []
    callback = counting(OneCycle, hook, seen)(MAX_LR, log_batches=log_batches)
    model = problem.model(sgd())
    problem.fit(model, callback)
    assert [batch for batch, _ in seen] == [*range(32)] * 2
    check_weights(model)
    if log_batches and hook.endswith("end"):
        assert [logs["learning_rate"] for _, logs in seen] == [
            callback.lr(step) for step in range(64)
        ]


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_the_count_goes_on_at_the_end_of_data_of_unknown_length(problem, check_weights):
    seen = []
    kind = counting(OneCycle, "on_train_batch_end", seen)
    model = problem.model(sgd())
    data = unsized(problem)
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[kind(MAX_LR, total_steps=64)])
    assert len(seen) == 64
    check_weights(model)


def test_hooks_of_a_range_test_are_called(problem):
    class Watching(LRFinder):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.batches += 1

    seen = []
    kind = counting(counting(Watching, "on_batch_begin", seen), "on_batch_end", seen)
    finder = kind(num_steps=20, stop_factor=None)
    problem.fit(problem.model(sgd()), finder)
    assert finder.batches == len(finder.curve) == len(seen) / 2 == 20


@pytest.mark.parametrize(
    ("kind", "arguments", "hook"),
    [
        (OneCycle, {"max_lr": MAX_LR}, "on_train_begin"),
        (OneCycle, {"max_lr": MAX_LR}, "on_epoch_begin"),
        (OneCycle, {"max_lr": MAX_LR}, "on_epoch_end"),
        (OneCycle, {"max_lr": MAX_LR}, "on_train_end"),
        (LRFinder, {"num_steps": 20}, "on_train_begin"),
        (LRFinder, {"num_steps": 20}, "on_train_batch_end"),
    ],
)
def test_a_hook_without_which_nothing_would_work_is_asked_for(kind, arguments, hook, problem):
    silent = type("Silent", (kind,), {hook: lambda self, *arguments, **named: None})
    with pytest.raises(TypeError, match=rf"{hook} of Silent must call super\(\)\.{hook}"):
        problem.fit(problem.model(sgd()), silent(**arguments))


def test_a_hook_that_calls_ours_is_left_alone(problem, check_weights):
    class Loud(CyclicalLR):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            assert logs["learning_rate"] == pytest.approx(self.lr(31 + 32 * epoch))
            self.epochs += 1

    callback = Loud(1e-3, MAX_LR, step_size=16)
    problem.fit(problem.model(sgd()), callback)
    assert callback.epochs == 2
    assert isinstance(callback, keras.callbacks.Callback)
