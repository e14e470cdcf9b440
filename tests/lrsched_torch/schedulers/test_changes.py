"""Changes of mind in mid-run: cooldown and extend, continuous at that step and in the state."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched import Policy
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR
from tests.lrsched_torch.schedulers.helpers import (
    adam,
    advance,
    hyperparameters,
    parameter,
    sgd,
    update,
)

STEPS = 40
LR = lrsched.one_cycle(0.1, STEPS)
POLICY = Policy(
    lr=LR,
    momentum=lrsched.one_cycle_momentum(STEPS),
    weight_decay=lrsched.cosine(0.4, 0.1, STEPS),
    eps=lrsched.constant(1e-6),
)


def values(scheduler, steps):
    """The lr and weight decay of each update."""
    found = []
    for _ in range(steps):
        group = scheduler.optimizer.param_groups[0]
        found.append((group["lr"], group["weight_decay"]))
        advance(scheduler)
    return found


CHANGES = {
    "sqrt": (lambda s: s.cooldown(8), lambda p: p.cooldown(15, 8), 23),
    "exp": (
        lambda s: s.cooldown(25, "exp", 1e-4, names=["lr", "weight_decay"]),
        lambda p: p.cooldown(15, 25, "exp", 1e-4, names=["lr", "weight_decay"]),
        40,
    ),
    "extend": (lambda s: s.extend(70), lambda p: p.extended(70, 15), 70),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_run_goes_on_as_the_changed_policy_says(change):
    call, expected, total_steps = CHANGES[change]
    scheduler = ScheduleLR(adam(weight_decay=0.1), POLICY)
    found = values(scheduler, 15)
    before = hyperparameters(scheduler.optimizer)
    call(scheduler)
    after = hyperparameters(scheduler.optimizer)
    for name in ("lr", "weight_decay", "eps"):
        assert after[0][name] == pytest.approx(before[0][name], rel=1e-12)
    assert scheduler.total_steps == total_steps
    found += values(scheduler, total_steps + 3 - 15)
    for policy, steps in ((expected(POLICY), total_steps + 3), (POLICY, 15)):
        curves = policy.values(steps)
        columns = zip(curves["lr"].tolist(), curves["weight_decay"].tolist(), strict=True)
        assert found[:steps] == list(columns)


def test_an_update_that_waits_for_its_step_is_not_the_first_of_the_cooldown():
    scheduler = ScheduleLR(sgd(), LR)
    advance(scheduler, 15)
    update(scheduler.optimizer)
    scheduler.cooldown(8)
    assert scheduler.optimizer.param_groups[0]["lr"] == LR(15)
    scheduler.step()
    assert scheduler.total_steps == 16 + 8
    assert scheduler.optimizer.param_groups[0]["lr"] == LR(16)
    advance(scheduler, 7)
    assert scheduler.optimizer.param_groups[0]["lr"] == 0.0


def test_a_scheduler_of_epochs_counts_in_epochs():
    scheduler = ScheduleLR(sgd(), LR, count="calls")
    for _ in range(15):
        update(scheduler.optimizer)
        scheduler.step()
    update(scheduler.optimizer)
    scheduler.cooldown(8)
    assert scheduler.total_steps == 15 + 8


def test_an_endless_schedule_cools_down():
    wave = lrsched.cyclical(0.1, 0.4, 5)
    scheduler = ScheduleLR(sgd(), wave)
    advance(scheduler, 18)
    scheduler.cooldown(5, "linear", to=0.1)
    found = [lr for (lr, _) in values(scheduler, 5)]
    assert found == pytest.approx([wave(18) + (0.1 - wave(18)) * k / 4 for k in range(5)])


@pytest.mark.parametrize("cls", [OneCycleLR, ScheduleLR])
def test_each_group_changes_from_its_own_value(cls):
    peaks = [0.1, 0.4]
    lrs = [lrsched.one_cycle(peak, STEPS) for peak in peaks]
    momentum = [lrsched.one_cycle_momentum(STEPS), None]
    arguments = (peaks, STEPS) if cls is OneCycleLR else (lrs, momentum)
    scheduler = cls(sgd(width=2), *arguments)
    advance(scheduler, 20)
    scheduler.cooldown(5)
    advance(scheduler, 2)
    cooled = [lr.cooldown(20, 5)(22) for lr in lrs]
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == cooled
    found = scheduler.optimizer.param_groups[0]["momentum"]
    assert found == lrsched.one_cycle_momentum(STEPS)(22)


def test_a_group_with_a_factor_keeps_it():
    scheduler = ScheduleLR(sgd(), LR)
    advance(scheduler, 10)
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 0.25})
    with pytest.warns(UserWarning, match="added with an lr of its own"):
        advance(scheduler, 5)
    scheduler.cooldown(8)
    advance(scheduler, 3)
    first, second = (group["lr"] for group in scheduler.optimizer.param_groups)
    assert first == LR.cooldown(15, 8)(18)
    assert second == pytest.approx(first / LR(10) * 0.25, rel=1e-12)


# State


def training(policy=POLICY, **options):
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [weight]} for weight in weights], weight_decay=0.1)
    return weights, optimizer, ScheduleLR(optimizer, policy, **options)


def train(weights, optimizer, scheduler, steps):
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.cos(3 * weight.detach())
        optimizer.step()
        scheduler.step()
    return torch.cat([weight.detach() for weight in weights])


def resumed(broken, new):
    for weight, saved in zip(new[0], broken[0], strict=True):
        weight.data.copy_(saved.detach())
    for part, saved in zip(new[1:], broken[1:], strict=True):
        part.load_state_dict(copy.deepcopy(saved.state_dict()))
    return new


KILLED = {
    "cooldown": (lambda s: s.cooldown(9), 24),
    "extend": (lambda s: s.extend(50), 50),
    "both": (lambda s: (s.extend(50), s.cooldown(30)), 45),
}


@pytest.mark.parametrize("policy", [POLICY, POLICY.only("lr")], ids=["policy", "lr"])
@pytest.mark.parametrize("change", KILLED)
def test_a_run_killed_at_any_step_after_it_is_resumed_exactly(policy, change):
    """By the script that built it, which knows nothing of the change."""
    call, total_steps = KILLED[change]
    whole = training(policy)
    train(*whole, 15)
    call(whole[2])
    for cut in (15, 16, 20, total_steps - 1, total_steps):
        train(*whole, cut - whole[2].last_epoch)
        rest = resumed(whole, training(policy))
        assert rest[2].total_steps == total_steps
        steps = total_steps - cut
        unbroken = copy.deepcopy(whole)
        assert torch.equal(train(*rest, steps), train(*unbroken, steps))
        assert rest[2].state_dict() == unbroken[2].state_dict()


@pytest.mark.parametrize("carry", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_has_the_change_and_what_was_planned(carry):
    first = training()
    train(*first, 15)
    first[2].cooldown(8)
    second = carry(first)
    assert torch.equal(train(*second, 9), train(*first, 9))
    assert second[2].state_dict() == first[2].state_dict()


def test_a_change_is_kept_where_nothing_else_differs():
    """Whatever is to be done about a mismatch; and it is lost where the policies differ."""
    changed = training()
    train(*changed, 15)
    changed[2].cooldown(8)
    state = changed[2].state_dict()
    for choice in ("keep", "override", "raise"):
        assert resumed(changed, training(on_mismatch=choice))[2].total_steps == 23
    by_hand = training(POLICY.cooldown(15, 8))[2]
    by_hand.load_state_dict(state)
    other = training(POLICY.only("lr", "eps"))[2]
    with pytest.raises(ValueError, match=r"got others: .*weight_decay Schedule\(23 steps.*None"):
        other.load_state_dict(state)
    other.load_state_dict(state, on_mismatch="keep")
    assert other.total_steps == STEPS
    other.load_state_dict(state, on_mismatch="override")
    assert other.total_steps == 23
    assert other.state_dict() == state


def test_a_state_from_before_the_change_undoes_it():
    scheduler = training()[2]
    before = scheduler.state_dict()
    scheduler.cooldown(8)
    scheduler.load_state_dict(before)
    assert scheduler.total_steps == STEPS
    assert scheduler.state_dict() == before


# Bad input


def ended():
    scheduler = ScheduleLR(sgd(), LR)
    advance(scheduler, STEPS)
    return scheduler


def after(steps, *arguments, cls=ScheduleLR, **options):
    scheduler = cls(sgd(width=2), *arguments, **options)
    advance(scheduler, steps)
    return scheduler


RUNNING, ENDLESS = lambda: after(3, LR), lambda: after(3, lrsched.constant(0.1))
SHORT = [LR, lrsched.one_cycle(0.1, 20)]
REFUSED = {
    "longer than what is left": (
        lambda: after(30, LR),
        lambda s: s.cooldown(11),
        ValueError,
        r"steps must be <= what is left of total_steps \(10\), got 11 \(fewer steps; extend",
    ),
    "one step": (
        RUNNING,
        lambda s: s.cooldown(1),
        ValueError,
        "steps must be an int >= 2",
    ),
    "a fraction": (
        RUNNING,
        lambda s: s.cooldown(0.5),
        TypeError,
        "steps must be an int",
    ),
    "a fraction of no end": (
        ENDLESS,
        lambda s: s.cooldown(0.5),
        TypeError,
        "steps must be an int",
    ),
    "an unknown shape": (
        RUNNING,
        lambda s: s.cooldown(5, "cosine"),
        ValueError,
        "shape must be one of",
    ),
    "exp to 0": (
        RUNNING,
        lambda s: s.cooldown(5, "exp"),
        ValueError,
        "to must be > 0",
    ),
    "a name that is not driven": (
        RUNNING,
        lambda s: s.cooldown(5, names=["lr", "eps"]),
        ValueError,
        "names must be of this policy's lr, got 'eps'",
    ),
    "after the end": (
        ended,
        lambda s: s.cooldown(2),
        ValueError,
        r"before the last of total_steps \(40\)",
    ),
    "extended after the end": (ended, lambda s: s.extend(90), ValueError, "reschedule follows"),
    "shorter": (
        RUNNING,
        lambda s: s.extend(30),
        ValueError,
        "cooldown ends one sooner",
    ),
    "endless": (
        ENDLESS,
        lambda s: s.extend(30),
        ValueError,
        "extended must be asked of a policy with total_steps",
    ),
    "of two lengths": (lambda: after(3, SHORT), lambda s: s.extend(60), ValueError, "end together"),
    "with code": (
        lambda: after(3, 0.01, 0.1, 4, cls=CyclicLR, scale_fn=lambda x: 1.0),
        lambda s: s.cooldown(5),
        ValueError,
        "lr must be a schedule without a scale_fn",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_changes(case):
    build, call, error, message = REFUSED[case]
    scheduler = build()
    before = hyperparameters(scheduler.optimizer), scheduler.state_dict(), repr(scheduler)
    with pytest.raises(error, match=message):
        call(scheduler)
    after = hyperparameters(scheduler.optimizer), scheduler.state_dict(), repr(scheduler)
    assert after == before


def test_a_group_that_cannot_join_is_refused_before_anything_changes():
    scheduler = ScheduleLR(sgd(), lrsched.linear(0.1, 0.0, 5).then(LR))
    advance(scheduler, 4)
    before = scheduler.state_dict()
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 0.25})
    with pytest.raises(ValueError, match="lr of a group that is added must be that of the others"):
        scheduler.cooldown(5)
    assert scheduler.state_dict() == before


def test_a_closed_scheduler_is_not_changed():
    scheduler = after(3, LR)
    scheduler.close()
    with pytest.raises(RuntimeError, match="closed scheduler"):
        scheduler.cooldown(5)
