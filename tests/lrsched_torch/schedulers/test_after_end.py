"""After its end a schedule lets go, and before it says what it overwrites."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
from lrsched_torch import ScheduleLR


def sgd():
    return torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)


def advance(*schedulers, steps=1):
    """The lrs that the updates used."""
    optimizer, used = schedulers[0].optimizer, []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.param_groups[0]["params"][0].sum().backward()
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return used


@pytest.mark.parametrize("after_end", ["hold", "restore"])
def test_a_plateau_has_effect_after_a_warm_up(after_end):
    optimizer = sgd()
    warmup = ScheduleLR(optimizer, lrsched.linear(0.01, 0.1, 5), after_end=after_end)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    used = []
    for _ in range(5):
        used += advance(warmup, steps=5)[:1]
        plateau.step(1.0)
    assert used == pytest.approx([0.01, 0.1, 0.05, 0.025, 0.0125])
    assert warmup.get_last_lr() == [0.1]


def test_a_lr_set_by_hand_has_effect_and_is_resumed():
    warmup = ScheduleLR(sgd(), lrsched.linear(0.01, 0.1, 5))
    advance(warmup, steps=7)
    warmup.optimizer.param_groups[0]["lr"] = 0.03
    assert advance(warmup, steps=3) == [0.03] * 3
    resumed = ScheduleLR(sgd(), lrsched.linear(0.01, 0.1, 5))
    resumed.load_state_dict(warmup.state_dict())
    resumed.optimizer.load_state_dict(warmup.optimizer.state_dict())
    assert advance(resumed, steps=3) == [0.03] * 3


def test_what_is_written_at_the_end_is_written_once():
    optimizer = sgd()
    scheduler = ScheduleLR(optimizer, lrsched.linear(0.01, 0.1, 5))
    advance(scheduler, steps=5)
    exponential = lr_scheduler.ExponentialLR(optimizer, 0.5)
    assert advance(scheduler, exponential, steps=3) == pytest.approx([0.1, 0.05, 0.025])


def test_another_scheduler_that_is_overwritten_is_warned_of_once():
    optimizer = sgd()
    scheduler = ScheduleLR(optimizer, lrsched.one_cycle(0.1, 3000))
    beside = lr_scheduler.ExponentialLR(optimizer, 0.99)
    with pytest.warns(UserWarning, match="set by something else since the last step") as caught:
        advance(scheduler, beside, steps=2500)
    assert len(caught) == 1


def test_the_last_step_is_looked_at_too():
    optimizer = sgd()
    scheduler = ScheduleLR(optimizer, lrsched.one_cycle(0.1, 30))
    with pytest.warns(UserWarning, match="set by something else"):
        advance(scheduler, lr_scheduler.ExponentialLR(optimizer, 0.99), steps=30)


def test_in_a_chain_nothing_is_said():
    optimizer = sgd()
    mine = ScheduleLR(optimizer, lrsched.one_cycle(0.1, 3000))
    other = lr_scheduler.ExponentialLR(optimizer, 0.99)
    used = advance(lr_scheduler.ChainedScheduler([mine, other]), steps=1100)
    # The chain multiplies what the schedule sets.
    assert used[1000] == pytest.approx(0.99 * lrsched.one_cycle(0.1, 3000)(1000))


def test_the_values_of_a_scheduler_are_in_its_repr():
    scheduler = ScheduleLR(sgd(), lrsched.linear(0.01, 0.1, 4))
    advance(scheduler, steps=3)
    assert repr(scheduler) == (
        "ScheduleLR(step 3: lr=[0.1]; "
        "lr=Schedule(4 steps: 0.01 at 0 -linear-> 0.1 at 3); momentum=None)"
    )
