"""Schedules that are cut, stretched, extended and cooled down, and how exact that is."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lrsched
from lrsched import Schedule, Segment, compat
from lrsched.engine.changes import DECAYS
from tests import strategies

WSD = lrsched.warmup_stable_decay(0.1, warmup_steps=10, decay_steps=20, total_steps=100)
LOOPS = {
    "triangular": lrsched.cyclical(0.1, 0.5, 4, 3),
    "triangular2": lrsched.cyclical(0.1, 0.5, 4, 3, mode="triangular2"),
    "exp_range": lrsched.cyclical(0.1, 0.5, 4, 3, mode="exp_range", gamma=0.97),
    "drops": lrsched.step_decay(0.5, 7, gamma=0.3),
    "a drop every other cycle": lrsched.cosine(1.0, 0.1, 5).loop(gamma=0.5, every=10, floor=0.1),
    "a drop within a cycle": lrsched.cosine(1.0, 0.1, 5).loop(gamma=0.5, every=3),
    "growing": lrsched.linear(0.1, 0.2, 5).loop(gamma=1.5),
    "factors": lrsched.exponential(1.0, 0.01, 6).loop(gamma=0.9, floor=0.005),
    "after a warmup": lrsched.linear(0.0, 0.1, 9).then(lrsched.cyclical(0.1, 0.5, 4)),
    "with a jump": lrsched.one_cycle(0.5, 8, pct_start=0.0).loop(),
    "of a part": Schedule((Segment(0, 9, 1.0, 0.0), Segment(6, 8, 3, 4)), loop_from=4, period=3),
    "of what holds": Schedule((Segment(0, 2, 1, 2), Segment(7, 9, 3, 4)), loop_from=4, period=6),
    "of a late start": Schedule((Segment(3, 5, 1.0, 2.0),), loop_from=1, period=6),
}
schedules = st.one_of(strategies.schedules, st.sampled_from(list(LOOPS.values())))


def assert_same(changed, values):
    np.testing.assert_allclose(changed, values, rtol=1e-12, atol=1e-12 * max(values, default=1))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 7, 8, 30, 61])
def test_a_loop_is_written_out_exactly(loop, steps):
    schedule = LOOPS[loop]
    cut = schedule.truncated(steps)
    assert cut.total_steps == steps
    assert_same(cut.values(), schedule.values(steps))
    assert cut(steps + 9) == cut(steps - 1) == schedule(steps - 1)
    assert Schedule.from_json(cut.to_json()) == cut


@given(schedules, st.integers(1, 2000))
def test_truncated_has_the_first_steps_and_holds_the_last_of_them(schedule, step):
    step = min(step, schedule.total_steps or step)
    cut = schedule.truncated(step)
    assert cut.total_steps == step
    assert_same(cut.values(), schedule.values(step))
    assert cut(step) == cut(10**9) == schedule(step - 1)


@given(schedules, st.integers(0, 2000), st.integers(2, 300), st.sampled_from(DECAYS), st.data())
def test_cooldown_leaves_no_jump_and_ends_where_it_should(schedule, at, steps, shape, data):
    if schedule.total_steps is not None:
        assume(schedule.total_steps >= 2)
        at = min(at, schedule.total_steps - 2)
        steps = min(steps, schedule.total_steps - at)
    to = data.draw(strategies.positive if shape == "exp" else strategies.non_negative)
    assume(shape != "exp" or schedule(at) > 1e-30)
    cooled = schedule.cooldown(at, steps, shape, to)
    assert cooled.total_steps == at + steps
    assert_same(cooled.values()[:at], schedule.values(at))
    assert cooled(at) == schedule(at)
    assert cooled(at + steps - 1) == cooled(10**9) == to
    down = cooled.values()[at:]
    assert (np.diff(down) * np.sign(to - schedule(at)) >= -1e-15).all()


@pytest.mark.parametrize(
    ("shape", "to", "formula"),
    [
        ("sqrt", 0.0, lambda done: 1 - np.sqrt(done)),
        ("linear", 0.0, lambda done: 1 - done),
        ("cos", 0.0, lambda done: (1 + np.cos(np.pi * done)) / 2),
        ("exp", 1e-3, lambda done: 1e-3**done),
    ],
)
def test_shapes_of_a_cooldown(shape, to, formula):
    down = lrsched.constant(1.0).cooldown(50, 11, shape, to).values()[50:]
    np.testing.assert_allclose(down, formula(np.linspace(0, 1, 11)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", DECAYS)
def test_a_cooldown_of_a_plateau_is_warmup_stable_decay(shape):
    arguments = {"warmup_steps": 10, "total_steps": 100, "min_lr": 1e-4, "decay": shape}
    wsd = lrsched.warmup_stable_decay(0.1, decay_steps=20, **arguments)
    plateau = lrsched.linear(0.0, 0.1, 11).then(lrsched.constant(0.1))
    # its decay starts one update later than the last one that has the peak
    cooled = plateau.cooldown(79, 21, shape, to=1e-4)
    np.testing.assert_allclose(cooled.values(), wsd.values(), rtol=1e-12)


@given(strategies.finite_schedules, st.integers(1, 5000))
def test_stretched_runs_the_same_curve(schedule, total_steps):
    old = schedule.total_steps
    new = schedule.stretched(total_steps)
    assert new.total_steps == total_steps
    # a segment that begins before step 0 is scaled, and its start rounded anew
    for step in range(old if total_steps > 1 else 1):
        place, rest = divmod(step * (total_steps - 1), max(old - 1, 1))
        if rest == 0:
            assert new(place) == pytest.approx(schedule(step), rel=1e-11, abs=1e-12)


def test_stretched_to_its_own_length_is_the_same():
    assert WSD.stretched(100) == WSD
    assert WSD.stretched(199).stretched(100) == WSD
    assert WSD.stretched(199)(20) == 0.1


def test_stretched_keeps_a_first_segment_that_has_begun_before():
    steep = lrsched.one_cycle(0.5, 4, pct_start=0.0)
    assert steep.stretched(7).values()[::2] == pytest.approx(steep.values(), rel=1e-12)


@given(strategies.finite_schedules, st.integers(0, 2000), st.integers(0, 3000))
def test_extended_changes_nothing_before_and_reaches_the_same_end(schedule, at, more):
    old = schedule.total_steps
    at = min(at, old - 1)
    new = schedule.extended(old + more, at)
    assert new.total_steps == old + more
    assert_same(new.values()[: at + 1], schedule.values(at + 1))
    assert new(old + more - 1) == schedule(old - 1)
    if at < old - 1:
        ratio = (old + more - 1 - at) / (old - 1 - at)
        for step in range(at, old):
            place = at + (step - at) * ratio
            if place == int(place):
                assert new(int(place)) == pytest.approx(schedule(step), rel=1e-9, abs=1e-12)


def test_extended_from_the_last_update_holds():
    assert WSD.extended(120, at=99).values()[99:].tolist() == [0.0] * 21
    ramp = lrsched.linear(0.0, 1.0, 3)
    assert ramp.extended(6, at=2).values().tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_changes_of_changes():
    schedule = LOOPS["triangular"].truncated(40).extended(60, at=20).cooldown(50, 5)
    assert schedule.total_steps == 55
    np.testing.assert_allclose(schedule.values()[:20], LOOPS["triangular"].values(20), rtol=1e-12)
    assert schedule.then(WSD)(55 + 10) == 0.1


def test_an_endless_inverse_sqrt_cools_down():
    endless = lrsched.inverse_sqrt(0.1, warmup_steps=100)
    cooled = endless.cooldown(10_000, 1000)
    assert_same(cooled.values()[:10_001], endless.values(10_001))


def test_torch_sequential_keeps_what_a_part_repeats():
    wave = lrsched.cyclical(0.1, 0.5, 4, mode="triangular2")
    joined = compat.torch_sequential([wave, lrsched.constant(0.1)], [50])
    assert len(joined.segments) < 20
    assert_same(joined.values(50), wave.values(50))


REFUSED = {
    "no step": (lambda: WSD.truncated(0), "step must be an int >= 1, got 0"),
    "more steps": (lambda: WSD.truncated(101), r"step must be <= total_steps \(100\), got 101"),
    "endless stretched": (
        lambda: LOOPS["drops"].stretched(9),
        "stretched must be asked of a schedule with total_steps",
    ),
    "endless extended": (lambda: LOOPS["drops"].extended(9, 1), "extended must be asked of"),
    "shorter": (
        lambda: WSD.extended(50, at=20),
        r"total_steps \(50\), got 100 \(the length of the whole run; cooldown ends one sooner\)",
    ),
    "over": (lambda: WSD.extended(200, at=100), r"at must be < total_steps \(100\).*use then"),
    "too long": (
        lambda: WSD.cooldown(90, 11),
        r"at \+ steps must be <= total_steps \(100\), got 101 \(fewer steps",
    ),
    "one step": (lambda: WSD.cooldown(90, 1), "steps must be an int >= 2, got 1"),
    "a shape": (lambda: WSD.cooldown(50, 9, "cosine"), "shape must be one of 'sqrt', 'linear'"),
    "to zero by factors": (lambda: WSD.cooldown(50, 9, "exp"), "to must be > 0, got 0.0 .*linear"),
    "from zero by factors": (
        lambda: WSD.cooldown(0, 9, "exp", to=0.1),
        "the value at that step must be > 0, got 0.0",
    ),
    "a negative end": (lambda: WSD.cooldown(50, 9, to=-1.0), "to must be >= 0, got -1.0"),
    "too many steps": (
        lambda: LOOPS["exp_range"].cooldown(10**6, 9),
        "what repeats, written out step by step, must be from 1 to 262144 segments, got 1000000",
    ),
    "too many cycles": (
        lambda: LOOPS["triangular"].truncated(10**7),
        "what repeats, written out, must be from 1 to 262144 segments",
    ),
    "a decay to zero by factors": (
        lambda: lrsched.warmup_stable_decay(
            0.1, warmup_steps=1, decay_steps=2, total_steps=9, decay="exp"
        ),
        "min_lr must be > 0, got 0.0 .*decay='linear'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_changed_so_is_told_why(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: WSD.truncated(0.5),
        lambda: WSD.stretched("9"),
        lambda: WSD.extended(200, at=None),
        lambda: WSD.cooldown(1.5, 9),
        lambda: WSD.cooldown(50, 9, shape=None),
        lambda: WSD.cooldown(50, 9, to="0"),
    ],
)
def test_a_wrong_kind_is_a_type_error(call):
    with pytest.raises(TypeError, match="must be"):
        call()
