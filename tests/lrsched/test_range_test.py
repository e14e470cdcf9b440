"""The range test as a state machine, and the loss curve it leaves."""

import copy
import json
import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched import linear_sweep
from lrsched.curve.comparison import average, compare
from lrsched.curve.loss_curve import LossCurve
from lrsched.range_test import RangeTest
from lrsched.schedules import cosine, cyclical, exponential_sweep


def losses_at(lr, *, noise=0.02, seed=0):
    """A typical curve: flat, a drop around 1e-3, a divergence above 0.3."""
    lr = np.asarray(lr)
    jitter = noise * np.random.default_rng(seed).standard_normal(lr.size)
    return 0.3 + 2 / (1 + (lr / 1e-3) ** 1.5) + np.minimum((lr / 0.3) ** 3, 1e6) + jitter


def drive(test, transform=lambda loss: loss):
    losses = losses_at(test.planned_lr)
    used = []
    for loss in losses:
        used.append(test.lr)
        if not test.record(transform(float(loss))):
            break
    return used


def test_every_loss_is_kept_with_the_lr_that_the_update_used():
    test = RangeTest(num_steps=120)
    used = drive(test)
    curve = test.curve
    assert curve.lr.tolist() == used
    assert curve.loss.tolist() == losses_at(test.planned_lr)[: len(used)].tolist()


@pytest.mark.parametrize("sweep", ["exponential", "linear"])
def test_both_ends_of_the_sweep_are_used_exactly(sweep):
    test = RangeTest(3e-6, 0.7, 37, sweep=sweep)
    while test.running:
        test.record(1.0)
    curve = test.curve
    assert (curve.lr[0], curve.lr[-1], len(curve)) == (3e-6, 0.7, 37)
    assert (curve.start_lr, curve.end_lr, curve.num_steps) == (3e-6, 0.7, 37)
    assert curve.stop_reason == "finished"
    steps = np.diff(np.log(curve.lr) if sweep == "exponential" else curve.lr)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_a_schedule_can_be_the_sweep():
    sweep = exponential_sweep(1e-4, 1e-2, 20).then(linear_sweep(1.1e-2, 1.0, 30))
    test = RangeTest(sweep=sweep)
    assert test.planned_lr.tolist() == sweep.values().tolist()
    assert test.lr == 1e-4


@pytest.mark.parametrize("scale", [1e-9, 1.0, -1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, -1.3, 40.0, -1e4])
def test_divergence_is_seen_whatever_the_offset_and_size_of_the_loss(scale, offset):
    plain = RangeTest()
    drive(plain)
    assert plain.curve.stop_reason == "diverged"
    other = RangeTest()
    drive(other, lambda loss: (loss + offset) * abs(scale))
    assert len(other.curve) == len(plain.curve)


def test_the_sweep_goes_on_well_past_the_point_where_the_loss_is_back_at_its_start():
    curve = (test := RangeTest(), drive(test))[0].curve
    assert 0.3 < curve.lr[-1] < 3
    assert np.median(curve.loss[-5:]) > 4


def test_noise_alone_and_two_bad_batches_in_a_row_end_nothing():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        test = RangeTest(num_steps=200)
        for step in range(200):
            spike = 50.0 if step % 25 in (11, 12) else 0.0
            test.record(2.3 + 0.3 * rng.standard_normal() + spike)
        assert test.curve.stop_reason == "finished"


@pytest.mark.parametrize("at", [0, 5, 30])
@pytest.mark.parametrize("height", [50.0, 1e4, 1e9])
def test_one_odd_batch_at_the_start_does_not_delay_the_end(at, height):
    plain, spoilt = RangeTest(), RangeTest()
    drive(plain)
    drive(spoilt, lambda loss: loss + height * (spoilt.recorded == at))
    assert len(spoilt.curve) == len(plain.curve)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("level", [2.3, 0.01, -700.0])
def test_what_rounding_does_to_a_constant_loss_is_no_divergence(kind, level):
    test, loss = RangeTest(), kind(level)
    test.record_all([float(loss)] * 100)
    for _ in range(100):
        test.record(np.nextafter(loss, kind(np.inf)))
    assert test.running
    test.record_all([float(loss) + abs(level)] * 5)
    assert test.curve.stop_reason == "diverged"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_it_at_once_and_is_kept(bad):
    test = RangeTest()
    for _ in range(30):
        assert test.record(1.0)
    assert not test.record(bad)
    assert not test.running
    curve = test.curve
    assert len(curve) == 31
    np.testing.assert_array_equal(curve.loss[-1], bad)
    assert curve.stop_reason == "non-finite loss"


def test_stop_factor_none_runs_through_a_divergence():
    test = RangeTest(stop_factor=None)
    drive(test)
    assert test.curve.stop_reason == "finished"


class Wrapped:
    """What a lazy tensor looks like from outside."""

    shape = ()

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value


