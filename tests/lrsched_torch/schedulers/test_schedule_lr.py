"""ScheduleLR, OneCycleLR and CyclicLR: what they set, and in what."""

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR
from tests.lrsched_torch.schedulers.helpers import (
    adam,
    advance,
    hyperparameters,
    parameter,
    sgd,
    update,
)


def test_the_weights_move_by_the_scheduled_lr():
    optimizer = sgd(width=2, momentum=0.0)
    curves = [lrsched.one_cycle(0.1, 20), lrsched.cosine(1.0, 0.0, 20)]
    scheduler = ScheduleLR(optimizer, curves)
    for step in range(20):
        before = [group["params"][0].detach().clone() for group in optimizer.param_groups]
        advance(scheduler)
        for group, old, curve in zip(optimizer.param_groups, before, curves, strict=True):
            moved = (old - group["params"][0].detach()).tolist()
            assert moved == pytest.approx([curve(step)] * 2, rel=1e-12, abs=1e-15)


def test_the_weights_move_by_the_scheduled_momentum():
    optimizer = sgd()
    lr, momentum = lrsched.one_cycle(0.1, 20), lrsched.one_cycle_momentum(20)
    scheduler = ScheduleLR(optimizer, lr, momentum)
    weight, velocity = 0.0, 0.0
    for step in range(20):
        advance(scheduler)
        velocity = velocity * momentum(step) + 1.0 if step else 1.0
        weight -= lr(step) * velocity
        assert optimizer.param_groups[0]["params"][0][0].item() == pytest.approx(weight, rel=1e-12)


def test_every_step_of_a_long_run_has_the_value_of_the_schedule():
    curve = lrsched.one_cycle(0.1, 5000)
    scheduler = ScheduleLR(sgd(), curve)
    found = []
    for _ in range(5000):
        found += scheduler.get_last_lr()
        advance(scheduler)
    assert np.array_equal(found, curve.values())


def test_momentum_may_be_scheduled_for_some_groups_only():
    optimizer = sgd(width=2)
    scheduler = ScheduleLR(optimizer, lrsched.constant(0.1), [lrsched.constant(0.5), None])
    advance(scheduler)
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0.9]
    assert scheduler.get_last_momentum() == [0.5, None]


def test_beta1_is_scheduled_and_the_other_betas_stay():
    optimizer = adam(width=2)
    optimizer.param_groups[1]["betas"] = (0.9, 0.98, 0.7)
    scheduler = ScheduleLR(
        optimizer, lrsched.constant(0.1), lrsched.linear(0.6, 0.5, 2), count="calls"
    )
    scheduler.step()
    assert [group["betas"] for group in optimizer.param_groups] == [(0.5, 0.999), (0.5, 0.98, 0.7)]


@pytest.mark.parametrize("cls", [OneCycleLR, CyclicLR])
def test_the_signature_is_that_of_torch(cls):
    """The same parameters in the same order; ours adds keywords only."""
    peer = inspect.signature(getattr(lr_scheduler, cls.__name__)).parameters
    ours = inspect.signature(cls).parameters
    shared = list(ours.values())[: len(peer)]
    assert [(p.name, p.default, p.kind) for p in shared] == [
        (p.name, p.default, p.kind) for p in peer.values()
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(ours.values())[len(peer) :])


def test_it_is_a_scheduler_of_torch():
    scheduler = OneCycleLR(sgd(), 0.1, 10)
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    assert scheduler.base_lrs == [0.004]
    assert scheduler.total_steps == 10
    assert not hasattr(CyclicLR(sgd(), 0.1, 1.0), "total_steps")


def test_any_int_is_an_int():
    scheduler = OneCycleLR(sgd(), 0.1, np.int64(10), pct_start=1, last_epoch=np.int32(3))
    assert (scheduler.total_steps, scheduler.last_epoch) == (10, 4)


