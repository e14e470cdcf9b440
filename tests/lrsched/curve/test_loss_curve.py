"""The loss curve: its values, its files, what it refuses and what it says."""

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched.curve.loss_curve import LossCurve
from lrsched.range_test import RangeTest
from tests.lrsched.helpers import drive


def test_the_curve_is_read_only_and_does_not_follow_the_array_it_was_made_from():
    loss = np.ones(2, np.float32)
    curve = LossCurve([0.1, 0.2], loss)
    loss[:] = 5
    assert curve.loss.tolist() == [1, 1]
    assert curve.loss.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        curve.loss[0] = 3
    with pytest.raises(AttributeError):
        curve.loss = np.ones(2)


curves = st.integers(0, 30).flatmap(
    lambda n: st.builds(
        LossCurve,
        st.just(np.geomspace(1e-6, 1, n)),
        st.lists(st.floats(), min_size=n, max_size=n),
        stop_reason=st.sampled_from(["finished", "diverged", 'quoted "reason", é']),
        num_steps=st.none() | st.integers(30, 50),
        end_lr=st.none() | st.just(2.0),
    )
)


@given(curves)
def test_json_and_pickle_round_trips_are_equal(curve):
    assert LossCurve.from_json(curve.to_json()) == curve
    for copied in (pickle.loads(pickle.dumps(curve)), copy.deepcopy(curve)):
        assert copied == curve
        assert not copied.lr.flags.writeable
        assert not copied.loss.flags.writeable
    assert hash(LossCurve.from_json(curve.to_json())) == hash(curve)


@given(curves)
def test_csv_round_trip_keeps_every_bit(curve):
    again = LossCurve.from_csv(curve.to_csv())
    assert again.lr.tolist() == curve.lr.tolist()
    np.testing.assert_array_equal(again.loss, curve.loss)


def test_zero_has_no_sign_and_nan_one_value_where_curves_are_equal():
    lr = [0.1, 0.2]
    for one, other in ((0.0, -0.0), (math.nan, -math.nan)):
        pair = LossCurve(lr, [1.0, one]), LossCurve(lr, [1.0, other])
        assert len(set(pair)) == 1


def test_different_curves_are_not_equal():
    curve = LossCurve([0.1, 0.2], [1.0, math.nan])
    assert curve != LossCurve([0.1, 0.2], [1.0, math.inf])
    assert curve != LossCurve([0.1, 0.2], [1.0, math.nan], stop_reason="diverged")
    assert curve != LossCurve([0.1, 0.3], [1.0, math.nan])
    assert curve != "curve"


CSV = {
    "as Excel writes it": "\ufefflr,loss\r\n0.1,2\r\n0.2,\r\n",
    "as pandas writes it": ",lr,loss\n0,0.1,2\n1,0.2,\n",
    "of other columns": "step, loss, lr\n0, 2, 1e-1\n1, nan, 2e-1\n",
}


@pytest.mark.parametrize("form", CSV)
def test_csv_is_read(form):
    assert LossCurve.from_csv(CSV[form]) == LossCurve([0.1, 0.2], [2.0, math.nan])


