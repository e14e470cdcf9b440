"""Schedules as objects: calls, composition, JSON, repr, plots and configuration."""

import numpy as np
import pytest

import lrsched
from lrsched import Schedule, Segment

RAMP = lrsched.linear(0.0, 1.0, 5)


@pytest.mark.parametrize(
    "kind", [int, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
)
def test_every_int_type_is_a_step(kind):
    assert type(RAMP(kind(3))) is float
    assert RAMP(kind(3)) == 0.75
    late = lrsched.one_cycle(0.1, 1000)
    assert late(np.array([3, 100]).astype(kind)).tolist() == [late(3), late(100)]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4), (2, 3, 4)])
def test_arrays_keep_their_shape(shape):
    steps = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    values = RAMP(steps)
    assert values.shape == shape
    assert values.dtype == np.float64
    assert values.ravel().tolist() == [RAMP(int(s)) for s in steps.ravel()]


def test_arrays_may_be_unordered_strided_and_long():
    schedule = lrsched.one_cycle(0.1, 50_000).then(lrsched.cyclical(0.1, 0.2, 7))
    steps = np.random.default_rng(0).integers(0, 120_000, 90_000)
    values = schedule(steps[::-3])
    assert values.tolist() == [schedule(int(step)) for step in steps[::-3]]


def test_segments_hold_before_between_and_after():
    schedule = Schedule((Segment(2, 4, 1.0, 2.0), Segment(6, 8, 5.0, 9.0)))
    assert schedule.values(10).tolist() == [1.0, 1.0, 1.0, 1.5, 2.0, 2.0, 5.0, 7.0, 9.0, 9.0]


def test_where_segments_overlap_the_later_one_wins():
    schedule = Schedule((Segment(0, 10, 0.0, 10.0), Segment(3, 5, 1.0, 1.0)))
    assert schedule.values(8).tolist() == [0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_knots_may_lie_between_steps():
    schedule = Schedule((Segment(0.5, 2.5, 0.0, 2.0), Segment(2.5, 3.5, 2.0, 0.0)))
    np.testing.assert_allclose(schedule.values(5), [0.0, 0.5, 1.5, 1.0, 0.0], atol=1e-15)


def test_then_shifts_a_late_start_and_a_loop():
    late = Schedule((Segment(2, 3, 7.0, 8.0),))
    assert RAMP.then(late).values(9).tolist() == [0, 0.25, 0.5, 0.75, 1.0, 7.0, 7.0, 7.0, 8.0]
    wave = lrsched.cyclical(1.0, 2.0, 2, mode="triangular2")
    chained = RAMP.then(wave)
    assert chained.total_steps is None
    assert chained.values(14)[5:].tolist() == wave.values(9).tolist()


def test_loop_damps_towards_its_floor():
    schedule = lrsched.linear(1.0, 0.5, 2).loop(gamma=0.5, floor=0.1)
    np.testing.assert_allclose(schedule.values(4), [1.0, 0.5, 0.55, 0.3], rtol=1e-15)


def test_equal_schedules_are_one_key():
    first, second = lrsched.one_cycle(0.1, 100), lrsched.one_cycle(0.1, np.int64(100))
    assert first == second
    assert len({first, second, lrsched.one_cycle(0.2, 100)}) == 2
    assert first != "schedule"


def test_a_schedule_is_frozen():
    with pytest.raises(AttributeError):
        RAMP.total_steps = 9


def test_json_is_plain_and_strict():
    text = lrsched.cyclical(0.1, 0.5, 10, mode="triangular2").to_json()
    assert "Infinity" not in text
    assert '"format": 1' in text


def test_repr_reads_as_a_curve():
    assert repr(lrsched.one_cycle(0.1, 100)) == (
        "Schedule(100 steps: 0.004 at 0 -cos-> 0.1 at 29 -cos-> 4e-07 at 99)"
    )
    assert repr(lrsched.cyclical(0.1, 0.5, 10, mode="triangular2")) == (
        "Schedule(endless: 0.1 at 0 -linear-> 0.5 at 10 -linear-> 0.1 at 20; "
        "repeats every 20 steps from 0, times 0.5 every 20 towards 0.1)"
    )
    assert "-poly 2->" in repr(lrsched.polynomial(1.0, 0.0, 9, power=2.0))
    assert "; 0.5 at 4 " in repr(Schedule((Segment(0, 2, 1, 1), Segment(4, 5, 0.5, 0.5))))


def test_config_builds_what_the_function_builds():
    config = {"one_cycle": {"max_lr": 0.1, "total_steps": 1000}}
    assert lrsched.from_config(config) == lrsched.one_cycle(max_lr=0.1, total_steps=1000)
    several = [config, {"constant": {"value": 0.2}}]
    assert lrsched.from_config(several) == lrsched.one_cycle(0.1, 1000).then(lrsched.constant(0.2))


def test_plot_draws_on_the_axes_given():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib, of the plot extra")
    figure, ax = pyplot.subplots()
    assert lrsched.one_cycle(0.1, 100).plot(ax, label="lr") is ax
    assert ax.lines[0].get_ydata().tolist() == lrsched.one_cycle(0.1, 100).values().tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "value")
    ax.set_ylabel("learning rate")
    assert lrsched.constant(0.1).plot(ax, num_steps=3).get_ylabel() == "learning rate"
    assert ax.get_legend() is not None
    own = lrsched.cyclical(0.1, 0.2, 10).plot(num_steps=30)
    assert len(own.lines[0].get_xdata()) == 30
    pyplot.close(figure)
    pyplot.close(own.figure)


def test_lr_and_momentum_share_a_plot():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib, of the plot extra")
    from lrsched.engine.plot import plot_lr_momentum

    ax = plot_lr_momentum(
        lrsched.one_cycle(0.1, 50).values(), lrsched.one_cycle_momentum(50).values()
    )
    left, right = ax.figure.axes
    assert left.get_ylabel() == "learning rate"
    assert right.get_ylabel() == "momentum"
    assert right.lines[0].get_ydata().min() == pytest.approx(0.85)
    pyplot.close(ax.figure)


def test_then_gives_the_second_schedule_no_step_of_the_first():
    # no room to rise: the way down has begun a step before step 0
    steep = lrsched.one_cycle(0.5, 4, pct_start=0.0)
    assert steep.segments[0].start == -1
    chained = RAMP.then(steep)
    assert chained.values()[:5].tolist() == RAMP.values().tolist()
    assert chained.values()[5:].tolist() == steep.values().tolist()
    assert RAMP.then(chained).values()[5:].tolist() == chained.values().tolist()
