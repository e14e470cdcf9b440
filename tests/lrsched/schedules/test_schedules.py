"""The schedule functions where their peers crash, turn negative or never arrive."""

import numpy as np
import pytest

import lrsched

RISING_AND_FALLING = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}


def test_one_cycle_starts_peaks_and_ends_where_it_says():
    schedule = lrsched.one_cycle(max_lr=0.1, total_steps=100)
    assert schedule(0) == 0.1 / 25
    assert schedule(29) == 0.1
    assert schedule(99) == 0.1 / 25 / 1e4
    assert schedule.total_steps == 100


@pytest.mark.parametrize(("total_steps", "pct_start"), [(10, 0.1), (100, 0.01), (4, 0.25)])
def test_one_cycle_with_no_room_to_rise_starts_at_its_peak(total_steps, pct_start):
    schedule = lrsched.one_cycle(0.1, total_steps, pct_start=pct_start)
    assert schedule(0) == 0.1
    assert schedule(total_steps - 1) == 0.1 / 25 / 1e4


@pytest.mark.parametrize("total_steps", [2, 3, 10])
def test_three_phases_with_no_room_to_rise_only_anneal(total_steps):
    schedule = lrsched.one_cycle(0.1, total_steps, pct_start=1 / total_steps, three_phase=True)
    assert schedule(0) == 0.1 / 25
    assert schedule(total_steps - 1) == 0.1 / 25 / 1e4
    assert schedule.values().max() == schedule(0)


def test_one_cycle_that_only_rises_ends_at_its_peak():
    schedule = lrsched.one_cycle(0.1, 100, pct_start=1.0)
    assert schedule(99) == schedule(100) == schedule(10**6) == 0.1


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_step_too_many_changes_nothing(anneal, three_phase):
    lr = lrsched.one_cycle(0.1, 50, anneal=anneal, three_phase=three_phase)
    momentum = lrsched.one_cycle_momentum(50, anneal=anneal, three_phase=three_phase)
    assert lr(50) == lr(49) > 0
    assert momentum(50) == momentum(49) == 0.95


def test_three_phases_with_pct_start_beyond_a_half_are_refused():
    with pytest.raises(ValueError, match=r"pct_start must be <= 0.5 with three_phase, got 0.6"):
        lrsched.one_cycle(0.1, 20, pct_start=0.6, three_phase=True)
    with pytest.raises(ValueError, match="end would never be reached"):
        lrsched.one_cycle_momentum(20, pct_start=0.6, three_phase=True)


def test_the_original_1cycle_has_the_three_phases_of_its_first_version():
    """Up and down over 45% of the steps each, from and to a tenth; the rest to a hundredth."""
    lr, momentum = lrsched.one_cycle_original(1.0, 1000), lrsched.one_cycle_original_momentum(1000)
    assert [lr(step) for step in (0, 449, 898, 999)] == [0.1, 1.0, 0.1, 0.001]
    assert [momentum(step) for step in (0, 449, 898, 999)] == [0.95, 0.85, 0.95, 0.95]
    knots, steps = [0, 450, 900, 1000], np.arange(1000)
    two_steps_of_slope = 2 * 0.9 / 450
    first_version = np.interp(steps, knots, [0.1, 1.0, 0.1, 0.001])
    np.testing.assert_allclose(lr.values(), first_version, atol=two_steps_of_slope)
    first_momentum = np.interp(steps, knots, [0.95, 0.85, 0.95, 0.95])
    np.testing.assert_allclose(momentum.values(), first_momentum, atol=two_steps_of_slope / 9)
    config = {"one_cycle_original": {"max_lr": 1.0, "total_steps": 1000}}
    assert lrsched.from_config(config) == lr


def test_the_original_1cycle_refuses_to_rise_for_more_than_half():
    with pytest.raises(ValueError, match=r"pct_start must be <= 0.5"):
        lrsched.one_cycle_original(1.0, 100, pct_start=0.6)


def test_linear_warmup_goes_with_cosine_annealing():
    schedule = lrsched.one_cycle(0.1, 101, pct_start=0.5, warmup="linear", anneal="cos")
    assert [s.shape for s in schedule.segments] == ["linear", "cos"]
    rising = np.diff(schedule.values()[:49])
    np.testing.assert_allclose(rising, rising[0], rtol=1e-9)


def test_momentum_moves_against_the_lr():
    lr = lrsched.one_cycle(1.0, 500, anneal="linear", three_phase=True, pct_start=0.4)
    momentum = lrsched.one_cycle_momentum(500, anneal="linear", three_phase=True, pct_start=0.4)
    slopes = np.sign(np.diff(lr.values()[:400])) + np.sign(np.diff(momentum.values()[:400]))
    assert (slopes == 0).sum() >= 397
    assert (momentum.values()[400:] == 0.95).all()


