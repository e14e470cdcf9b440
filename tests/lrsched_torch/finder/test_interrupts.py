"""Ctrl-C and errors, wherever they come, leave nothing half done."""

import gc
import os
import signal
import sys
import threading
import weakref

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import range_test
from tests.lrsched_torch.helpers import (
    MSE,
    Run,
    data,
    find,
    left,
    sgd,
    training_after,
)


class Interrupting:
    """A criterion that raises, or gets a real Ctrl-C, in the middle of the test."""

    def __init__(self, how):
        self.how, self.calls = how, 0

    def __call__(self, output, target):
        self.calls += 1
        if self.calls == 17:
            if self.how == "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError("in the loss")
        return nn.functional.cross_entropy(output, target)


@pytest.mark.parametrize(
    ("how", "error"), [("sigint", KeyboardInterrupt), ("raise", ZeroDivisionError)]
)
def test_an_interrupted_test_leaves_no_trace(how, error):
    def find(run):
        real, run.criterion = run.criterion, Interrupting(how)
        with pytest.raises(error):
            run.find()
        run.criterion = real

    assert training_after(find) == training_after(lambda run: None)


class Refusing:
    """Does not compute what the sweep has made of the model, which diverges at some time."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, outputs, target):
        loss = nn.functional.cross_entropy(outputs, target)
        if not loss.detach() < self.limit:
            raise FloatingPointError("the loss is too high")
        return loss


def at_once(run):
    return run.find(end_lr=1e4, num_steps=60)


def in_a_loop(run):
    with range_test(run.model, run.optimizer, 1e-5, 1e4, 60) as test:
        for x, y in test.batches(run.loader):
            run.optimizer.zero_grad()
            loss = run.criterion(run.model(x), y)
            loss.backward()
            run.optimizer.step()
            test.record(loss)
    return test.curve


@pytest.mark.parametrize("search", [at_once, in_a_loop])
def test_an_error_of_an_update_after_the_end_ends_nothing_else(search):
    plain = search(Run())
    assert plain.stop_reason == "diverged"
    curves = []

    def refusing(run):
        # any loss after the one that ended the sweep
        real, run.criterion = run.criterion, Refusing(plain.loss[-1] * 1.0001)
        curves.append(search(run))
        run.criterion = real

    assert training_after(refusing, epochs_before=0) == training_after(
        lambda run: None, epochs_before=0
    )
    (curve,) = curves
    assert curve.loss.tolist() == plain.loss.tolist()
    assert curve.stop_reason == "diverged"
    assert [note for note in curve.notes if "after the end" in note] == [
        "An update after the end of the sweep has raised FloatingPointError."
    ]


@pytest.mark.parametrize("search", [at_once, in_a_loop])
def test_an_error_of_an_update_before_the_end_is_raised(search):
    def refusing(run):
        real, run.criterion = run.criterion, Refusing(0.1)
        with pytest.raises(FloatingPointError):
            search(run)
        run.criterion = real

    assert training_after(refusing) == training_after(lambda run: None)


def test_an_error_after_the_loop_is_raised_whatever_the_losses_say():
    run = Run()

    def leave_early():
        with range_test(run.model, run.optimizer, num_steps=12) as test:
            for _ in test.batches(run.loader):
                test.record(float("nan"))
                break
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_early()


class InterruptingPart:
    """Gets a Ctrl-C, or raises, in the middle of the restoring."""

    def __init__(self, how):
        self.how = how

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        if self.how == "sigint":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise OSError("cannot load")


@pytest.mark.parametrize("how", ["sigint", "raise"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("ignore:The range test could not")
def test_a_restoring_that_is_interrupted_or_fails_is_whole(how, first):
    """Also where it is itself the consequence of a first Ctrl-C."""

    def criterion(outputs, target):
        if first:
            os.kill(os.getpid(), signal.SIGINT)
        return MSE(outputs, target)

    model = nn.Linear(4, 1)
    optimizer = sgd(model, momentum=0.9)
    before, handler = model.weight.detach().clone(), signal.getsignal(signal.SIGINT)
    state, part = torch.get_rng_state(), InterruptingPart(how)
    if first or how == "sigint":
        with pytest.raises(KeyboardInterrupt):
            find(model, optimizer, criterion, stateful=[part])
    else:
        curve = find(model, optimizer, criterion, stateful=[part])
        assert left(curve) == ["The range test could not put back: stateful[0]."]
    assert torch.equal(model.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state
    assert signal.getsignal(signal.SIGINT) is handler


def at_the_start_of(name, act):
    """Act when a function of this name is entered, before it does anything."""

    def watch(frame, event, argument):
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            act()

    sys.setprofile(watch)


def by_hand(model, optimizer, at_the_end):
    with range_test(model, optimizer, num_steps=20) as test:
        for inputs, target in test.batches(data()):
            MSE(model(inputs), target).backward()
            optimizer.step()
            test.record(1.0)
        at_the_end()


def by_call(model, optimizer, at_the_end):
    def criterion(outputs, target):
        if sys.getprofile() is None:
            at_the_end()
        return MSE(outputs, target)

    find(model, optimizer, criterion)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("how", [by_hand, by_call])
@pytest.mark.parametrize("place", ["restore", "_run", "restore_attributes"])
@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_at_any_place_of_the_end_waits_until_everything_is_back(how, place, first):
    """Nothing is left to do later, when the garbage collector comes by."""

    def arm():
        at_the_start_of(place, interrupt)
        if first:
            interrupt()

    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    before, handler = model.weight.detach().clone(), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            how(model, optimizer, arm)
    finally:
        sys.setprofile(None)
    assert torch.equal(model.weight, before)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert signal.getsignal(signal.SIGINT) is handler
    assert not optimizer._optimizer_step_post_hooks
    with torch.no_grad():
        model.weight.fill_(7.0)
    del caught
    gc.collect()
    assert (model.weight == 7.0).all()


def test_a_range_test_in_a_range_test_and_one_in_a_thread_end_as_ever():
    model = nn.Linear(4, 1)
    optimizer, before = sgd(model), model.weight.detach().clone()
    inner = []

    def in_a_thread():
        inner.append(len(find(nn.Linear(4, 1))))

    def both():
        with range_test(model, optimizer, num_steps=20) as test:
            for number, (inputs, target) in enumerate(test.batches(data())):
                if number == 3:
                    inner.append(len(find(model, optimizer)))
                    thread = threading.Thread(target=in_a_thread)
                    thread.start()
                    thread.join()
                    by_hand(model, optimizer, interrupt)
                MSE(model(inputs), target).backward()
                optimizer.step()
                test.record(1.0)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        both()
    assert inner == [20, 20]
    assert torch.equal(model.weight, before)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_copies_do_not_live_as_long_as_the_test_object():
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        copies = weakref.ref(test._end.parts[0])
        for _ in test.batches(data()):
            test.record(1.0)
    assert copies() is None
    assert len(test.curve) == 12


def test_no_hook_stays_after_an_error_though_the_batches_are_kept():
    model = nn.Linear(4, 1)
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
    kept = []

    def train():
        with range_test(model, optimizer, num_steps=12, stateful=[scaler]) as test:
            kept.append(test.batches(data()))
            for _ in kept[0]:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert not optimizer._optimizer_step_post_hooks
    assert next(kept[0], None) is None
