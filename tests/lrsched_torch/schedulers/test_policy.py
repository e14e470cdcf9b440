"""A Policy drives what it names and nothing else: read from the weights that were moved."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
from lrsched import Policy
from lrsched_torch import ScheduleLR
from tests.lrsched_torch.schedulers.helpers import (
    adam,
    advance,
    hyperparameters,
    parameter,
    sgd,
    update,
)
from tests.recovered import draw, recovered

STEPS = 12
LR, MOMENTUM = lrsched.one_cycle(0.1, STEPS), lrsched.one_cycle_momentum(STEPS)
DECAY = lrsched.cosine(0.4, 0.0, STEPS)
POLICY = Policy(lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
WHOLE = Policy(
    **POLICY,
    beta_2=lrsched.linear(0.9, 0.999, STEPS),
    epsilon=lrsched.exponential(1e-8, 0.1, STEPS),
)


def trained(build, policy, weights, gradients):
    """The weights before the first update and after each."""
    weight = torch.nn.Parameter(torch.tensor(weights))
    optimizer = build([weight])
    scheduler = ScheduleLR(optimizer, policy)
    found = [weight.detach().numpy().copy()]
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        scheduler.step()
        found.append(weight.detach().numpy().copy())
    return np.array(found)


def by_sgd(policy, weight, gradients):
    """The rule of torch: the decay is a part of the gradient."""
    velocity = None
    for step, gradient in enumerate(gradients):
        now = policy.at(step)
        gradient = gradient + now["weight_decay"] * weight
        velocity = gradient if velocity is None else now["momentum"] * velocity + gradient
        weight = weight - now["lr"] * velocity
        yield weight


def by_adam(policy, weight, gradients, decoupled):
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients):
        now = policy.at(step)
        if decoupled:
            weight = weight * (1 - now["lr"] * now["weight_decay"])
        else:
            gradient = gradient + now["weight_decay"] * weight
        mean = now["momentum"] * mean + (1 - now["momentum"]) * gradient
        square = now["beta_2"] * square + (1 - now["beta_2"]) * gradient**2
        unbiased = mean / (1 - now["momentum"] ** (step + 1))
        root = np.sqrt(square / (1 - now["beta_2"] ** (step + 1)))
        weight = weight - now["lr"] * unbiased / (root + now["eps"])
        yield weight


RULES = {
    "SGD": (torch.optim.SGD, by_sgd, POLICY),
    "Adam": (torch.optim.Adam, lambda *a: by_adam(*a, decoupled=False), WHOLE),
    "AdamW": (torch.optim.AdamW, lambda *a: by_adam(*a, decoupled=True), WHOLE),
}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_weights_move_by_all_that_is_scheduled(rule, foreach):
    cls, by_rule, policy = RULES[rule]
    weights, gradients = draw(STEPS, 5)
    found = trained(lambda w: cls(w, foreach=foreach), policy, weights, gradients)
    expected = [weights, *by_rule(policy, weights, gradients)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_file_drives_the_weights(repo):
    """The Keras half follows the same file."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the cli extra")
    text = (repo / "tests" / "golden" / "policy.yaml").read_text()
    policy = Policy.from_config(yaml.safe_load(text))
    weights, gradients = draw(policy.total_steps, 8)
    found = recovered(
        trained(torch.optim.SGD, policy, weights, gradients), gradients, decoupled=False
    )
    for name, values in policy.values().items():
        seen = ~np.isnan(found[name])
        assert seen.sum() >= policy.total_steps - 1
        np.testing.assert_allclose(found[name][seen], values[seen], rtol=1e-10)


# A policy of a part


def test_what_is_not_named_is_left_alone():
    optimizer = adam(weight_decay=0.2)
    before = hyperparameters(optimizer)
    scheduler = ScheduleLR(optimizer, Policy(beta_2=lrsched.constant(0.5)))
    advance(scheduler, 3)
    assert hyperparameters(optimizer) == [{**before[0], "betas": (0.9, 0.5), "initial_lr": 0.5}]
    optimizer.param_groups[0]["lr"] = 0.25
    assert scheduler.get_lr() == scheduler.get_last_lr() == [0.25]
    assert scheduler.get_last_momentum() == [None]
    assert scheduler.base_lrs == [0.5]
    scheduler.close(restore=True)
    assert hyperparameters(optimizer) == [{**before[0], "lr": 0.25}]


def test_a_key_of_the_groups_is_a_name():
    optimizer = sgd(width=2, nesterov=False, dampening=0.5)
    ScheduleLR(optimizer, Policy(dampening=lrsched.linear(0.5, 0.0, 3)), last_epoch=0)
    assert [group["dampening"] for group in optimizer.param_groups] == [0.25] * 2


def test_it_schedules_the_decay_beside_another_scheduler_of_the_lr():
    def run(with_decay):
        optimizer = sgd(weight_decay=0.4)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        decay = ScheduleLR(optimizer, Policy(weight_decay=DECAY)) if with_decay else None
        for step in range(STEPS):
            group = optimizer.param_groups[0]
            yield group["lr"], group["weight_decay"] if with_decay else DECAY(step)
            group["params"][0].grad = torch.ones(2, dtype=torch.float64)
            optimizer.step()
            cosine.step()
            if decay:
                assert decay.get_last_lr() == [group["lr"]]
                decay.step()

    assert list(run(with_decay=True)) == list(run(with_decay=False))


def test_one_within_sequential_lr_starts_at_its_turn():
    optimizer = sgd(weight_decay=0.1)
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3),
        ScheduleLR(optimizer, Policy(weight_decay=DECAY)),
    ]
    sequence = lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])
    found = []
    for _ in range(6):
        update(optimizer)
        sequence.step()
        found.append(optimizer.param_groups[0]["weight_decay"])
    assert found[2:] == [DECAY(step) for step in range(4)]


