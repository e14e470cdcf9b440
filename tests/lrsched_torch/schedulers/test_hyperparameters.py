"""A hyper-parameter that no optimizer of torch has is scheduled by one row of the table."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched import Policy
from lrsched_torch import ScheduleLR
from lrsched_torch.param_groups import HYPERPARAMETERS, HyperParameter, Place
from lrsched_torch.schedulers.group_schedules import GroupSchedules

STEPS = 12
LR, MOMENTUM = lrsched.one_cycle(0.1, STEPS), lrsched.one_cycle_momentum(STEPS)
PULL = lrsched.linear(1.0, 3.0, STEPS)


class Puller(torch.optim.Optimizer):
    """Moves the weights 0, 1 and 2 by the lr, the momentum and the pull, wherever that is kept."""

    def __init__(self, width, key, pull):
        groups = [{"params": [torch.zeros(3, dtype=torch.float64)]} for _ in range(width)]
        super().__init__(groups, {"lr": 0.5, "momentum": 0.5, key: pull})

    @property
    def key(self):
        return [*self.defaults][2]

    def step(self, closure=None):
        for group in self.param_groups:
            pull = group[self.key][1] if isinstance(group[self.key], tuple) else group[self.key]
            for number, value in enumerate((group["lr"], group["momentum"], pull)):
                group["params"][0][number] -= float(value)


# Where a group keeps the pull: under a key that is no name of a variable, or in a tuple.
PLACES = {
    "float": (Place("the {pull}"), 0.25),
    "tensor": (Place("the {pull}"), torch.tensor(0.25, dtype=torch.float64)),
    "tuple": (Place("forces", 1), (0.75, 0.25, 0.5)),
    "tensor in a tuple": (Place("forces", 1), (0.75, torch.tensor(0.25, dtype=torch.float64))),
}


@pytest.fixture(params=PLACES)
def build(request, monkeypatch):
    """An optimizer with a pull, and a scheduler that drives it."""
    place, value = PLACES[request.param]
    row = HyperParameter("pull", (place,), below=4.0, mark="initial_pull")
    monkeypatch.setitem(HYPERPARAMETERS, "pull", row)

    def follow(width=2, pull=PULL):
        optimizer = Puller(width, place.key, copy.deepcopy(value))
        policy = Policy(lr=LR, momentum=MOMENTUM, pull=pull)
        return optimizer, ScheduleLR(optimizer, policy)

    return follow


def moves(optimizer, scheduler, steps=STEPS):
    """By how much each update moves the weights of each group."""
    found = []
    for _ in range(steps):
        before = [group["params"][0].clone() for group in optimizer.param_groups]
        optimizer.step()
        pairs = zip(before, optimizer.param_groups, strict=True)
        found.append([(old - group["params"][0]).tolist() for old, group in pairs])
        scheduler.step()
    return found


def test_the_weights_move_by_it_and_by_the_others(build):
    for step, groups in enumerate(moves(*build())):
        for moved in groups:
            expected = [LR(step), MOMENTUM(step), PULL(step)]
            assert moved == pytest.approx(expected, rel=1e-12)


def test_each_group_may_follow_another_schedule_of_it_or_none(build):
    twice = PULL.scaled(1.25)
    optimizer, scheduler = build(3, lrsched.constant(0.25))
    pull = GroupSchedules((PULL, None, twice), shared=False)
    scheduler._binding.follow({**scheduler._binding.schedules, "pull": pull}, only_in_use=False)
    scheduler._apply(0)
    for step, groups in enumerate(moves(optimizer, scheduler)):
        for moved, pull in zip(groups, (PULL(step), 0.25, twice(step)), strict=True):
            assert moved == pytest.approx([LR(step), MOMENTUM(step), pull], rel=1e-12)


def test_a_group_added_later_and_a_copied_scheduler_follow_it(build):
    optimizer, scheduler = build(1)
    moves(optimizer, scheduler, 3)
    optimizer.add_param_group({"params": [torch.zeros(3, dtype=torch.float64)]})
    for pair in (copy.deepcopy((optimizer, scheduler)), (optimizer, scheduler)):
        for step, groups in enumerate(moves(*pair, 4), 3):
            assert [group[2] for group in groups] == pytest.approx([PULL(step)] * 2, rel=1e-12)


def test_it_is_restored_and_its_neighbours_stay(build):
    optimizer, scheduler = build()
    fresh = Puller(2, *[*optimizer.defaults.items()][2])
    key = optimizer.key
    held = [group[key] for group in optimizer.param_groups]
    moves(optimizer, scheduler, 3)
    assert optimizer.param_groups[0]["initial_pull"] == 0.25
    scheduler.close(restore=True)
    for group, untouched, before in zip(
        optimizer.param_groups, fresh.param_groups, held, strict=True
    ):
        assert group[key] == untouched[key]
        assert "initial_pull" not in group
        if isinstance(before, torch.Tensor):
            assert group[key] is before


def test_a_schedule_of_it_is_checked_by_its_row(build):
    optimizer, scheduler = build()
    before = moves(optimizer, scheduler, 1)
    with pytest.raises(ValueError, match="pull must stay < 4, got a schedule that reaches 6"):
        scheduler.reschedule(Policy(lr=LR, pull=PULL.scaled(2.0)))
    del optimizer.param_groups[1][optimizer.key]
    with pytest.raises(ValueError, match=r"pull must be left out for an optimizer.*Puller"):
        scheduler.reschedule(Policy(pull=PULL))
    assert scheduler.last_epoch == len(before) == 1


def test_a_state_holds_it(build):
    whole = moves(*build())
    training = build()
    moves(*training, 5)
    resumed = build()
    for group, saved in zip(resumed[0].param_groups, training[0].param_groups, strict=True):
        group["params"][0].copy_(saved["params"][0])
    for part, saved in zip(resumed, training, strict=True):
        part.load_state_dict(copy.deepcopy(saved.state_dict()))
    rest = moves(*resumed, STEPS - 5)
    assert rest == whole[5:]
