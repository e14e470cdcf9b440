"""What holds for every schedule, whatever its family and its arguments."""

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched import Schedule, Segment, schedules
from tests import strategies

every_function = pytest.mark.parametrize("name", sorted(strategies.FUNCTIONS))
FAR = 10**12


def length(schedule: Schedule) -> int:
    return schedule.total_steps or 700


def test_there_is_a_strategy_for_every_function():
    assert sorted(strategies.FUNCTIONS) == sorted(schedules.__all__)


@every_function
@given(st.data())
def test_scalar_equals_array(name, data):
    schedule = data.draw(strategies.FUNCTIONS[name])
    steps = np.array(data.draw(st.lists(st.integers(0, 3000), min_size=1, max_size=40)))
    one_by_one = [schedule(int(step)) for step in steps]
    # exp and sin of `math` and of NumPy may differ by the last bits of a double
    np.testing.assert_allclose(schedule(steps), one_by_one, rtol=1e-14, atol=0)


@every_function
@given(st.data())
def test_values_are_those_of_every_step_finite_and_not_negative(name, data):
    schedule = data.draw(strategies.FUNCTIONS[name])
    n = length(schedule)
    values = schedule.values(n)
    assert values.shape == (n,)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, schedule(np.arange(n)), rtol=1e-14, atol=0)
    every = np.append(values, schedule(FAR))
    assert np.isfinite(every).all()
    assert (every >= 0).all()
    if schedule.loop_from is None:
        last = schedule.segments[-1]
        assert schedule(int(last.end) + 1) == every[-1] == last.end_value


def first_cycle(schedule: Schedule) -> Iterator[tuple[Segment, np.ndarray]]:
    """Each segment with the steps at which it, and no later one, is in force."""
    bounds = [s.start for s in schedule.segments[1:]]
    bounds.append(np.inf if schedule.period is None else schedule.period)
    for segment, bound in zip(schedule.segments, bounds, strict=True):
        first = int(np.ceil(max(segment.start, 0)))
        last = min(int(segment.end), first + 3000, np.ceil(bound) - 1)
        yield segment, np.arange(first, last + 1, dtype=int)


@every_function
@given(st.data())
def test_knots_at_whole_steps_are_exact(name, data):
    undamped = replace(data.draw(strategies.FUNCTIONS[name]), gamma=1.0)
    for segment, steps in first_cycle(undamped):
        if steps.size and segment.start == steps[0]:
            assert undamped(int(steps[0])) == segment.start_value
        if steps.size and segment.end == steps[-1]:
            assert undamped(int(steps[-1])) == segment.end_value


@every_function
@given(st.data())
def test_monotone_inside_a_segment(name, data):
    undamped = replace(data.draw(strategies.FUNCTIONS[name]), gamma=1.0)
    for segment, steps in first_cycle(undamped):
        values = undamped(steps)
        low, high = sorted((segment.start_value, segment.end_value))
        slack = 4 * np.spacing(high)
        rise = np.sign(segment.end_value - segment.start_value)
        assert (rise * np.diff(values) >= -slack).all()
        assert (values >= low - slack).all()
        assert (values <= high + slack).all()


@every_function
@given(st.data())
def test_round_trips_are_equal(name, data):
    schedule = data.draw(strategies.FUNCTIONS[name])
    schedule(3)
    for other in (
        Schedule.from_json(schedule.to_json()),
        Schedule.from_dict(json.loads(json.dumps(schedule.to_dict(), allow_nan=False))),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
    ):
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert repr(other) == repr(schedule)
        assert other(7) == schedule(7)


@given(strategies.composed(), st.integers(0, 5000))
def test_composed_schedules_travel_too(schedule, step):
    other = Schedule.from_json(schedule.to_json())
    assert other == schedule
    assert other(step) == schedule(step)


@given(strategies.finite_schedules, strategies.schedules)
def test_then_is_one_after_the_other(first, second):
    n = length(second)
    chained = first.then(second)
    expected = np.concatenate([first.values(), second.values(n)])
    values = chained.values(first.total_steps + n)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12 * expected.max())


@given(strategies.schedules, st.floats(1e-3, 1e3))
def test_scaled_multiplies_every_value(schedule, factor):
    n = length(schedule)
    expected = schedule.values(n) * factor
    np.testing.assert_allclose(schedule.scaled(factor).values(n), expected, rtol=1e-9)


@given(strategies.finite_schedules, st.integers(0, 10_000))
def test_loop_repeats_the_whole_schedule(schedule, step):
    assert schedule.loop()(step) == schedule(step % schedule.total_steps)