def test_what_is_set_by_hand_survives_the_loading_of_an_optimizer():
    optimizer = sgd(weight_decay=0.1)
    scheduler = ScheduleLR(optimizer, POLICY.only("weight_decay", "momentum"))
    optimizer.param_groups[0]["weight_decay"] = 0.7
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert decays(optimizer) == [0.7]
    assert scheduler.last_epoch == 0


def test_without_the_lr_the_others_say_when_it_ends():
    optimizer = sgd(weight_decay=0.1)
    policy = Policy(weight_decay=DECAY, momentum=MOMENTUM)
    scheduler = ScheduleLR(optimizer, policy, after_end="raise")
    assert scheduler.total_steps == STEPS
    advance(scheduler, STEPS)
    update(optimizer)
    with pytest.raises(ValueError, match=r"at most total_steps \(12\)"):
        scheduler.step()
    endless = Policy(weight_decay=lrsched.constant(0.1))
    assert not hasattr(ScheduleLR(optimizer, endless), "total_steps")


def test_what_is_endless_does_not_keep_the_lr_after_its_end():
    optimizer = adam()
    policy = Policy(lr=lrsched.linear(0.1, 0.01, 5), beta_2=lrsched.cyclical(0.9, 0.99, 3))
    scheduler = ScheduleLR(optimizer, policy)
    advance(scheduler, 5)
    optimizer.param_groups[0]["lr"] = 0.3
    advance(scheduler, 3)
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.param_groups[0]["betas"] == (0.9, policy["beta_2"](5))


# Two schedulers, each with a part


def build_two():
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=0.3, weight_decay=0.3)
    return (
        optimizer,
        ScheduleLR(optimizer, POLICY.only("lr", "momentum")),
        ScheduleLR(optimizer, POLICY.only("weight_decay")),
    )


def train(optimizer, *schedulers, steps):
    (weight,) = optimizer.param_groups[0]["params"]
    for _ in range(steps):
        weight.grad = torch.cos(weight.detach())
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return weight.detach().clone()


def test_two_policies_of_different_names_are_as_one():
    (weight,) = build_two()[0].param_groups[0]["params"]
    optimizer = torch.optim.AdamW([weight], lr=0.3, weight_decay=0.3)
    whole = train(optimizer, ScheduleLR(optimizer, POLICY), steps=STEPS)
    assert torch.equal(train(*build_two(), steps=STEPS), whole)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("cut", [0, 5, STEPS])
def test_two_policies_are_resumed_exactly_in_any_order(order, cut):
    whole = train(*build_two(), steps=STEPS)
    broken, resumed = build_two(), build_two()
    weight = train(*broken, steps=cut)
    resumed[0].param_groups[0]["params"][0].data.copy_(weight)
    for part in order:
        resumed[part].load_state_dict(copy.deepcopy(broken[part].state_dict()))
    assert torch.equal(train(*resumed, steps=STEPS - cut), whole)


def test_two_schedulers_of_one_name_are_warned_of():
    optimizer = sgd(weight_decay=0.1)
    both = ScheduleLR(optimizer, POLICY)
    other = ScheduleLR(optimizer, Policy(weight_decay=lrsched.constant(0.7)))
    for _ in range(STEPS - 1):
        advance(both)
        other.step()
    with pytest.warns(UserWarning, match="^weight_decay of the optimizer was set by something"):
        advance(both)


# Groups without weight decay


def groups():
    return [{"params": [parameter()]}, {"params": [parameter()], "weight_decay": 0.0}]


def decays(optimizer):
    return [group["weight_decay"] for group in optimizer.param_groups]


def test_a_group_that_is_built_without_decay_stays_so():
    optimizer = torch.optim.AdamW(groups(), weight_decay=0.1)
    scheduler = ScheduleLR(optimizer, POLICY)
    assert decays(optimizer) == [0.4, 0.0]
    optimizer.add_param_group({"params": [parameter()], "weight_decay": 0})
    optimizer.add_param_group({"params": [parameter()]})
    advance(scheduler, 3)
    assert decays(optimizer) == [DECAY(3), 0.0, 0.0, DECAY(3)]
    assert [group["lr"] for group in optimizer.param_groups] == [LR(3)] * 4


def test_where_no_group_has_decay_all_get_it():
    optimizer = sgd(width=2)
    scheduler = ScheduleLR(optimizer, POLICY)
    optimizer.add_param_group({"params": [parameter()]})
    advance(scheduler)
    assert decays(optimizer) == [DECAY(1)] * 3


@pytest.mark.parametrize("scheduler_first", [False, True])
def test_it_stays_so_when_resumed_where_the_schedule_is_0(scheduler_first):
    """The state of the optimizer then has a decay of 0 in all groups."""
    valley = Policy(weight_decay=lrsched.linear(0.2, 0.0, 5).then(lrsched.linear(0.1, 0.2, 5)))
    first = torch.optim.AdamW(groups(), weight_decay=0.1)
    scheduler = ScheduleLR(first, valley)
    advance(scheduler, 4)
    assert decays(first) == [0.0, 0.0]
    second = torch.optim.AdamW(groups())
    second.load_state_dict(first.state_dict())
    resumed = ScheduleLR(second, valley)
    loads = [(second, first.state_dict()), (resumed, scheduler.state_dict())]
    for part, state in reversed(loads) if scheduler_first else loads:
        part.load_state_dict(state)
    assert decays(second) == [0.0, 0.0]
    advance(resumed, 3)
    assert decays(second) == [pytest.approx(0.15), 0.0]
