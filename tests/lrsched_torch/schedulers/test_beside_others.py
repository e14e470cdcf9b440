"""A scheduler that is closed or dropped, takes over, or runs within another."""

import copy
import gc
import weakref

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR
from tests.lrsched_torch.schedulers.helpers import adam, advance, hyperparameters, sgd, update

# Letting go


def test_close_removes_every_hook_and_stepping_raises():
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    advance(scheduler, 5)
    before = hyperparameters(optimizer)
    update(optimizer)
    scheduler.close()
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        optimizer._optimizer_load_state_dict_pre_hooks,
        optimizer._optimizer_load_state_dict_post_hooks,
    )
    assert not any(hooks)
    with pytest.raises(RuntimeError, match=r"closed scheduler \(build a new one\)"):
        scheduler.step()
    with pytest.raises(RuntimeError, match="closed"):
        scheduler.load_state_dict(scheduler.state_dict())
    assert hyperparameters(optimizer) == before


@pytest.mark.parametrize("make", [sgd, adam])
def test_close_puts_back_what_it_changed_if_asked(make):
    optimizer = make(width=2)
    optimizer.param_groups[1]["lr"] = torch.tensor(0.25)
    before = hyperparameters(optimizer)
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    advance(scheduler, 5)
    scheduler.close(restore=True)
    assert hyperparameters(optimizer) == before


def test_a_dropped_scheduler_leaves_no_hooks():
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    gone = weakref.ref(scheduler)
    del scheduler
    gc.collect()
    assert gone() is None
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("first", [OneCycleLR, lr_scheduler.OneCycleLR])
def test_a_second_scheduler_takes_over(first):
    """Whatever the first one left in the groups."""
    optimizer = sgd()
    advance(first(optimizer, 0.1, 20), 5)
    second = CyclicLR(optimizer, 0.01, 0.1)
    assert second.get_last_lr() == [0.01] == [optimizer.param_groups[0]["lr"]]
    assert second.get_last_momentum() == [0.9] == [optimizer.param_groups[0]["momentum"]]


# Within torch's compositions


def test_it_runs_within_sequential_lr():
    optimizer = sgd()
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    ours = ScheduleLR(optimizer, lrsched.cosine(0.5, 0.0, 10))
    last = CyclicLR(optimizer, 0.01, 0.1, step_size_up=3)
    sequence = lr_scheduler.SequentialLR(optimizer, [warmup, ours, last], milestones=[5, 15])
    found = []
    for _ in range(20):
        found.append(optimizer.param_groups[0]["lr"])
        update(optimizer)
        sequence.step()
    ramp = [0.5 * (0.1 + 0.9 * step / 5) for step in range(5)]
    tail = lrsched.cyclical(0.01, 0.1, 3).values(5)
    assert found == pytest.approx([*ramp, *lrsched.cosine(0.5, 0.0, 10).values(), *tail])


def test_sequential_lr_starts_with_ours_and_resumes():
    def build():
        optimizer = sgd(momentum=0.0)
        parts = [
            ScheduleLR(optimizer, lrsched.linear(0.1, 0.5, 5)),
            lr_scheduler.ExponentialLR(optimizer, 0.9),
        ]
        return optimizer, lr_scheduler.SequentialLR(optimizer, parts, milestones=[5])

    def train(optimizer, sequence, steps):
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            update(optimizer)
            sequence.step()
        return found

    whole = train(*build(), 12)
    assert whole[:5] == list(lrsched.linear(0.1, 0.5, 5).values())
    for cut in (3, 8):
        optimizer, sequence = build()
        start = train(optimizer, sequence, cut)
        states = copy.deepcopy((optimizer.state_dict(), sequence.state_dict()))
        optimizer, sequence = build()
        optimizer.load_state_dict(states[0])
        sequence.load_state_dict(states[1])
        assert start + train(optimizer, sequence, 12 - cut) == whole


def test_it_runs_within_chained_scheduler():
    """Ours sets the lr; a multiplicative scheduler after it works on that value."""
    optimizer = sgd()
    ours = ScheduleLR(optimizer, lrsched.linear(0.1, 0.5, 10))
    chain = lr_scheduler.ChainedScheduler([ours, lr_scheduler.ExponentialLR(optimizer, 0.5)])
    for step in range(1, 5):
        update(optimizer)
        chain.step()
        assert optimizer.param_groups[0]["lr"] == lrsched.linear(0.1, 0.5, 10)(step) * 0.5