@pytest.mark.parametrize("wrong", [b"lr,loss", None, Path("curve.csv")])
def test_csv_is_text(wrong):
    with pytest.raises(TypeError, match="text must be a str"):
        LossCurve.from_csv(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns lr and loss"),
        ("1,2\n3,4\n", "columns lr and loss"),
        ("lr,loss\n0.1,high\n", "got '0.1' and 'high' in line 2"),
        ("lr,loss\n0.1\n", "in line 2"),
        ("lr,loss\n\n\n0.1,high\n", "in line 4"),
        ("lr,loss\n0.1," + "1" * 200_000, "text must be CSV, got field larger than .* in line 2"),
        ("lr,loss\n0.1,1\n0.1,1\n", "strictly increasing"),
    ],
)
def test_a_malformed_csv_says_where(text, message):
    with pytest.raises(ValueError, match=message):
        LossCurve.from_csv(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "newer version"),
        ({"extra": 1}, "keys among"),
        ({"num_steps": 1}, "num_steps must be"),
        ({"lr": [0.1, -0.2]}, "lr must hold finite numbers > 0"),
        ({"end_lr": -1.0}, "end_lr must be > 0"),
        ({"end_lr": 0.15}, r"the last lr must be <= end_lr \(0.15\), got 0.2"),
        ({"start_lr": 0.15}, r"start_lr must be <= the first lr \(0.1\), got 0.15"),
        ({"loss": [1.0, 10**400]}, "loss must be a list of numbers, got an int of 1329 bits"),
        ({"lr": [0.1, 10**400]}, "lr must be a list of numbers, got an int of 1329 bits"),
    ],
)
def test_a_malformed_json_is_refused(change, message):
    data = LossCurve([0.1, 0.2], [1.0, 2.0]).to_dict() | change
    with pytest.raises(ValueError, match=message):
        LossCurve.from_json(json.dumps(data))


@pytest.mark.parametrize("missing", ["format", "lr", "loss"])
def test_a_json_without_a_key_is_refused(missing):
    data = LossCurve([0.1, 0.2], [1.0, 2.0]).to_dict()
    del data[missing]
    with pytest.raises(ValueError, match="data must have keys"):
        LossCurve.from_dict(data)


@pytest.mark.parametrize("name", ["lr", "loss"])
@pytest.mark.parametrize("value", ["12", 3.0, None, [0.1, True], [0.1, "2"], [0.1, [0.2]]])
def test_a_json_with_something_else_than_numbers_is_refused(name, value):
    data = LossCurve([0.1, 0.2], [1.0, 2.0]).to_dict() | {name: value}
    with pytest.raises(TypeError, match=f"{name} must be a list of numbers"):
        LossCurve.from_dict(data)


@pytest.mark.parametrize("planned", [{"start_lr": 0.1 * (1 + 1e-8)}, {"end_lr": 0.2 * (1 - 1e-8)}])
def test_a_plan_may_be_rounded(planned):
    LossCurve([0.1, 0.2], [1.0, 2.0], **planned)


@pytest.mark.parametrize(
    ("lr", "loss", "error", "message"),
    [
        ([0.1, 0.2], [1.0], ValueError, "loss must be as long as lr"),
        ([0.2, 0.1], [1, 2], ValueError, "strictly increasing, got 0.1 after 0.2"),
        ([0.0, 0.1], [1, 2], ValueError, "got 0.0 at index 0"),
        ([0.1, math.nan], [1, 2], ValueError, "got nan at index 1"),
        ([[0.1]], [[1]], ValueError, "one dimension"),
        (["a"], [1], TypeError, "lr must hold real numbers"),
        ([0.1], [True], TypeError, "loss must hold real numbers"),
    ],
)
def test_what_is_no_curve_is_refused(lr, loss, error, message):
    with pytest.raises(error, match=message):
        LossCurve(lr, loss)


def test_a_curve_reads_like_a_sentence():
    test = RangeTest()
    drive(test)
    curve = test.curve
    assert "of 300 steps, lr 1e-07 to" in repr(curve)
    assert "diverged" in repr(curve)
    assert "Suggested lr for the peak of one-cycle training" in str(curve)
    assert repr(RangeTest().curve) == "LossCurve(no points, running)"


def test_notes_are_part_of_the_curve():
    test = RangeTest(num_steps=20)
    for _ in range(2):
        test.note("The data was read 3 times.")
    drive(test)
    curve = test.curve
    assert curve.notes == ("The data was read 3 times.",)
    assert str(curve).endswith("\nThe data was read 3 times.")
    assert LossCurve.from_json(curve.to_json()) == curve
    with pytest.raises(TypeError, match="must be"):
        test.note(3)
    for bad in ([3], "abc", None):
        with pytest.raises(TypeError, match="notes must be"):
            LossCurve([1], [1], notes=bad)
