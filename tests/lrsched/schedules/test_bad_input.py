"""Bad arguments: argument, rule, value and remedy, at construction."""

import json

import numpy as np
import pytest

import lrsched
from lrsched import Schedule, Segment

GOOD = lrsched.one_cycle(0.1, 100)


def with_format(version):
    return {**GOOD.to_dict(), "format": version}


HOLDS_ITSELF = []
HOLDS_ITSELF.append(HOLDS_ITSELF)
MULTIPLIES = [{"constant": {"value": 0.1}}]
for _ in range(10):
    MULTIPLIES = [MULTIPLIES] * 10
LONGEST = Schedule(lrsched.constant(0.1).segments, 2**63 - 1)

WRONG_VALUE = {
    "pct_start as a percentage": (
        lambda: lrsched.one_cycle(0.1, 100, pct_start=30),
        r"pct_start must be in \[0, 1\], got 30 \(a fraction, not a percentage\)",
    ),
    "max_lr of zero": (lambda: lrsched.one_cycle(0, 100), "max_lr must be > 0, got 0"),
    "negative max_lr": (lambda: lrsched.one_cycle(-0.1, 100), "max_lr must be > 0, got -0.1"),
    "max_lr beyond floats": (lambda: lrsched.one_cycle(10**400, 100), "max_lr must be a finite"),
    "nan max_lr": (lambda: lrsched.one_cycle(float("nan"), 100), "max_lr.*got nan"),
    "one step": (lambda: lrsched.one_cycle(0.1, 1), "total_steps must be an int >= 2, got 1"),
    "no steps": (lambda: lrsched.linear(0.1, 0.2, 0), "total_steps must be an int >= 1, got 0"),
    "div_factor of zero": (lambda: lrsched.one_cycle(0.1, 9, div_factor=0), "div_factor"),
    "div_factor below one": (
        lambda: lrsched.one_cycle(0.1, 9, div_factor=0.5),
        "1 must be <= div_factor",
    ),
    "unknown anneal": (
        lambda: lrsched.one_cycle(0.1, 9, anneal="cosine"),
        "anneal must be one of 'cos', 'linear', got 'cosine'",
    ),
    "unknown warmup": (lambda: lrsched.one_cycle(0.1, 9, warmup="exp"), "warmup must be one of"),
    "momentum of one": (
        lambda: lrsched.one_cycle_momentum(9, max_momentum=1.0),
        r"max_momentum must be in \[0, 1\), got 1.0",
    ),
    "momenta the wrong way round": (
        lambda: lrsched.one_cycle_momentum(9, base_momentum=0.95, max_momentum=0.85),
        "base_momentum must be <= max_momentum",
    ),
    "negative end": (lambda: lrsched.linear(0.1, -0.1, 9), "end must be >= 0, got -0.1"),
    "exponential to zero": (lambda: lrsched.exponential(0.1, 0.0, 9), "use linear or cosine"),
    "falling sweep": (lambda: lrsched.linear_sweep(1.0, 0.1, 9), "start_lr must be < end_lr"),
    "knee below a sweep": (
        lambda: lrsched.two_speed_sweep(1e-3, 1.0, 9, knee=1e-4),
        "start_lr must be < knee",
    ),
    "knee above a sweep": (
        lambda: lrsched.two_speed_sweep(1e-3, 1.0, 9, knee=2.0),
        "knee must be < end_lr",
    ),
    "no speed": (lambda: lrsched.two_speed_sweep(1e-3, 1.0, 9, fast=0), "fast must be > 0"),
    "negative constant": (lambda: lrsched.constant(-1e-9), "value must be >= 0"),
    "negative power": (lambda: lrsched.polynomial(1, 0, 9, power=-1), "power must be >= 0"),
    "base above max": (lambda: lrsched.cyclical(0.2, 0.1, 10), "base_lr must be <= max_lr"),
    "cycle of no steps": (lambda: lrsched.cyclical(0.1, 0.2, 0), "step_size_up must be"),
    "unknown mode": (lambda: lrsched.cyclical(0.1, 0.2, 9, mode="exp"), "mode must be one of"),
    "gamma without use": (lambda: lrsched.cyclical(0.1, 0.2, 9, gamma=0.9), "use 'exp_range'"),
    "gamma of zero": (lambda: lrsched.step_decay(0.1, 9, gamma=0), "gamma must be > 0"),
    "growth without end": (
        lambda: lrsched.multi_step(0.1, list(range(2000)), gamma=2.0),
        "gamma must be small enough for a float after growing 1024 times, got 2.0",
    ),
    "restart above its peak": (
        lambda: lrsched.cosine_restarts(0.1, 9, 9, min_lr=0.05, gamma=0.5),
        "min_lr must be < the last peak",
    ),
    "shrinking cycles": (
        lambda: lrsched.cosine_restarts(0.1, 9, 9, cycle_mult=0.5),
        "cycle_mult.*may grow",
    ),
    "all warmup": (
        lambda: lrsched.warmup_cosine(0.1, warmup_steps=100, total_steps=100),
        r"warmup_steps must be < total_steps \(100\), got 100",
    ),
    "warmup from above": (
        lambda: lrsched.warmup_cosine(0.1, warmup_steps=9, total_steps=99, start_lr=0.2),
        "start_lr must be <= max_lr",
    ),
    "decay longer than the run": (
        lambda: lrsched.warmup_stable_decay(0.1, warmup_steps=5, decay_steps=5, total_steps=10),
        r"warmup_steps \+ decay_steps must be < total_steps",
    ),
    "flat to the end": (lambda: lrsched.flat_cosine(0.1, 9, pct_start=1.0), "nothing is left"),
    "negative milestone": (lambda: lrsched.multi_step(0.1, [-1]), "milestones must be"),
    "backward segment": (
        lambda: Segment(5, 5, 0.1, 0.2),
        r"end must be > 0 and > start \(5\), got 5",
    ),
    "unknown shape": (lambda: Segment(0, 5, 0.1, 0.2, "sigmoid"), "shape must be one of"),
    "useless power": (lambda: Segment(0, 5, 0.1, 0.2, "cos", 2.0), "power must be 1 for"),
    "ends too far apart": (lambda: Segment(0, 5, 1e-200, 1.0, "rsqrt"), "within a factor of"),
    "late entry": (lambda: Segment(0, 5, 0.1, 0.2, enters=6), r"from start \(0\) to end \(5\)"),
    "no segments": (lambda: Schedule(()), "segments must be from 1 to 262144 segments, got 0"),
    "segments out of order": (
        lambda: Schedule((Segment(5, 6, 1, 1), Segment(0, 1, 1, 1))),
        "step at which they enter, got 0 after 5",
    ),
    "damping without a loop": (
        lambda: Schedule(GOOD.segments, gamma=0.5),
        "gamma must be 1 without a loop",
    ),
    "half a loop": (lambda: Schedule(GOOD.segments, loop_from=3), "given together"),
    "loop with an end": (
        lambda: Schedule(GOOD.segments, 100, loop_from=0, period=100),
        "total_steps must be None for a loop",
    ),
    "loop of an endless one": (lambda: lrsched.constant(0.1).loop(), "not an endless one"),
    "then after an endless one": (lambda: lrsched.constant(0.1).then(GOOD), "an endless one"),
    "scaled by zero": (lambda: GOOD.scaled(0.0), "factor must be > 0"),
    "shapes for other knots": (
        lambda: Schedule.through([(0, 1), (5, 2)], ["cos", "cos"]),
        "one fewer than the 2 knots, got 2",
    ),
    "values of an endless one": (lambda: lrsched.constant(0.1).values(), "num_steps must be given"),
    "negative num_steps": (lambda: GOOD.values(-1), "num_steps must be an int >= 0"),
    "huge step": (lambda: GOOD(2**63), r"step must be < 2\*\*63"),
    "huge steps": (lambda: GOOD(np.array([2**63], dtype=np.uint64)), r"step must be < 2\*\*63"),
    "newer format": (lambda: Schedule.from_dict(with_format(2)), "newer version.*upgrade"),
    "format of nothing": (lambda: Schedule.from_dict(with_format(0)), "format must be an int >= 1"),
    "unknown key": (
        lambda: Schedule.from_dict({**GOOD.to_dict(), "warm": 1}),
        r"unknown \['warm'\]",
    ),
    "missing key": (
        lambda: Schedule.from_dict({"format": 1, "segments": [{"start": 0, "end": 1}]}),
        r"missing \['start_value', 'end_value'\]",
    ),
    "not JSON": (lambda: Schedule.from_json("{"), "Expecting property name"),
    "unknown function": (lambda: lrsched.from_config({"onecycle": {}}), "schedule name must be"),
    "two functions": (lambda: lrsched.from_config({"linear": {}, "cosine": {}}), "in a list"),
    "config that holds itself": (lambda: lrsched.from_config(HOLDS_ITSELF), "at most 20 levels"),
    "config that multiplies": (lambda: lrsched.from_config(MULTIPLIES), "from 1 to 262144"),
    "deep JSON": (lambda: Schedule.from_json("[" * 100_000), "levels deep"),
    "more steps than ints": (lambda: lrsched.one_cycle(0.1, 10**5000), "got an int of 16610 bits"),
    "cycles that explode": (
        lambda: lrsched.cosine_restarts(0.1, 10, 3, cycle_mult=1e200),
        r"end must be from -2\*\*62 to 2\*\*62",
    ),
    "cycles without end": (lambda: lrsched.cosine_restarts(0.1, 10, 10**9), "to 262144"),
    "knots that no int64 holds": (lambda: Segment(3.0, 2.0**65, 0.1, 0.2), r"2\*\*62"),
    "chain that no int64 holds": (lambda: LONGEST.then(LONGEST), r"total_steps.* < 2\*\*63"),
    "empty config": (lambda: lrsched.from_config([]), "at least one schedule"),
}

