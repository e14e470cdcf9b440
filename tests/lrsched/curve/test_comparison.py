"""The mean of several curves, and several side by side."""

import math

import numpy as np
import pytest

from lrsched.curve.comparison import average, compare
from lrsched.curve.loss_curve import LossCurve
from tests.lrsched.helpers import losses_at


def test_average_is_the_mean_as_far_as_the_shortest_sweep_went():
    lr = np.geomspace(1e-7, 10, 30)
    long = LossCurve(lr, np.full(30, 3.0), notes=("a",))
    short = LossCurve(
        lr[:20], np.arange(20.0), num_steps=30, stop_reason="diverged", notes=("a", "b")
    )
    mean = average([long, short])
    np.testing.assert_array_equal(mean.lr, lr[:20])
    np.testing.assert_array_equal(mean.loss, (3 + np.arange(20.0)) / 2)
    assert (mean.stop_reason, mean.num_steps) == ("diverged", 30)
    assert mean.notes == ("a", "b", "The mean of 2 sweeps.")
    assert average([long]) is long


def test_average_says_that_a_sweep_has_ended_in_nan_whatever_the_order():
    lr = [0.1, 0.2]
    pair = [
        LossCurve(lr, [1.0, 9.0], stop_reason="diverged"),
        LossCurve(lr, [1.0, math.nan], stop_reason="non-finite loss"),
    ]
    for curves_given in (pair, pair[::-1]):
        assert average(curves_given).stop_reason == "non-finite loss"


def test_average_of_huge_and_infinite_losses_is_no_accident():
    lr = [0.1, 0.2, 0.3]
    mean = average([LossCurve(lr, [1e308, math.inf, math.inf])] * 2)
    np.testing.assert_array_equal(mean.loss, [1e308, math.inf, math.inf])
    mixed = average([LossCurve(lr, [1, 2, math.inf]), LossCurve(lr, [3, 4, -math.inf])])
    np.testing.assert_array_equal(mixed.loss, [2.0, 3.0, math.nan])


@pytest.mark.parametrize(
    ("curves_given", "error"),
    [
        ([], ValueError),
        ([[1, 2]], TypeError),
        ([LossCurve([1], [1]), LossCurve([2], [1])], ValueError),
    ],
)
def test_average_refuses_what_has_no_mean(curves_given, error):
    with pytest.raises(error, match=r"^curves must"):
        average(curves_given)


def test_compare_names_its_curves():
    lr = np.geomspace(1e-7, 10, 300)
    pair = LossCurve(lr, losses_at(lr)), LossCurve(lr, np.ones(300))
    found = compare(pair, labels=["good", "flat"]).suggestions()
    assert found["good"].lr > 0
    assert found["flat"].lr is None
    assert compare(pair).labels == ("curve 1", "curve 2")
    both = compare(pair, labels=["good", "flat"])
    assert "flat: No learning rate" in str(both)
    assert repr(both).startswith("Comparison(good: LossCurve(300 of 300 steps")


@pytest.mark.parametrize(
    ("curves_given", "labels", "error"),
    [
        ([], None, ValueError),
        ([[1, 2]], None, TypeError),
        ([LossCurve([1], [1])], ["a", "b"], ValueError),
        ([LossCurve([1], [1])], [3], TypeError),
        ([LossCurve([1], [1])] * 2, "ab", TypeError),
        ([LossCurve([1], [1])] * 2, ["a", "a"], ValueError),
    ],
)
def test_compare_refuses_what_it_cannot_name(curves_given, labels, error):
    with pytest.raises(error, match=r"^(curves|labels) must"):
        compare(curves_given, labels)