@pytest.mark.parametrize("cycle", [1, 53, 1024, 1025, 2000, 10**9, 10**15])
def test_triangular2_never_overflows(cycle):
    schedule = lrsched.cyclical(0.01, 0.1, step_size_up=5, mode="triangular2")
    peak = schedule(10 * cycle + 5)
    assert peak == pytest.approx(0.01 + 0.09 * 0.5**cycle, rel=1e-12)
    assert peak >= 0.01


def test_cyclical_without_a_way_down_is_a_sawtooth():
    schedule = lrsched.cyclical(0.0, 1.0, step_size_up=4, step_size_down=0)
    assert schedule.values(6).tolist() == [0.0, 0.25, 0.5, 0.75, 0.0, 0.25]


def test_cyclical_is_exact_after_a_trillion_steps():
    schedule = lrsched.cyclical(0.1, 0.9, step_size_up=7, step_size_down=4)
    for step in range(11):
        assert schedule(11 * 10**12 + step) == schedule(step)


def test_cycles_of_cosine_restarts_end_exactly():
    schedule = lrsched.cosine_restarts(0.1, 10, 3, min_lr=0.001, cycle_mult=2, gamma=0.5)
    assert [schedule(step) for step in (0, 10, 30)] == [0.1, 0.05, 0.025]
    assert [schedule(step) for step in (9, 29, 69)] == [0.001] * 3


def test_warmup_is_optional():
    assert lrsched.warmup_cosine(0.1, warmup_steps=0, total_steps=50)(0) == 0.1
    assert lrsched.inverse_sqrt(0.1, warmup_steps=0)(0) == 0.1
    stable = lrsched.warmup_stable_decay(0.1, warmup_steps=0, decay_steps=3, total_steps=9)
    assert stable(0) == 0.1


def test_inverse_sqrt_follows_its_formula_for_ever():
    schedule = lrsched.inverse_sqrt(0.1, warmup_steps=500, timescale=2000)
    steps = np.array([500, 501, 12_345, 10**6, 10**9])
    expected = 0.1 / np.sqrt((steps - 500 + 2000) / 2000)
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-12)


def test_sqrt_decay_is_one_minus_the_root():
    schedule = lrsched.warmup_stable_decay(
        1.0, warmup_steps=10, decay_steps=100, total_steps=200, decay="sqrt"
    )
    done = np.arange(101) / 100
    np.testing.assert_allclose(schedule(np.arange(99, 200)), 1 - np.sqrt(done), atol=1e-15)


def test_polynomial_rises_and_falls_as_its_power_says():
    steps = np.arange(101)
    left = 1 - steps / 100
    for start, end in ((1.0, 0.01), (0.01, 1.0)):
        schedule = lrsched.polynomial(start, end, 101, power=3.0)
        np.testing.assert_allclose(schedule(steps), end + (start - end) * left**3, rtol=1e-13)


def test_multi_step_drops_at_each_milestone():
    schedule = lrsched.multi_step(1.0, [30, 10, 30], gamma=0.1)
    expected = [1.0, 0.1, 0.1, 1.0 * 0.1**3]
    assert [schedule(step) for step in (9, 10, 29, 30)] == expected


def test_a_tail_of_a_millionth_keeps_its_relative_accuracy():
    schedule = lrsched.one_cycle(1.0, 100_000, final_div_factor=1e8)
    steps = np.arange(99_000, 100_000)
    left = (99_999 - steps) / (99_999 - 29_999)
    end = 1 / 25 / 1e8
    exact = end + (1 - end) * np.sin(left * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule(steps), exact, rtol=1e-14)


@pytest.mark.parametrize("num_steps", [2, 9, 100, 300, 1852])
@pytest.mark.parametrize("knee", [None, 3e-7, 1e-3, 5.0])
def test_two_speeds_rise_from_end_to_end_and_never_spend_more_below_the_knee(num_steps, knee):
    lrs = lrsched.two_speed_sweep(1e-7, 10.0, num_steps, knee=knee).values()
    plain = lrsched.exponential_sweep(1e-7, 10.0, num_steps).values()
    assert (lrs[0], lrs[-1], lrs.size) == (1e-7, 10.0, num_steps)
    assert (np.diff(lrs) > 0).all()
    below = knee or 10**-3.5
    assert (lrs < below).sum() <= (plain < below).sum()


@pytest.mark.parametrize("ends", [(1e-3, 1.0), (1e-8, 1e-4), (1e-8, 0.031)])
def test_a_default_knee_without_room_leaves_one_speed(ends):
    assert lrsched.two_speed_sweep(*ends, 50) == lrsched.exponential_sweep(*ends, 50)


def test_a_default_knee_has_two_decades_above_it():
    sweep = lrsched.two_speed_sweep(1e-8, 0.032, 50)
    assert [segment.end_value for segment in sweep.segments] == [10**-3.5, 0.032]
