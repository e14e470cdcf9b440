"""Changes of a whole policy: which schedules they are for, and that all end together."""

import numpy as np
import pytest

import lrsched
from lrsched import Policy

LR = lrsched.one_cycle(0.1, 100)
DECAY = lrsched.cosine(0.1, 0.0, 100)
CONSTANT = lrsched.constant(0.99)
WAVE = lrsched.cyclical(0.1, 0.2, 10)
POLICY = Policy(lr=LR, weight_decay=DECAY, beta_2=CONSTANT)
ENDLESS = Policy(lr=WAVE, momentum=CONSTANT)


def test_then_chains_every_schedule():
    chain = POLICY.only("lr", "weight_decay").then(Policy(weight_decay=CONSTANT, lr=WAVE))
    assert chain == Policy(lr=LR.then(WAVE), weight_decay=DECAY.then(CONSTANT))


def test_truncated_cuts_every_schedule():
    cut = ENDLESS.truncated(30)
    assert cut == Policy(lr=WAVE.truncated(30), momentum=CONSTANT.truncated(30))
    assert cut.total_steps == 30


def test_endless_schedules_are_not_stretched():
    assert POLICY.stretched(50) == Policy(
        lr=LR.stretched(50), weight_decay=DECAY.stretched(50), beta_2=CONSTANT
    )
    assert POLICY.extended(150, at=40) == Policy(
        lr=LR.extended(150, 40), weight_decay=DECAY.extended(150, 40), beta_2=CONSTANT
    )


def test_cooldown_takes_the_lr_down_and_ends_the_others_with_it():
    cooled = POLICY.cooldown(60, 11, "linear", to=0.001)
    assert cooled == Policy(
        lr=LR.cooldown(60, 11, "linear", 0.001), weight_decay=DECAY.truncated(71), beta_2=CONSTANT
    )
    assert list(cooled) == list(POLICY)
    assert cooled.total_steps == 71
    np.testing.assert_allclose(cooled.values()["weight_decay"], DECAY.values(71), rtol=1e-12)


def test_cooldown_of_other_names():
    cooled = POLICY.cooldown(60, 11, names=["lr", "weight_decay"])
    assert cooled["weight_decay"] == DECAY.cooldown(60, 11)
    assert POLICY.cooldown(60, 11, names=["beta_2"])["lr"] == LR.truncated(71)
    assert ENDLESS.cooldown(60, 11) == Policy(lr=WAVE.cooldown(60, 11), momentum=CONSTANT)


REFUSED = {
    "other names": (
        lambda: POLICY.then(ENDLESS),
        "must have its names, lr, weight_decay, beta_2, got lr, momentum",
    ),
    "after endless": (lambda: ENDLESS.then(ENDLESS), "then must follow a schedule with"),
    "all endless": (lambda: ENDLESS.stretched(9), "stretched must be asked of a policy with"),
    "endless": (lambda: ENDLESS.extended(9, 1), "extended must be asked of a policy with"),
    "too long": (
        lambda: Policy(lr=WAVE, weight_decay=DECAY).cooldown(95, 6),
        r"at \+ steps must be <= total_steps \(100\), got 101",
    ),
    "no lr": (lambda: POLICY.only("beta_2").cooldown(9, 9), "names must be of .* beta_2, got 'lr'"),
    "no names": (lambda: POLICY.cooldown(9, 9, names=[]), "at least one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_changed_so_is_told_why(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: POLICY.then(LR), "other must be a Policy"),
        (lambda: POLICY.cooldown(9, 9, names="lr"), "names must be a list of names"),
        (lambda: POLICY.truncated(0.5), "step must be an int"),
    ],
)
def test_a_wrong_kind_is_a_type_error(call, message):
    with pytest.raises(TypeError, match=message):
        call()
