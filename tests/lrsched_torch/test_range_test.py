"""The range test of PyTorch: what it measures, and that it leaves the training as it was."""

import itertools
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

import lrsched
from lrsched_torch import range_test
from tests.lrsched_torch.seeded import OPTIMIZERS, Net, Run, training_after


def find_twice(run):
    for _ in range(2):
        assert len(run.find()) > 10


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("epochs_before", [0, 1])
def test_training_after_it_is_bitwise_training_without_it(optimizer, epochs_before):
    untouched = training_after(lambda run: None, optimizer, epochs_before)
    assert training_after(find_twice, optimizer, epochs_before) == untouched


def test_the_progress_bar_counts_the_updates_of_all_sweeps(monkeypatch):
    import tqdm.auto

    bars = []

    class Bar:
        def __init__(self, total, **options):
            self.total, self.steps = total, 0
            bars.append(self)

        def update(self):
            self.steps += 1

        def close(self):
            self.closed = True

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    Run().find(repeats=2, stop_factor=None, progress=True)
    assert [(bar.total, bar.steps, bar.closed) for bar in bars] == [(80, 80, True)]


def test_a_trace_would_be_seen():
    untouched = training_after(lambda run: None)

    def draw(run):
        torch.manual_seed(int(torch.initial_seed()) + 1)

    with pytest.raises(AssertionError):
        assert training_after(draw) == untouched


def test_tensors_keep_their_identity():
    run = Run("adam")
    run.train(1)
    before = [*run.model.parameters(), *run.model.buffers()]
    slots = [v for s in run.optimizer.state.values() for v in s.values()]
    run.find()
    assert all(
        a is b for a, b in zip(before, [*run.model.parameters(), *run.model.buffers()], strict=True)
    )
    after = [v for s in run.optimizer.state.values() for v in s.values()]
    assert all(a is b for a, b in zip(slots, after, strict=True))


@pytest.mark.parametrize("evaluated", [False, True])
def test_submodules_keep_their_own_mode(evaluated):
    run = Run()
    run.model.train(not evaluated)
    run.model.body[1].train(evaluated)
    before = [m.training for m in run.model.modules()]
    run.find()
    assert [m.training for m in run.model.modules()] == before


def test_gradients_that_were_there_are_there_again():
    run = Run()
    run.criterion(run.model(torch.ones(8, 4)), torch.zeros(8, dtype=torch.long)).backward()
    before = run.everything()
    run.find()
    assert run.everything() == before


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


def test_the_recorded_lr_is_the_one_that_moved_the_weights():
    weight = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(weight.parameters(), lr=123.0)
    moves = []
    with range_test(weight, optimizer, 1e-3, 1e-1, 20, stop_factor=None) as test:
        for x in test.batches([torch.ones(1, 1)]):
            before = weight.weight.item()
            loss = weight(x).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            moves.append(before - weight.weight.item())
            test.record(loss)
    np.testing.assert_allclose(moves, test.curve.lr, rtol=2e-4)
    assert optimizer.param_groups[0]["lr"] == 123.0


def test_the_curve_is_that_of_a_plain_loop():
    by_call, by_hand = Run("adam"), Run("adam")
    curve = by_call.find(num_steps=30)
    lrs = lrsched.exponential_sweep(1e-5, 1.0, 30).values()
    losses = []
    batches = (batch for _ in range(9) for batch in by_hand.loader)
    for lr, (x, y) in zip(lrs, batches, strict=False):
        by_hand.optimizer.param_groups[0]["lr"] = float(lr)
        by_hand.optimizer.zero_grad()
        loss = by_hand.criterion(by_hand.model(x), y)
        loss.backward()
        by_hand.optimizer.step()
        losses.append(loss.item())
    assert curve.loss.tolist() == losses[: len(curve)]
    assert curve.lr.tolist() == lrs[: len(curve)].tolist()


def test_losses_may_be_of_several_shapes_and_dtypes():
    run, plain = Run(), Run()
    kinds = itertools.cycle([(), (1,), (1, 1)])
    dtypes = itertools.cycle([torch.float32, torch.float64])
    run.criterion = lambda output, target: (
        plain.criterion(output, target).to(next(dtypes)).reshape(next(kinds))
    )
    assert run.find().loss.tolist() == plain.find().loss.tolist()


class Refusing:
    """Does not compute what the sweep has made of the model, which diverges at some time."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, outputs, target):
        loss = nn.functional.cross_entropy(outputs, target)
        if not loss.detach() < self.limit:
            raise FloatingPointError("the loss is too high")
        return loss


def by_call(run):
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


@pytest.mark.parametrize("find", [by_call, in_a_loop])
def test_an_error_of_an_update_after_the_end_ends_nothing_else(find):
    plain = find(Run())
    assert plain.stop_reason == "diverged"
    curves = []

    def refusing(run):
        # any loss after the one that ended the sweep
        real, run.criterion = run.criterion, Refusing(plain.loss[-1] * 1.0001)
        curves.append(find(run))
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


@pytest.mark.parametrize("find", [by_call, in_a_loop])
def test_an_error_of_an_update_before_the_end_is_raised(find):
    def refusing(run):
        real, run.criterion = run.criterion, Refusing(0.1)
        with pytest.raises(FloatingPointError):
            find(run)
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


def test_a_nan_loss_ends_the_test_and_says_so():
    run = Run()
    real = run.criterion
    count = iter(range(1000))
    run.criterion = lambda o, t: real(o, t) * (float("nan") if next(count) == 12 else 1.0)
    curve = run.find()
    assert len(curve) == 13
    assert "non-finite" in curve.stop_reason


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"num_steps": 5}, ValueError, "num_steps must be an int >= 10"),
        ({"progress": 1}, TypeError, "progress must be a bool"),
    ],
)
def test_bad_arguments_change_nothing(change, error, message):
    run = Run()
    before = run.everything()
    with pytest.raises(error, match=message):
        run.find(**change)
    assert run.everything() == before


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        ([], ValueError, "loader must give batches, got none"),
        ([torch.ones(8, 4)], TypeError, "must hold inputs and a target, .* got Tensor"),
        ([{"x": torch.ones(8, 4)}], TypeError, r"got a dict of \['x'\]"),
    ],
)
def test_bad_batches_change_nothing(loader, error, message):
    run = Run()
    before = run.everything()
    run.loader, kept = loader, run.loader
    with pytest.raises(error, match=message):
        run.find()
    run.loader = kept
    assert run.everything() == before


def test_an_optimizer_of_another_model_is_refused():
    other = torch.optim.SGD(Net().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="optimizer must hold parameters of model"):
        range_test(Net(), other)


def test_a_loss_of_many_numbers_is_refused():
    run = Run()
    run.criterion = nn.CrossEntropyLoss(reduction="none")
    before = run.everything()
    with pytest.raises(
        TypeError, match=r"loss must be a tensor with one element, got shape \(8,\)"
    ):
        run.find()
    assert run.everything() == before


def test_a_forgotten_record_is_named():
    run = Run()
    with (
        pytest.raises(RuntimeError, match="record\\(loss\\) must be called once for every batch"),
        range_test(run.model, run.optimizer) as test,
    ):
        for _ in test.batches(run.loader):
            pass


def test_it_is_used_inside_with_and_once():
    run = Run()
    test = range_test(run.model, run.optimizer)
    with pytest.raises(RuntimeError, match="inside `with"):
        next(test.batches(run.loader))
    with test:
        pass
    with pytest.raises(RuntimeError, match="a second time"):
        test.__enter__()
