"""A policy as an object: a mapping of names to schedules, its values, JSON, repr and plots."""

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

import lrsched
from lrsched import Policy, compat

LR = lrsched.one_cycle(0.1, 100)
DECAY = lrsched.cosine(0.1, 0.0, 100)
POLICY = Policy(lr=LR, weight_decay=DECAY, beta_2=lrsched.constant(0.99))


def test_a_policy_is_a_mapping_of_names_to_schedules():
    assert isinstance(POLICY, Mapping)
    assert list(POLICY) == ["lr", "weight_decay", "beta_2"]
    assert len(POLICY) == 3
    assert "lr" in POLICY
    assert "momentum" not in POLICY
    assert POLICY["weight_decay"] is DECAY
    assert POLICY.get("momentum") is None
    assert dict(POLICY)["lr"] is LR
    with pytest.raises(KeyError):
        POLICY["momentum"]


def test_its_values_are_those_of_its_schedules():
    assert POLICY.at(7) == {"lr": LR(7), "weight_decay": DECAY(7), "beta_2": 0.99}
    values = POLICY.values()
    assert {name: len(column) for name, column in values.items()} == dict.fromkeys(POLICY, 100)
    np.testing.assert_array_equal(values["weight_decay"], DECAY.values())
    np.testing.assert_array_equal(POLICY.values(120)["lr"], LR.values(120))


def test_its_length_is_that_of_its_schedules():
    assert POLICY.total_steps == 100
    endless = Policy(lr=lrsched.cyclical(0.1, 0.2, 10), momentum=lrsched.constant(0.9))
    assert endless.total_steps is None
    with pytest.raises(ValueError, match="num_steps must be given for an endless"):
        endless.values()


def test_the_remedy_for_different_lengths_works():
    momentum = lrsched.linear(0.85, 0.97, 40)
    with pytest.raises(ValueError, match="got lr of 100, momentum of 40") as caught:
        Policy(lr=LR, momentum=momentum)
    assert "(then(lrsched.constant(0.97)) has momentum hold" in str(caught.value)
    assert Policy(lr=LR, momentum=momentum.then(lrsched.constant(0.97))).total_steps == 100


def test_a_part_of_it_and_one_with_more():
    assert POLICY.only("lr", "weight_decay") == Policy(lr=LR, weight_decay=DECAY)
    assert Policy(**{**POLICY, "lr": LR.scaled(2.0)}).at(0)["lr"] == 2 * LR(0)


def test_pairs_become_policies():
    pair = compat.torch_one_cycle(0.1, 100)
    assert Policy.from_pair(*pair) == Policy(lr=pair[0], momentum=pair[1])
    alone = compat.torch_one_cycle(0.1, 100, cycle_momentum=False)
    assert Policy.from_pair(*alone) == Policy(lr=alone[0])


def test_epsilon_is_an_alias():
    assert Policy(epsilon=lrsched.constant(1e-8)) == Policy(eps=lrsched.constant(1e-8))


def test_any_other_name_is_one():
    assert Policy(self=LR, clip_norm=DECAY)["clip_norm"] is DECAY


def test_equal_policies_are_one_key_and_order_does_not_matter():
    turned = Policy(**{name: POLICY[name] for name in ("beta_2", "weight_decay", "lr")})
    assert turned == POLICY
    assert len({turned, POLICY, POLICY.only("lr")}) == 2
    assert dict(POLICY) != POLICY
    assert POLICY.only("lr") != Policy(weight_decay=LR)


@pytest.mark.parametrize(
    "travel",
    [
        lambda policy: Policy.from_json(policy.to_json()),
        lambda policy: Policy.from_dict(policy.to_dict()),
        lambda policy: pickle.loads(pickle.dumps(policy)),
        copy.deepcopy,
        copy.copy,
    ],
)
def test_it_travels(travel):
    assert travel(POLICY) == POLICY
    assert list(travel(POLICY)) == list(POLICY)
    assert travel(POLICY).total_steps == 100


def test_it_is_frozen():
    with pytest.raises(AttributeError, match="a Policy is frozen"):
        POLICY.lr = LR
    with pytest.raises(TypeError):
        POLICY["lr"] = LR


def test_repr_has_a_line_for_each_schedule():
    assert repr(POLICY.only("beta_2", "weight_decay")) == (
        "Policy(\n"
        "  beta_2=Schedule(endless: 0.99 at 0 -linear-> 0.99 at 1),\n"
        "  weight_decay=Schedule(100 steps: 0.1 at 0 -cos-> 0 at 99),\n"
        ")"
    )


def test_plot_has_an_axis_for_each_over_the_same_steps():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib, of the plot extra")
    axes = POLICY.plot(color="black")
    assert [ax.get_ylabel() for ax in axes] == list(POLICY)
    assert [ax.get_xlabel() for ax in axes] == ["", "", "step"]
    assert len({ax.get_xlim() for ax in axes}) == 1
    for ax, column in zip(axes, POLICY.values().values(), strict=True):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), column)
    assert POLICY.plot(axes, num_steps=10) == axes
    assert len(axes[0].lines[1].get_xdata()) == 10
    with pytest.raises(ValueError, match="axes must be 3, one for each name"):
        POLICY.plot(axes[:2])
    pyplot.close(axes[0].figure)


REFUSED = {
    "nothing": (Policy, ValueError, "at least one schedule"),
    "a pair": (lambda: Policy((LR, DECAY)), TypeError, r"Policy\.from_pair\(lr, momentum\)"),
    "a pair as the lr": (
        lambda: Policy(lr=(LR, DECAY)),
        TypeError,
        r"lr must be a Schedule, got .* \(Policy\.from_pair\(lr, momentum\) takes a pair",
    ),
    "a number": (lambda: Policy(lr=0.1), TypeError, r"lr must be .* \(lrsched\.constant\(0\.1\)"),
    "a mapping": (lambda: Policy({"lr": LR}), TypeError, r"Policy\(\*\*mapping\)"),
    "both names of eps": (lambda: Policy(eps=LR, epsilon=LR), ValueError, "given once"),
    "no identifier": (lambda: Policy(**{"weight decay": LR}), ValueError, "must be an identifier"),
    "a part it has not": (lambda: POLICY.only("momentum"), ValueError, "got 'momentum'"),
    "a schedule's data": (lambda: Policy.from_dict(LR.to_dict()), TypeError, "Schedule.from_dict"),
    "a later format": (
        lambda: Policy.from_dict({**POLICY.to_dict(), "format": 2}),
        ValueError,
        "format must be <= 1, got 2",
    ),
    "an unknown key": (lambda: Policy.from_dict({**POLICY.to_dict(), "x": 1}), ValueError, "'x'"),
    "no JSON": (lambda: Policy.from_json("{"), ValueError, "Expecting"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_policy_is_told_what_to_do(case):
    call, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("learning_rate", "lr"),
        ("LR", "lr"),
        ("wd", "weight_decay"),
        ("WeightDecay", "weight_decay"),
        ("beta_1", "momentum, which is beta_1 in Adam"),
        ("betas", "momentum, which is beta_1 in Adam, and beta_2"),
        ("beta2", "beta_2"),
        ("EPS", "eps"),
    ],
)
def test_a_name_of_another_package_is_told_ours(name, ours):
    with pytest.raises(ValueError, match=rf"named '{name}' \(here: {ours}\)"):
        Policy(**{name: LR})
