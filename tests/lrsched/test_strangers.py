"""Arguments and data of anybody: a value that is one, or a TypeError or ValueError, and soon."""

import inspect
import json
import math
import random

import numpy as np
import pytest

import lrsched
from lrsched import compat, schedules

FUNCTIONS = {
    **{name: getattr(schedules, name) for name in schedules.__all__},
    **{name: getattr(compat, name) for name in compat.__all__},
}
INTS = [0, 1, 2, 3, 7, 100, 10**6, 2**31, 2**53, 2**62, 2**63, 10**400, -1]
FLOATS = [0.0, 5e-324, 1e-300, 1e-5, 0.1, 0.3, 0.5, 0.9, 1.0, 1.01, 25.0, 1e4, 1e150, 1.7e308]
OTHERS = [
    math.inf,
    math.nan,
    None,
    True,
    "0.1",
    "cos",
    "exp_range",
    [],
    [1, 2],
    [0.9, 0.8, 0.9],
    {},
]
STEPS = [0, 1, 5, 999, 10**6, 2**31, 2**63 - 1]


def arguments(function, draw):
    """Some of the arguments, mostly of the kind that they should have."""
    given = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty or draw.random() < 0.4:
            kinds = {"int": INTS, "float": FLOATS}
            fitting = kinds.get(str(parameter.annotation).partition(" ")[0], OTHERS)
            given[name] = draw.choice(fitting if draw.random() < 0.8 else INTS + FLOATS + OTHERS)
    return given


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_whatever_is_given_ends_in_values_or_in_one_sentence(name):
    draw = random.Random(name)
    for _ in range(40):
        given = arguments(FUNCTIONS[name], draw)
        sentence = ""
        try:
            built = FUNCTIONS[name](**given)
            for schedule in built if isinstance(built, tuple) else (built,):
                if schedule is None:
                    continue
                values = [schedule(step) for step in STEPS]
                assert all(0 <= value < math.inf for value in values), given
                np.testing.assert_allclose(schedule(np.array(STEPS)), values, rtol=1e-9)
                assert lrsched.Schedule.from_json(schedule.to_json()) == schedule
        except (TypeError, ValueError) as error:
            sentence = str(error)
        assert len(sentence) < 600, given


@pytest.mark.parametrize("load", [lrsched.Schedule.from_json, lrsched.LossCurve.from_json])
def test_a_json_with_something_in_a_wrong_place(load):
    draw = random.Random(0)
    curve = lrsched.LossCurve([0.1, 0.2], [1.0, 2.0])
    good = json.loads((lrsched.one_cycle(0.1, 9) if "Sch" in str(load) else curve).to_json())
    for _ in range(300):
        data = json.loads(json.dumps(good))
        place = data["segments"][0] if draw.random() < 0.5 and "segments" in data else data
        key = draw.choice([*place, "x"])
        place[key] = draw.choice([*INTS, *FLOATS, *OTHERS, "x" * 10_000])
        sentence = ""
        try:
            load(json.dumps(data))
        except (TypeError, ValueError) as error:
            sentence = str(error)
        assert len(sentence) < 600
