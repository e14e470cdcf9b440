"""A range test around a loop of one's own."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from lrsched_torch import range_test
from tests.lrsched_torch.helpers import (
    MSE,
    Run,
    data,
    left,
    sgd,
)


def test_a_scheduler_that_nobody_puts_back_is_noted():
    def notes(listed):
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        stateful = [scheduler] if listed else []
        with range_test(model, optimizer, num_steps=12, stateful=stateful) as test:
            for _ in test.batches([None]):
                optimizer.step()
                scheduler.step()
                test.record(1.0)
        return [note for note in test.curve.notes if "sets the lr too" in note]

    assert len(notes(listed=False)) == 1
    assert notes(listed=True) == []


class TestOptimizersThatNobodyNamed:
    def run(self, stateful=(), anew=False):
        model = nn.ModuleDict({"one": nn.Linear(4, 1), "other": nn.Linear(4, 1)})
        optimizer, other = sgd(model["one"]), torch.optim.Adam(model["other"].parameters())
        with range_test(
            model, optimizer, num_steps=12, stateful=[other] if stateful else ()
        ) as test:
            for x, y in test.batches(data()):
                loss = MSE(model["one"](x) + model["other"](x), y)
                loss.backward()
                optimizer.step()
                (torch.optim.Adam(model["other"].parameters()) if anew else other).step()
                test.record(loss)
        return left(test.curve)

    @pytest.mark.filterwarnings("ignore:The range test could not")
    def test_one_that_makes_steps_is_named(self):
        assert self.run() == [
            "The range test could not put back: state of the Adam that the loop steps."
        ]

    def test_one_that_is_stateful_or_made_anew_is_not(self):
        assert self.run(stateful=True) == self.run(anew=True) == []

    def test_nobody_watches_afterwards(self):
        before = len(_global_optimizer_post_hooks)
        self.run(stateful=True)
        assert len(_global_optimizer_post_hooks) == before


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


@pytest.mark.parametrize("name", ["snapshot_device", "stateful", "accumulate"])
def test_a_loop_of_ones_own_refuses_the_same(name):
    run = Run()
    value = {"snapshot_device": "foo", "stateful": run.model, "accumulate": 0}[name]
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        range_test(run.model, run.optimizer, **{name: value})


@pytest.mark.parametrize("loss", ["text", torch.ones(2), None, 1j])
def test_only_a_number_can_be_recorded(loss):
    run = Run()
    with range_test(run.model, run.optimizer) as test:
        next(test.batches(run.loader))
        with pytest.raises(TypeError, match="loss must be"):
            test.record(loss)


class TestLosses:
    def test_losses_of_several_shapes_are_one_curve(self):
        model = nn.Linear(4, 1)
        losses = [torch.tensor(1.0), torch.tensor([[2.0]]), 3.0, torch.tensor([4.0])] * 3
        with range_test(model, sgd(model), num_steps=12, stop_factor=None) as test:
            for loss in test.batches(losses):
                test.record(loss)
        assert test.curve.loss.tolist() == [1.0, 2.0, 3.0, 4.0] * 3
