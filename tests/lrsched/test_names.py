"""What functions name in their module: found where the code is the user's, and nowhere else."""

import json
import random

from lrsched import Schedule, one_cycle
from lrsched._names import methods_of, named_by

RNG = random.Random(0)


def draw():
    return RNG.gauss(0, 1)


def draw_inside():
    return [draw() for _ in range(3)]


def nothing():
    rng = "RNG"
    return rng, missing  # noqa: F821


class Drawing:
    def draw(self):
        return RNG.gauss(0, 1)


class Derived(Drawing, json.JSONEncoder):
    attribute = draw_inside

    def later(self):
        return lambda: draw()


def test_what_a_function_and_those_inside_of_it_name_is_found():
    assert list(named_by(draw)) == [RNG]
    assert draw in named_by(draw_inside)
    assert list(named_by(Derived.later)) == [draw]
    assert list(named_by(nothing)) == []


def test_what_others_have_written_is_not_looked_at():
    assert list(named_by(json.dumps)) == []
    assert list(named_by(one_cycle)) == []
    assert methods_of(Schedule) == []


def test_the_methods_of_a_class_are_those_of_its_bases_too():
    assert methods_of(Derived) == [draw_inside, Derived.later, Drawing.draw]