def test_get_lr_changes_nothing_and_needs_no_step_around_it():
    optimizer = adam()
    scheduler = OneCycleLR(optimizer, 0.1, 10)
    advance(scheduler, 3)
    before = hyperparameters(optimizer)
    assert scheduler.get_lr() == scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
    assert scheduler.get_last_momentum() == [optimizer.param_groups[0]["betas"][0]]
    assert hyperparameters(optimizer) == before


def test_param_groups_hold_no_state_of_the_scheduler():
    for cls, arguments in ((OneCycleLR, (0.1, 10)), (CyclicLR, (0.01, 0.1))):
        optimizer = adam()
        keys = set(optimizer.param_groups[0])
        scheduler = cls(optimizer, *arguments)
        advance(scheduler)
        # Which these schedulers of torch leave there, and SequentialLR reads.
        assert set(optimizer.param_groups[0]) == keys | {"initial_lr"}
        assert optimizer.param_groups[0]["initial_lr"] == scheduler.base_lrs[0] < 0.5
        scheduler.close(restore=True)
        assert set(optimizer.param_groups[0]) == keys
        optimizer.param_groups[0]["initial_lr"] = 0.3
        cls(optimizer, *arguments).close(restore=True)
        assert optimizer.param_groups[0]["initial_lr"] == 0.3


def test_step_goes_to_a_given_step():
    scheduler = OneCycleLR(sgd(), 0.1, 100)
    scheduler.step(29)
    assert scheduler.last_epoch == 29
    assert scheduler.get_last_lr() == [0.1]
    with pytest.raises(ValueError, match="epoch must be an int >= 0"):
        scheduler.step(-1)


def test_a_step_set_from_outside_is_the_step():
    """Some trainers, and SequentialLR, set last_epoch themselves."""
    curve = lrsched.one_cycle(0.1, 9000)
    scheduler = ScheduleLR(sgd(), curve)
    advance(scheduler, 2)
    for step in (5000, 10, 8190, 4, 4095):
        scheduler.last_epoch = step
        assert scheduler.get_lr() == [curve(step)]
        advance(scheduler, 2)
        assert scheduler.get_last_lr() == [curve(step + 2)] == [curve(scheduler.last_epoch)]
    scheduler.last_epoch = 6000
    scheduler.get_lr()
    scheduler.last_epoch = 3
    advance(scheduler)
    assert scheduler.optimizer.param_groups[0]["lr"] == curve(4)


def test_a_function_that_has_raised_is_asked_again():
    broken = False

    def scale(step):
        if broken:
            raise RuntimeError("not now")
        return 1 / (1 + step)

    scheduler = CyclicLR(
        sgd(), 0.0, 1.0, 10, scale_fn=scale, scale_mode="iterations", cycle_momentum=False
    )
    advance(scheduler, 2)
    broken = True
    with pytest.raises(RuntimeError, match="not now"):
        scheduler.step(3)
    broken = False
    scheduler.step(3)
    assert scheduler.optimizer.param_groups[0]["lr"] == pytest.approx(0.3 / 4)


def test_a_run_started_late_is_at_that_step():
    curve = lrsched.one_cycle(0.1, 100)
    assert ScheduleLR(sgd(), curve, last_epoch=49).get_last_lr() == [curve(50)]


# The end


def run_to_the_end(after_end):
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 10, after_end=after_end)
    advance(scheduler, 10)
    return optimizer, scheduler


@pytest.mark.parametrize("after_end", ["hold", "warn"])
def test_after_the_end_the_values_hold_with_one_warning_at_most(after_end):
    optimizer, scheduler = run_to_the_end(after_end)
    assert scheduler.last_epoch == 10
    if after_end == "warn":
        with pytest.warns(UserWarning, match="at most total_steps \\(10\\) times"):
            advance(scheduler)
    advance(scheduler, 3)
    assert optimizer.param_groups[0]["lr"] == 0.1 / 25 / 1e4 == scheduler.get_last_lr()[0]
    assert optimizer.param_groups[0]["momentum"] == 0.95


