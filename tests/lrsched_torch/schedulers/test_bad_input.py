"""What the schedulers refuse, and that they leave the optimizer as it was."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched import Policy
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR
from tests.lrsched_torch.schedulers.helpers import advance, hyperparameters, parameter, sgd

POLICY = Policy(lr=lrsched.constant(0.1), weight_decay=lrsched.constant(0.1))
BAD = {
    "not an optimizer": (lambda o: OneCycleLR(None, 0.1, 10), TypeError, "optimizer must be"),
    "a number for a schedule": (lambda o: ScheduleLR(o, 0.1), TypeError, "constant makes one"),
    "a number in the list": (lambda o: ScheduleLR(o, [0.1, 0.2]), TypeError, "lr must be a Sch"),
    "a short list": (
        lambda o: ScheduleLR(o, [lrsched.constant(0.1)]),
        ValueError,
        r"lr must hold one schedule per parameter group \(2\), got 1",
    ),
    "a short list of momenta": (
        lambda o: ScheduleLR(o, lrsched.constant(0.1), [None]),
        ValueError,
        "momentum must hold one",
    ),
    "a short list of peaks": (
        lambda o: OneCycleLR(o, [0.1], 10),
        ValueError,
        r"max_lr must be a number, or a list of one per parameter group \(2\)",
    ),
    "a momentum of 1": (
        lambda o: ScheduleLR(o, lrsched.constant(0.1), lrsched.constant(1.0)),
        ValueError,
        "momentum must stay < 1",
    ),
    "a momentum beside a policy": (
        lambda o: ScheduleLR(o, POLICY, lrsched.constant(0.5)),
        TypeError,
        r"momentum must be left out beside a Policy.*Policy\(\*\*policy, momentum=...\)",
    ),
    "a list of policies": (
        lambda o: ScheduleLR(o, [POLICY, POLICY]),
        TypeError,
        "lr must be a Schedule.*got a Policy in its place",
    ),
    "a mapping": (
        lambda o: ScheduleLR(o, {**POLICY}),
        TypeError,
        "lrsched.Policy one of a mapping",
    ),
    "no such hyper-parameter": (
        lambda o: ScheduleLR(o, Policy(lr=lrsched.constant(0.1), pull=lrsched.constant(0.1))),
        ValueError,
        r"pull must be left out .* have no number of that name, got a schedule for SGD "
        r"\(leave it out; their numbers are lr, momentum, dampening, weight_decay\)",
    ),
    "no number": (
        lambda o: ScheduleLR(o, Policy(nesterov=lrsched.constant(1))),
        ValueError,
        "no number",
    ),
    "a second beta of none": (
        lambda o: ScheduleLR(o, Policy(beta_2=lrsched.constant(0.9))),
        ValueError,
        "no second beta",
    ),
    "an eps of none": (
        lambda o: ScheduleLR(o, Policy(eps=lrsched.constant(0.9))),
        ValueError,
        "no number for eps",
    ),
    "a bad peak": (lambda o: OneCycleLR(o, [0.1, 0.0], 10), ValueError, "max_lr must be > 0"),
    "a percentage": (
        lambda o: OneCycleLR(o, 0.1, 10, pct_start=30),
        ValueError,
        "a fraction, not a percentage",
    ),
    "no length": (lambda o: OneCycleLR(o, 0.1), ValueError, "total_steps must be given"),
    "lengths that disagree": (
        lambda o: OneCycleLR(o, 0.1, 10, epochs=3, steps_per_epoch=4),
        ValueError,
        r"epochs \* steps_per_epoch \(12\).*got 10",
    ),
    "a scale that is not a function": (
        lambda o: CyclicLR(o, 0.1, 1.0, scale_fn=0.5),
        TypeError,
        "scale_fn must be a function",
    ),
    "a misspelt scale mode": (
        lambda o: CyclicLR(o, 0.1, 1.0, scale_fn=lambda x: 1.0, scale_mode="iteration"),
        ValueError,
        "scale_mode must be one of",
    ),
    "an unknown end": (
        lambda o: OneCycleLR(o, 0.1, 10, after_end="stop"),
        ValueError,
        "after_end must be one of",
    ),
    "an unknown count": (lambda o: OneCycleLR(o, 0.1, 10, count="epochs"), ValueError, "count"),
    "a late start of no kind": (
        lambda o: OneCycleLR(o, 0.1, 10, last_epoch=2.0),
        TypeError,
        "last_epoch must be an int",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_optimizer_left_as_it_was(case):
    build, error, message = BAD[case]
    optimizer = sgd(width=2)
    before = hyperparameters(optimizer)
    with pytest.raises(error, match=message):
        build(optimizer)
    assert hyperparameters(optimizer) == before
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("cls", [OneCycleLR, CyclicLR, ScheduleLR])
def test_momentum_asked_of_an_optimizer_without_is_refused(cls):
    arguments = {
        OneCycleLR: (0.1, 10),
        CyclicLR: (0.01, 0.1),
        ScheduleLR: (lrsched.constant(0.1), lrsched.constant(0.9)),
    }[cls]
    optimizer = torch.optim.Adagrad([parameter()], lr=0.1)
    before = hyperparameters(optimizer)
    with pytest.raises(ValueError, match=r"neither momentum nor betas.*cycle_momentum=False"):
        cls(optimizer, *arguments)
    assert hyperparameters(optimizer) == before


def test_weight_decay_asked_of_an_optimizer_without_is_refused():
    optimizer = torch.optim.LBFGS([parameter()], lr=0.1)
    before = hyperparameters(optimizer)
    with pytest.raises(ValueError, match=r"weight_decay must be left out.*no weight_decay.*LBFGS"):
        ScheduleLR(optimizer, POLICY)
    assert hyperparameters(optimizer) == before


def test_a_beta_that_reaches_1_is_refused():
    optimizer = torch.optim.Adam([parameter()])
    with pytest.raises(ValueError, match="beta_2 must stay < 1"):
        ScheduleLR(optimizer, Policy(beta_2=lrsched.linear(0.9, 1.0, 5)))


def test_a_bad_reschedule_changes_nothing():
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, 0.1, 20)
    before = hyperparameters(optimizer)
    with pytest.raises(ValueError, match="momentum must stay < 1"):
        scheduler.reschedule(lrsched.constant(0.1), lrsched.constant(1.5))
    assert hyperparameters(optimizer) == before
    advance(scheduler)
    assert scheduler.get_last_lr() == [lrsched.one_cycle(0.1, 20)(1)]
