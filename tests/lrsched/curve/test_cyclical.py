"""The bounds of a cyclical learning rate: where they lie, what is said of them."""

import math

import numpy as np
import pytest

import lrsched
from lrsched.curve.loss_curve import LossCurve
from tests.lrsched.helpers import losses_at

LR = np.geomspace(1e-7, 10, 300)
CURVE = LossCurve(LR, losses_at(LR))
FLAT = LossCurve(LR, np.ones(300))


def test_smiths_reading_spans_the_descent():
    found = CURVE.cyclical_range()
    base_lr, max_lr = found
    assert (found.base_lr, found.max_lr, found.method) == (base_lr, max_lr, "smith")
    assert 1e-5 < base_lr < 1e-3 < max_lr < 0.1
    assert base_lr <= max_lr / 3
    assert isinstance(found, lrsched.CyclicalRange)
    assert "where the loss begins to fall" in found.reason
    assert found.confident
    assert str(found).startswith(f"Cyclical range from {base_lr:.3g} to {max_lr:.3g}: base_lr is")


@pytest.mark.parametrize("options", [{}, {"method": "ratio"}, {"method": "ratio", "ratio": 6}])
def test_a_cycle_has_the_mean_lr_of_constant_training_and_no_1cycle_peak(options):
    base_lr, max_lr = CURVE.cyclical_range(**options)
    mean = lrsched.cyclical(base_lr, max_lr, step_size_up=50).values(100).mean()
    assert mean == pytest.approx(CURVE.suggest(schedule="constant").lr, rel=1e-9)
    assert max_lr < CURVE.suggest(schedule="one_cycle").lr


@pytest.mark.parametrize(("ratio", "expected"), [(None, 4.0), (3, 3.0), (6.0, 6.0)])
def test_the_rule_of_practice_keeps_a_ratio(ratio, expected):
    found = CURVE.cyclical_range(method="ratio", ratio=ratio)
    assert found.max_lr / found.base_lr == pytest.approx(expected)
    assert found.method == "ratio"
    assert f"max_lr / {expected:g}" in found.reason


def test_no_descent_is_a_reason_and_nothing_to_unpack():
    found = FLAT.cyclical_range()
    assert (found.base_lr, found.max_lr, found.confident) == (None, None, False)
    assert found.reason == FLAT.suggest().reason
    assert str(found) == f"No cyclical range suggested: {found.reason}."
    with pytest.raises(ValueError, match=r"got none: No cyclical range suggested: the loss never"):
        lrsched.cyclical(*found, 10)
    with pytest.raises(TypeError, match=r"base_lr must be .*its base_lr and max_lr are None"):
        lrsched.cyclical(found, 0.1, 10)
    with pytest.raises(TypeError, match=r"pass its base_lr, .*, and its max_lr, "):
        lrsched.cyclical(CURVE.cyclical_range(), 0.1, 10)


def test_doubt_in_the_curve_is_doubt_in_its_range():
    lr = np.geomspace(1e-7, 10, 50)
    found = LossCurve(lr, losses_at(lr)).cyclical_range()
    assert not found.confident
    assert "use more steps" in found.reason
    assert ", with doubt: " in str(found)


def test_the_reading_does_not_leave_the_sweep():
    """Its ends are a factor of 3 apart, for which this sweep has no room below the suggestion."""
    lr = np.geomspace(1e-3, 0.0645358664366641, 17)
    noise = 0.01 * np.random.default_rng(0).standard_normal(17)
    curve = LossCurve(lr, np.repeat([2.0, 1.0, 4.0], [5, 3, 9]) + noise)
    assert lr[0] < curve.suggest().lr < 3 * lr[0]
    assert "sweep from a lower start_lr" in curve.cyclical_range().reason
    assert curve.cyclical_range(method="ratio").max_lr <= curve.suggest().lr


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "leslie"}, ValueError, "method must be one of 'smith', 'ratio'"),
        ({"ratio": 4}, ValueError, "ratio must come with method='ratio'"),
        ({"method": "ratio", "ratio": 1}, ValueError, "1 must be < ratio"),
        ({"method": "ratio", "ratio": math.nan}, ValueError, "ratio must be"),
        ({"method": "ratio", "ratio": "4"}, TypeError, "ratio must be"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        CURVE.cyclical_range(**options)
