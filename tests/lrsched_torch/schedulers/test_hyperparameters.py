"""A hyper-parameter that no optimizer of torch has is scheduled by one row of the table."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched_torch import ScheduleLR
from lrsched_torch.param_groups import HYPERPARAMETERS, HyperParameter, Place

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
    """An optimizer with a pull, and a scheduler that follows a policy from step 0."""
    place, pull = PLACES[request.param]
    row = HyperParameter("pull", (place,), below=4.0, mark="initial_pull")
    monkeypatch.setitem(HYPERPARAMETERS, "pull", row)

    def follow(width=2, **policy):
        optimizer = Puller(width, place.key, copy.deepcopy(pull))
        scheduler = ScheduleLR(optimizer, LR)
        scheduler._follow({"lr": LR, "momentum": MOMENTUM, **policy}, only_in_use=False)
        scheduler._apply(0)
        return optimizer, scheduler

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
    """Each group may follow another schedule of it, or none."""
    twice = PULL.scaled(1.25)
    for step, groups in enumerate(moves(*build(3, pull=[PULL, None, twice]))):
        for moved, pull in zip(groups, (PULL(step), 0.25, twice(step)), strict=True):
            assert moved == pytest.approx([LR(step), MOMENTUM(step), pull], rel=1e-12)


def test_a_group_added_later_and_a_copied_scheduler_follow_it(build):
    optimizer, scheduler = build(1, pull=PULL)
    moves(optimizer, scheduler, 3)
    optimizer.add_param_group({"params": [torch.zeros(3, dtype=torch.float64)]})
    for pair in (copy.deepcopy((optimizer, scheduler)), (optimizer, scheduler)):
        for step, groups in enumerate(moves(*pair, 4), 3):
            assert [group[2] for group in groups] == pytest.approx([PULL(step)] * 2, rel=1e-12)


def test_it_is_restored_and_its_neighbours_stay(build):
    optimizer, scheduler = build(pull=PULL)
    fresh, _ = build(pull=None)
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
    optimizer, scheduler = build(pull=PULL)
    before = moves(optimizer, scheduler, 1)
    with pytest.raises(ValueError, match="pull must stay < 4, got a schedule that reaches 6"):
        scheduler._follow({"lr": LR, "pull": PULL.scaled(2.0)}, only_in_use=False)
    del optimizer.param_groups[1][optimizer.key]
    with pytest.raises(ValueError, match=r"pull must be None for an optimizer.*Puller"):
        scheduler._follow({"lr": LR, "pull": PULL}, only_in_use=False)
    assert scheduler.last_epoch == len(before) == 1


def test_a_state_that_cannot_hold_it_is_not_written(build):
    _, scheduler = build(pull=PULL)
    with pytest.raises(ValueError, match="format 1 must hold schedules of lr and momentum"):
        scheduler.state_dict()
