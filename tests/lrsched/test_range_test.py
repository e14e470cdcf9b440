"""The range test as a state machine."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from lrsched import linear_sweep
from lrsched.range_test import RangeTest
from lrsched.schedules import cosine, cyclical, exponential_sweep, two_speed_sweep
from tests.lrsched.helpers import drive, losses_at


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


def test_two_speeds_spend_the_steps_above_the_knee_unless_another_sweep_is_asked_for():
    two, plain = RangeTest().planned_lr, RangeTest(sweep="exponential").planned_lr
    assert two.tolist() == RangeTest(sweep="two_speed").planned_lr.tolist()
    assert two.tolist() == two_speed_sweep(1e-7, 10.0, 300, 10**-3.5).values().tolist()
    assert (two[0], two[-1], len(two)) == (1e-7, 10.0, 300)
    assert (two < 3e-4).sum() < (plain < 3e-4).sum() / 3
    per_decade = 1 / np.diff(np.log10(two))
    np.testing.assert_allclose(per_decade[:42], 12, rtol=0.01)
    np.testing.assert_allclose(per_decade[42:], 257 / 4.5, rtol=0.01)


@pytest.mark.parametrize(
    ("own_lr", "knee"),
    [
        (2e-5, 2e-5 / 10),
        (np.float32(1e-3), float(np.float32(1e-3)) / 10),
        (10**-2.4, 10**-3.5),
        (1, 10**-3.5),
        (0.0, 10**-3.5),
        (5e-324, 10**-3.5),  # a tenth of it is 0
    ],
)
def test_the_knee_is_at_a_tenth_of_the_lr_of_an_optimizer_and_never_above_its_usual_place(
    own_lr, knee
):
    test = RangeTest()
    test.place_knee(1e-5)
    test.place_knee(own_lr)
    expected = two_speed_sweep(1e-7, 10.0, 300, knee).values()
    assert test.planned_lr.tolist() == expected.tolist()
    drive(test)
    curve = test.curve
    assert curve.lr.tolist() == expected[: len(curve)].tolist()
    assert (curve.start_lr, curve.end_lr, curve.num_steps) == (1e-7, 10.0, 300)


@pytest.mark.parametrize(
    ("ends", "own_lr"),
    [
        ((1e-7, 10.0), 1e-6),  # the knee would be where the sweep begins
        ((1e-7, 10.0), 1e-9),
        ((1e-3, 10.0), 1e-3),
        ((1e-7, 1e-2), 0.1),  # less than two decades are left above it
        ((1e-7, 1e-4), 2e-5),
    ],
)
def test_without_room_for_a_knee_there_is_one_speed(ends, own_lr):
    test = RangeTest(*ends, 60)
    test.place_knee(own_lr)
    assert test.planned_lr.tolist() == exponential_sweep(*ends, 60).values().tolist()


@pytest.mark.parametrize(
    "sweep", ["exponential", "linear", two_speed_sweep(1e-8, 1e-2, 300, knee=1e-4)]
)
def test_a_sweep_without_a_knee_of_ours_stays_as_it_is(sweep):
    test = RangeTest(sweep=sweep)
    before = test.planned_lr.tolist()
    test.place_knee(2e-5)
    assert test.planned_lr.tolist() == before


@pytest.mark.parametrize(
    ("own_lr", "error", "message"),
    [
        (-0.1, ValueError, "own_lr must be >= 0, got -0.1"),
        (math.nan, ValueError, "own_lr must be a finite number >= 0, got nan"),
        (math.inf, ValueError, "own_lr must be a finite number >= 0, got inf"),
        ("1e-3", TypeError, "own_lr must be a finite number >= 0, got '1e-3'"),
        (None, TypeError, "own_lr must be a finite number >= 0, got None"),
    ],
)
def test_a_bad_lr_leaves_the_knee_where_it_is(own_lr, error, message):
    test = RangeTest()
    with pytest.raises(error, match=message):
        test.place_knee(own_lr)
    assert test.planned_lr.tolist() == RangeTest().planned_lr.tolist()


def test_the_knee_stays_once_a_loss_was_recorded():
    test = RangeTest()
    test.record(1.0)
    with pytest.raises(RuntimeError, match="before the first loss is recorded, got RangeTest"):
        test.place_knee(2e-5)
    assert test.planned_lr.tolist() == RangeTest().planned_lr.tolist()


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
@pytest.mark.parametrize(("sweep", "later"), [("exponential", 1.0), ("two_speed", 1.2)])
def test_one_odd_batch_at_the_start_does_not_delay_the_end(at, height, sweep, later):
    """Not at all or, where the first fifth of the sweep is in the drop, by less than a tenth."""
    plain, spoilt = RangeTest(sweep=sweep), RangeTest(sweep=sweep)
    drive(plain)
    drive(spoilt, lambda loss: loss + height * (spoilt.recorded == at))
    assert 1 <= spoilt.curve.lr[-1] / plain.curve.lr[-1] <= later


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


class Eager:
    """What a tensor of TensorFlow looks like: no `item`, and an array of any shape."""

    def __init__(self, *values):
        self.array = np.array(values)
        self.shape = self.array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array


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
        Eager(2.0),
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
        *(SimpleNamespace(shape=(None,)), Eager(True)),
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
        ({"num_steps": 4}, ValueError, "num_steps must be an int >= 5"),
        ({"num_steps": 100.0}, TypeError, "num_steps must be an int"),
        ({"sweep": "cubic"}, ValueError, "sweep must be one of"),
        ({"sweep": 3}, TypeError, "sweep must be one of"),
        ({"sweep": linear_sweep(0.1, 1, 20), "num_steps": 50}, ValueError, "must be left out"),
        ({"sweep": linear_sweep(0.1, 1, 4)}, ValueError, "at least 5 steps"),
        (
            {"sweep": cyclical(0.1, 1.0, 10)},
            ValueError,
            r"at least 5 steps, got Schedule\(endless",
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
