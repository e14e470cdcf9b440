"""What functions lead to is restored; the variables of the code around are not."""

import functools
import importlib.util
import random
import sys

import numpy as np
import pytest

from lrsched.rewind.objects import is_of_library
from lrsched.rewind.snapshot import walk
from tests.lrsched.rewind.helpers import REGISTRY, Bag, snapshot

RNG = np.random.default_rng()
NOTES = []


def noise(generator):
    return generator.normal()


class Noise:
    def __init__(self, generator):
        self.generator, self.calls = generator, 0

    def draw(self):
        self.calls += 1
        return noise(self.generator)

    __call__ = draw


OF_THE_MODULE = Noise(RNG)


def naming_an_object():
    return OF_THE_MODULE()


class NamingAGenerator:
    def __call__(self):
        def inner():
            return RNG.random()

        return inner()


def with_default(given):
    def draw(generator=given):
        return noise(generator)

    return draw


def with_keyword(given):
    def draw(*, generator=given):
        return noise(generator)

    return draw


KINDS = {
    "object": Noise,
    "bound method": lambda generator: Noise(generator).draw,
    "builtin method": lambda generator: generator.normal,
    "partial": lambda generator: functools.partial(noise, generator),
    "partial with a keyword": lambda generator: functools.partial(noise, generator=generator),
    "partial of a method": lambda generator: functools.partial(Noise(generator).draw),
    "closure": lambda generator: lambda: noise(generator),
    "default": with_default,
    "default by keyword": with_keyword,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_that_a_function_leads_to_is_restored(kind):
    generator = np.random.default_rng(0)
    draw, before = KINDS[kind](generator), generator.bit_generator.state
    held = snapshot(draw)
    draw()
    assert generator.bit_generator.state != before
    held.restore()
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("function", [naming_an_object, NamingAGenerator()])
def test_a_generator_that_a_function_names_in_its_module_is_restored(function):
    held, before, calls = snapshot(function), RNG.bit_generator.state, OF_THE_MODULE.calls
    function()
    assert RNG.bit_generator.state != before
    held.restore()
    assert RNG.bit_generator.state == before
    assert calls == OF_THE_MODULE.calls


def test_an_object_behind_a_closure_is_restored():
    measure = Bag(count=0)

    def criterion():
        measure.count += 1

    held = snapshot(criterion)
    criterion()
    held.restore()
    assert measure.count == 0


@pytest.mark.parametrize("given", [[], np.zeros(2), {}])
def test_variables_of_the_code_around_are_left_and_not_named(given):
    def note(value=given):
        NOTES.append(1)
        if isinstance(value, list):
            value.append(1)
        elif isinstance(value, dict):
            value["a"] = given
        else:
            value += 1

    held, before, count = snapshot(note), repr(given), len(NOTES)
    note()
    held.restore()
    assert repr(given) != before
    assert len(NOTES) == count + 1
    assert held.differences() == []


def test_a_variable_that_an_object_keeps_too_is_state():
    seen = []
    owner = Bag(note=lambda: seen.append(1), seen=Bag(inner=seen))
    held = snapshot(owner)
    owner.note()
    held.restore()
    assert seen == []


def test_functions_of_libraries_are_not_opened():
    kept = [np.mean, random.shuffle, print, len, pytest.raises]
    paths = {path for path, *_ in walk([("model", kept)], REGISTRY)}
    assert {path for path in paths if ".__globals__" in path} == set()


def test_a_file_of_the_users_with_a_name_of_pythons_is_no_library(tmp_path, monkeypatch):
    path = tmp_path / "code.py"
    path.write_text(
        "import random\n"
        "RNG = random.Random(0)\n"
        "class Meter: count = 0\n"
        "def draw(): return RNG.random()\n"
    )
    spec = importlib.util.spec_from_file_location("code", path)
    code = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "code", code)
    spec.loader.exec_module(code)
    meter, before = code.Meter(), code.RNG.getstate()
    held = snapshot([meter, code.draw])
    meter.count = code.draw()
    held.restore()
    assert (meter.count, code.RNG.getstate()) == (0, before)
    assert all(map(is_of_library, ("builtins", "collections.abc", "pdb", "_io", "torch.nn")))
