"""A scheduler that is there already cycles the momentum; a range test has the optimizer's own."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR, lr_find, range_test
from lrsched_torch.param_groups import MOMENTUM
from tests.lrsched_torch.helpers import Run

SCHEDULERS = {
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=100),
    "cycles": lambda optimizer: CyclicLR(optimizer, 0.01, 0.1, max_momentum=0.95),
    "any schedule": lambda optimizer: ScheduleLR(
        optimizer, lrsched.constant(0.1), lrsched.one_cycle_momentum(100)
    ),
    "torch's one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=100
    ),
    "torch's cycles": lambda optimizer: torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.01, 0.1, max_momentum=0.95
    ),
}
# A knee would follow the lr, which a scheduler sets too.
SWEEP = {"sweep": "exponential", "stop_factor": None}
NOTE = "The range test had momentum 0.9, that of the optimizer itself, where a scheduler has set "


@pytest.fixture(scope="module", params=["sgd", "adam"])
def plain(request):
    """The optimizer, and the losses of a range test without a scheduler."""
    return request.param, Run(request.param).find(**SWEEP)


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_the_curve_is_that_of_the_optimizer_without_a_scheduler(make, plain):
    name, expected = plain
    run = Run(name)
    scheduler = make(run.optimizer)
    curve = run.find(**SWEEP)
    np.testing.assert_array_equal(curve.loss, expected.loss)
    assert f"{NOTE}0.95." in curve.notes
    assert MOMENTUM.read(run.optimizer.param_groups[0]) == 0.95
    assert not any("momentum" in note for note in expected.notes)
    del scheduler


def in_a_loop(run, scheduler=None):
    stateful = [] if scheduler is None else [scheduler]
    options = {"start_lr": 1e-5, "end_lr": 1.0, "num_steps": 40, **SWEEP}
    with range_test(run.model, run.optimizer, stateful=stateful, **options) as test:
        for x, y in test.batches(run.loader):
            loss = run.criterion(run.model(x), y)
            loss.backward()
            run.optimizer.step()
            run.optimizer.zero_grad()
            test.record(loss)
            if scheduler is not None:
                scheduler.step()
    return test.curve


def test_a_scheduler_that_is_stepped_in_the_loop_does_not_set_it_either():
    run = Run()
    scheduler = OneCycleLR(run.optimizer, 0.1, total_steps=50)
    curve = in_a_loop(run, scheduler)
    np.testing.assert_array_equal(curve.loss, in_a_loop(Run()).loss)
    assert f"{NOTE}0.95." in curve.notes
    assert scheduler.last_epoch == 0


def test_a_scheduler_in_the_place_of_another_changes_nothing():
    """As in a notebook, where a cell is run again."""
    run = Run()
    scheduler = OneCycleLR(run.optimizer, 0.1, total_steps=100)
    for _ in range(2):
        scheduler = OneCycleLR(run.optimizer, 0.2, total_steps=100)
        assert f"{NOTE}0.95." in run.find().notes
    model, optimizer, scheduler = copy.deepcopy((run.model, run.optimizer, scheduler))
    assert f"{NOTE}0.95." in lr_find(model, optimizer, run.criterion, run.loader).notes


def test_momentum_that_no_scheduler_cycles_is_left_alone():
    run, other = Run(), Run()
    for each in (run, other):
        each.optimizer.param_groups[0]["momentum"] = 0.5
    OneCycleLR(run.optimizer, 0.05, total_steps=100, cycle_momentum=False)
    curve = run.find(**SWEEP)
    np.testing.assert_array_equal(curve.loss, other.find(**SWEEP).loss)
    assert not any("momentum" in note for note in curve.notes)
    closed = OneCycleLR(run.optimizer, 0.05, total_steps=100)
    closed.close()
    assert not any("momentum" in note for note in run.find().notes)


@pytest.mark.parametrize("name", ["any schedule", "torch's one cycle"])
def test_momentum_that_only_the_schedule_turns_on_is_that_at_the_peak(name):
    """The optimizer has 0 itself, which says nothing of the training."""
    run, other = Run(), Run()
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.05)
    other.optimizer = torch.optim.SGD(other.model.parameters(), lr=0.05, momentum=0.85)
    scheduler = SCHEDULERS[name](run.optimizer)
    curve = run.find(**SWEEP)
    np.testing.assert_array_equal(curve.loss, other.find(**SWEEP).loss)
    assert any("had momentum 0.85" in note for note in curve.notes)
    del scheduler


def test_each_group_has_its_own():
    run, other = Run(), Run()
    for each in (run, other):
        parameters = [*each.model.parameters()]
        groups = [{"params": parameters[:2]}, {"params": parameters[2:], "momentum": 0.5}]
        each.optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    scheduler = OneCycleLR(run.optimizer, 0.05, total_steps=100)
    curve = run.find(**SWEEP)
    np.testing.assert_array_equal(curve.loss, other.find(**SWEEP).loss)
    assert any("had momentum 0.9 and 0.5, that of" in note for note in curve.notes)
    del scheduler


def test_a_tensor_is_filled_in_place_and_restored():
    run = Run()
    betas = (torch.tensor(0.9), torch.tensor(0.999))
    options = {"lr": torch.tensor(1e-3), "betas": betas, "capturable": False}
    run.optimizer = torch.optim.Adam(run.model.parameters(), foreach=False, **options)
    scheduler = OneCycleLR(run.optimizer, 0.1, total_steps=100)
    curve = run.find(repeats=2)
    held = run.optimizer.param_groups[0]["betas"][0]
    assert held is betas[0]
    assert held.item() == pytest.approx(0.95)
    assert curve.notes[0] == f"{NOTE}0.95."
    del scheduler