@pytest.mark.parametrize(
    "loss",
    [
        2,
        2.0,
        np.float32(2),
        np.float64(2),
        np.array(2.0),
        np.array([2.0]),
        np.int64(2),
        Wrapped(2.0),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_anything_that_is_one_number_is_a_loss(loss):
    test = RangeTest()
    test.record(loss)
    assert test.curve.loss.tolist() == [2.0]


@pytest.mark.parametrize(
    "loss",
    [
        *(np.ones(2), np.ones((1, 3)), np.array([]), "1.0", None, True, [1.0], 1j, np.array(1j)),
        *(np.True_, np.ma.masked, np.ma.array([1.0], mask=[True]), np.timedelta64(1)),
        SimpleNamespace(shape=(None,)),
    ],
)
def test_anything_else_is_an_error_and_leaves_no_point(loss):
    test = RangeTest()
    with pytest.raises(TypeError, match="loss must be one real number"):
        test.record(loss)
    with pytest.raises(TypeError, match="loss must be one real number"):
        test.record_all([1.0, loss])
    assert len(test.curve) == 0
    assert test.lr == 1e-7


class Eager:
    """What a tensor of TensorFlow looks like: no `item`, and an array of any shape."""

    def __init__(self, *values):
        self.array = np.array(values)
        self.shape = self.array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_a_tensor_of_one_element_is_a_loss_and_one_truth_value_is_none():
    test = RangeTest()
    test.record(Eager(2.0))
    with pytest.raises(TypeError, match="loss must be one real number, got True"):
        test.record(Eager(True))
    assert test.curve.loss.tolist() == [2.0]


def test_an_int_that_no_float_holds_is_an_error_and_leaves_no_point():
    test = RangeTest()
    with pytest.raises(ValueError, match="too large for a float"):
        test.record(10**400)
    assert test.recorded == 0


def test_nothing_can_be_recorded_after_the_end():
    test = RangeTest(num_steps=10)
    while test.running:
        test.record(1.0)
    with pytest.raises(RuntimeError, match="after the range test has ended"):
        test.record(1.0)
    with pytest.raises(RuntimeError, match="after the range test has ended"):
        _ = test.lr


def test_stop_from_outside_is_reported():
    test = RangeTest()
    test.record(1.0)
    test.stop("out of data")
    test.stop("too late")
    assert not test.running
    assert test.curve.stop_reason == "out of data"
    assert "out of data" in repr(test)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"start_lr": 0.0}, ValueError, "start_lr must be > 0"),
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"end_lr": math.inf}, ValueError, "end_lr must be a finite number"),
        ({"num_steps": 9}, ValueError, "num_steps must be an int >= 10"),
        ({"num_steps": 100.0}, TypeError, "num_steps must be an int"),
        ({"sweep": "cubic"}, ValueError, "sweep must be one of"),
        ({"sweep": 3}, TypeError, "sweep must be one of"),
        ({"sweep": linear_sweep(0.1, 1, 20), "num_steps": 50}, ValueError, "must be left out"),
        ({"sweep": linear_sweep(0.1, 1, 9)}, ValueError, "at least 10 steps"),
        (
            {"sweep": cyclical(0.1, 1.0, 10)},
            ValueError,
            r"at least 10 steps, got Schedule\(endless",
        ),
        ({"sweep": cosine(1.0, 0.1, 20)}, ValueError, "must rise at every step"),
        ({"start_lr": 1.0, "end_lr": 1.0 + 1e-14}, ValueError, "must rise at every step"),
        ({"stop_factor": 0}, ValueError, "stop_factor must be > 0"),
        ({"stop_factor": "4"}, TypeError, "stop_factor must be"),
    ],
)
def test_a_bad_plan_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        RangeTest(**arguments)


def test_the_curve_is_read_only():
    curve = LossCurve([0.1, 0.2], [1, 2])
    assert curve.loss.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        curve.loss[0] = 3
    with pytest.raises(AttributeError):
        curve.loss = np.ones(2)


def test_the_curve_does_not_follow_the_array_it_was_made_from():
    loss = np.ones(2)
    curve = LossCurve(np.array([0.1, 0.2]), loss)
    loss[:] = 5
    assert curve.loss.tolist() == [1, 1]


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


def test_csv_as_excel_writes_it_is_read():
    assert LossCurve.from_csv("\ufefflr,loss\r\n0.1,2\r\n") == LossCurve([0.1], [2.0])


def test_csv_as_pandas_writes_it_is_read():
    curve = LossCurve.from_csv(",lr,loss\n0,0.1,2\n1,0.2,\n")
    assert curve == LossCurve([0.1, 0.2], [2.0, math.nan])
    for wrong in (b"lr,loss", None, Path("curve.csv")):
        with pytest.raises(TypeError, match="text must be a str"):
            LossCurve.from_csv(wrong)


def test_csv_columns_are_found_by_name():
    curve = LossCurve.from_csv("step, loss, lr\n0, 2.5, 1e-3\n1, nan, 2e-3\n")
    assert curve.lr.tolist() == [1e-3, 2e-3]
    assert curve.loss[0] == 2.5
    assert math.isnan(curve.loss[1])


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
        ({"loss": [1.0, 10**400]}, "loss must be a list of numbers, got 1000"),
        ({"lr": [0.1, 10**400]}, "lr must be a list of numbers, got 1000"),
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
@pytest.mark.parametrize("value", ["12", 3.0, True, None, [0.1, True], [0.1, "2"], [0.1, [0.2]]])
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


def test_cyclical_range_spans_the_descent():
    curve = LossCurve(lr := np.geomspace(1e-7, 10, 300), losses_at(lr))
    base_lr, max_lr = curve.cyclical_range()
    assert 1e-5 < base_lr < 1e-3 < max_lr < 0.1
    assert max_lr == curve.suggest(schedule="one_cycle").lr
    assert base_lr <= max_lr / 3
    assert LossCurve(lr, np.ones(300)).cyclical_range() is None


def test_cyclical_range_does_not_leave_the_sweep():
    """Its ends are a factor of 3 apart, for which this sweep has no room below the suggestion."""
    lr = np.geomspace(1e-3, 0.0645358664366641, 17)
    noise = 0.01 * np.random.default_rng(0).standard_normal(17)
    curve = LossCurve(lr, np.repeat([2.0, 1.0, 4.0], [5, 3, 9]) + noise)
    assert lr[0] < curve.suggest().lr < 3 * lr[0]
    assert curve.cyclical_range() is None


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