def test_after_the_end_an_error_leaves_the_optimizer_as_it_was():
    optimizer, scheduler = run_to_the_end("raise")
    before = hyperparameters(optimizer)
    update(optimizer)
    with pytest.raises(ValueError, match=r"at most total_steps.*after_end='hold'"):
        scheduler.step()
    assert hyperparameters(optimizer) == before
    assert scheduler.last_epoch == 10


def test_at_the_end_what_was_changed_can_be_restored():
    optimizer, scheduler = run_to_the_end("restore")
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.5, 0.9)
    advance(scheduler, 3)
    assert scheduler.get_last_lr() == [0.5]
    assert scheduler.get_last_momentum() == [0.9]


# Groups


def test_a_group_added_later_has_its_values_in_its_first_update():
    optimizer = sgd(momentum=0.9)
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    advance(scheduler, 5)
    late = parameter()
    optimizer.add_param_group({"params": [late]})
    advance(scheduler)
    curve = lrsched.one_cycle(0.1, 20)
    assert late[0].item() == pytest.approx(-curve(5), rel=1e-12)
    assert [group["lr"] for group in optimizer.param_groups] == [curve(6)] * 2
    assert scheduler.get_last_lr() == [curve(6)] * 2
    assert optimizer.param_groups[1]["momentum"] == optimizer.param_groups[0]["momentum"] < 0.95


def test_a_group_added_between_update_and_step_joins_too():
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    update(optimizer)
    optimizer.add_param_group({"params": [parameter()]})
    scheduler.step()
    advance(scheduler)
    assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    assert len(scheduler.get_last_lr()) == 2


def test_a_group_without_a_schedule_is_an_error_of_the_next_step():
    optimizer = sgd(width=2)
    scheduler = OneCycleLR(optimizer, [0.1, 0.2], 20)
    advance(scheduler, 3)
    late = parameter()
    optimizer.add_param_group({"params": [late], "lr": 7.0})
    before = hyperparameters(optimizer)
    for _ in range(2):
        update(optimizer)
        with pytest.raises(ValueError, match=r"group \(3\), got 2 \(reschedule gives"):
            scheduler.step()
    assert hyperparameters(optimizer) == before
    assert late.tolist() == pytest.approx([-20.3, -20.3])
    scheduler.reschedule([lrsched.one_cycle(peak, 20) for peak in (0.1, 0.2, 0.3)])
    advance(scheduler)
    expected = [lrsched.one_cycle(peak, 20)(4) for peak in (0.1, 0.2, 0.3)]
    assert [group["lr"] for group in optimizer.param_groups] == expected


def test_rescheduling_goes_on_from_the_present_step():
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    advance(scheduler, 5)
    longer = lrsched.one_cycle(0.2, 40)
    scheduler.reschedule(longer, lrsched.constant(0.5))
    assert optimizer.param_groups[0]["lr"] == longer(5)
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert scheduler.total_steps == 40


# Momentum


@pytest.mark.parametrize("cls", [OneCycleLR, CyclicLR])
@pytest.mark.parametrize("kind", ["sgd", "rmsprop", "adam"])
def test_momentum_that_is_off_stays_off(cls, kind):
    make = {
        "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
        "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.1),
        "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.0, 0.99)),
    }[kind]
    optimizer = make([parameter()])
    arguments = (0.1, 20) if cls is OneCycleLR else (0.01, 0.1)
    advance(cls(optimizer, *arguments), 5)
    group = optimizer.param_groups[0]
    assert group.get("betas", (group.get("momentum"),))[0] == 0.0


def test_momentum_that_is_off_in_one_group_stays_off_there_unless_asked_by_name():
    optimizer = sgd(width=2)
    optimizer.param_groups[1]["momentum"] = 0.0
    advance(OneCycleLR(optimizer, 0.1, 20), 3)
    assert optimizer.param_groups[0]["momentum"] != 0.9
    assert optimizer.param_groups[1]["momentum"] == 0.0
    ScheduleLR(optimizer, lrsched.constant(0.1), lrsched.constant(0.9))
    assert optimizer.param_groups[1]["momentum"] == 0.9
