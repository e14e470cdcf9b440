"""Ctrl-C and errors, wherever they come, leave nothing half done."""

import os
import signal
import weakref

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import range_test
from tests.lrsched_torch.helpers import MSE, Run, data, find, left, sgd, training_after


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def fail():
    raise ZeroDivisionError


class Interrupting:
    """A criterion in which something happens in the middle of the test."""

    def __init__(self, act):
        self.act, self.calls = act, 0

    def __call__(self, output, target):
        self.calls += 1
        if self.calls == 17:
            self.act()
        return nn.functional.cross_entropy(output, target)


class FailingAgain:
    """A loader that fails in its second pass."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        batch = torch.ones(8, 4), torch.zeros(8, dtype=torch.long)
        return iter([batch] * 9) if self.passes < 2 else fail()


INTERRUPTIONS = {
    "Ctrl-C": (KeyboardInterrupt, lambda run: setattr(run, "criterion", Interrupting(interrupt))),
    "error in the loss": (
        ZeroDivisionError,
        lambda run: setattr(run, "criterion", Interrupting(fail)),
    ),
    "error in the loader": (ZeroDivisionError, lambda run: setattr(run, "loader", FailingAgain())),
}


@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_an_interrupted_test_leaves_no_trace(how):
    error, prepare = INTERRUPTIONS[how]

    def find(run):
        kept = dict(vars(run))
        prepare(run)
        with pytest.raises(error):
            run.find()
        vars(run).update(kept)

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


class InterruptingPart:
    """Gets a Ctrl-C, or raises, in the middle of the restoring."""

    def __init__(self, how):
        self.how = how

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        if self.how == "sigint":
            interrupt()
        else:
            raise OSError("cannot load")


def find_in_a_block(model, optimizer, criterion, stateful):
    with range_test(model, optimizer, num_steps=20, stateful=stateful) as test:
        for inputs, target in test.batches(data()):
            loss = criterion(model(inputs), target)
            loss.backward()
            optimizer.step()
            test.record(loss)
    return test.curve


@pytest.mark.parametrize("search", [find, find_in_a_block])
@pytest.mark.parametrize("how", ["sigint", "raise"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("ignore:The range test could not")
def test_a_restoring_that_is_interrupted_or_fails_is_whole(search, how, first):
    """Also where it is itself the consequence of a first Ctrl-C."""

    def criterion(outputs, target):
        if first:
            interrupt()
        return MSE(outputs, target)

    model = nn.Linear(4, 1)
    optimizer = sgd(model, momentum=0.9)
    before, handler = model.weight.detach().clone(), signal.getsignal(signal.SIGINT)
    state, part = torch.get_rng_state(), InterruptingPart(how)
    if first or how == "sigint":
        with pytest.raises(KeyboardInterrupt):
            search(model, optimizer, criterion, stateful=[part])
    else:
        curve = search(model, optimizer, criterion, stateful=[part])
        assert left(curve) == ["The range test could not put back: stateful[0]."]
    assert torch.equal(model.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state
    assert not optimizer._optimizer_step_post_hooks
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.filterwarnings("ignore:The optimizer of the range test made no update")
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