WRONG_KIND = {
    "max_lr as text": (lambda: lrsched.one_cycle("0.1", 100), "max_lr must be a finite number"),
    "max_lr as an array": (lambda: lrsched.one_cycle(np.array([0.1]), 100), "max_lr"),
    "max_lr as a bool": (lambda: lrsched.one_cycle(True, 100), "max_lr.*got True"),
    "total_steps as a float": (lambda: lrsched.one_cycle(0.1, 100.0), "total_steps.*got 100.0"),
    "three_phase as an int": (lambda: lrsched.one_cycle(0.1, 9, three_phase=1), "a bool"),
    "fractional step size": (lambda: lrsched.cyclical(0.1, 0.2, 2.5), "step_size_up must be"),
    "one milestone bare": (lambda: lrsched.multi_step(0.1, 30), "milestones must be a list"),
    "bool step": (lambda: GOOD(True), "step must be an int, got True"),
    "float step": (lambda: GOOD(3.0), "step must be an int, got 3.0"),
    "float steps": (lambda: GOOD(np.array([3.0])), "array of integers, got dtype float64"),
    "bool steps": (lambda: GOOD(np.array([True])), "array of integers, got dtype bool"),
    "list of steps": (lambda: GOOD([1, 2]), "wrap a list in np.asarray"),
    "then a number": (lambda: GOOD.then(0.1), "other must be a Schedule, got 0.1"),
    "segments of tuples": (lambda: Schedule(((0, 1, 2, 3),)), "segments must be a Segment"),
    "format as text": (lambda: Schedule.from_dict(with_format("1")), "format must be an int"),
    "dict of nothing": (lambda: Schedule.from_dict(None), "data must be a mapping"),
    "config of a name": (lambda: lrsched.from_config("one_cycle"), "config must be a mapping"),
    "config without names": (
        lambda: lrsched.from_config({"linear": [1, 2]}),
        "arguments of linear",
    ),
    "unknown argument": (
        lambda: lrsched.from_config({"linear": {"begin": 1}}),
        "linear: .*unexpected keyword argument 'begin'",
    ),
}


@pytest.mark.parametrize("case", WRONG_VALUE)
def test_a_wrong_value_is_named(case):
    call, message = WRONG_VALUE[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("case", WRONG_KIND)
def test_a_wrong_kind_is_named(case):
    call, message = WRONG_KIND[case]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(1), 1, np.array(0.5)])
def test_numbers_of_numpy_are_numbers(number):
    schedule = lrsched.one_cycle(number, np.int32(100))
    assert json.loads(schedule.to_json())["total_steps"] == 100
    assert schedule(29) == float(number)


@pytest.mark.parametrize(
    "load",
    [
        lambda text: Schedule.from_dict(text),
        lambda text: Schedule.from_dict({**GOOD.to_dict(), "segments": text}),
        lambda text: Schedule.from_dict({**GOOD.to_dict(), "segments": [{"start": text}]}),
        lambda text: Schedule.from_dict({**GOOD.to_dict(), text: 1}),
        lambda text: lrsched.from_config(text),
        lambda text: lrsched.from_config({text: {}}),
        lambda text: lrsched.from_config({"linear": text}),
        lambda text: lrsched.from_config({"linear": {text: 1}}),
        lambda text: lrsched.from_config({"linear": {"start": text}}),
        lambda text: lrsched.LossCurve.from_dict({text: 1}),
        lambda text: lrsched.LossCurve.from_csv(text),
        lambda text: lrsched.LossCurve.from_csv(f"lr,loss\n{text},1"),
    ],
)
def test_messages_show_no_more_than_the_beginning_of_data(load):
    with pytest.raises((TypeError, ValueError)) as caught:
        load("x" * 10_000)
    assert len(str(caught.value)) < 800
