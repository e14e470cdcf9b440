"""Values of every kind get their content back in place, or are named."""

import array
import itertools
import random
from collections import Counter, OrderedDict, UserDict, defaultdict, deque

import numpy as np
import pytest

from lrsched.rewind import snapshot as rewind
from lrsched.rewind.snapshot import Snapshot
from tests.lrsched.rewind.helpers import REGISTRY, Bag, snapshot


class Slotted:
    __slots__ = ("count", "late")

    def __init__(self):
        self.count = 0


class OfALibrary(OrderedDict):
    """As the outputs of Transformers: entries are set one by one, and each leaves a mark."""

    def refuse(self, *args, **kwargs):
        raise TypeError("frozen")

    update = clear = pop = refuse

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.last = key


def count_on(value):
    value.count += 1
    value.late = True


def nested():
    return {"seen": [0, {"deep": [1]}], "pair": ([1], 2)}


def change_nested(value):
    value["seen"][1]["deep"].append(2)
    value["pair"][0].clear()
    value["new"] = 1


def renamed(values):
    values[1] = "b"


# How a value is made, changed, and read.
VALUES = {
    "list": (lambda: [1, 2], lambda v: v.append(3), list),
    "list in another order": (lambda: [1, 2, 3], lambda v: v.reverse(), list),
    "long list in another order": (lambda: list(range(30_000)), lambda v: v.reverse(), list),
    "dict": (lambda: {"a": 1}, lambda v: v.update(a=2, b=3), dict),
    "dict in another order": (lambda: {"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a")), list),
    "ordered": (lambda: OrderedDict(a=1, b=2), lambda v: v.move_to_end("a"), list),
    "default dict": (lambda: defaultdict(list), lambda v: v["a"].append(1), dict),
    "counter": (lambda: Counter("aab"), lambda v: v.update("b"), dict),
    "dict of a library": (
        lambda: OfALibrary([("a", 1)]),
        lambda v: v.__setitem__("c", 3),
        lambda v: (dict(v), v.last),
    ),
    "set": (lambda: {1}, lambda v: v.add(2), set),
    "queue": (lambda: deque([1, 2], 2), lambda v: v.append(3), lambda v: (list(v), v.maxlen)),
    "nested": (nested, change_nested, repr),
    "slots": (Slotted, count_on, lambda v: (v.count, hasattr(v, "late"))),
    "attributes": (lambda: Bag(count=0), count_on, lambda v: sorted(vars(v))),
    "user dict": (UserDict, lambda v: v.update({1: 1}), dict),
    "bytes": (lambda: bytearray(2), lambda v: v.append(1), bytes),
    "array of Python": (lambda: array.array("l", [0]), lambda v: v.append(1), list),
    "array": (lambda: np.zeros(3), lambda v: v.__iadd__(1), list),
    "array with gaps": (lambda: np.zeros(6)[::2], lambda v: v.__iadd__(1), list),
    "array of objects": (lambda: np.array(["a", None], dtype=object), renamed, list),
    "Python's generator": (lambda: random.Random(0), lambda v: v.random(), lambda v: v.getstate()),
    "NumPy's generator": (
        lambda: np.random.default_rng(0),
        lambda v: v.random(),
        lambda v: str(v.bit_generator.state),
    ),
    "NumPy's older generator": (
        lambda: np.random.RandomState(0),
        lambda v: v.rand(),
        lambda v: str(v.get_state()),
    ),
    "bits": (lambda: np.random.PCG64(1), lambda v: v.random_raw(), lambda v: str(v.state)),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_gets_its_content_back_in_place(kind):
    make, change, read = VALUES[kind]
    value = make()
    owner = Bag(kept=value, other=1)
    before = repr(read(value))
    held = Snapshot([("model", owner)], REGISTRY)
    for _ in range(2):  # and may be restored again
        change(owner.kept)
        assert repr(read(value)) != before
        owner.kept, owner.other, owner.new = make(), 2, 3
        held.restore()
        assert owner.kept is value
        assert repr(read(value)) == before
        assert vars(owner) == {"kept": value, "other": 1}
        assert held.differences() == []


@pytest.mark.parametrize("verify", [True, False])
def test_what_cannot_be_written_any_more_is_named_and_keeps_nothing_else_from_it(verify):
    values, other = np.zeros(2), [1]
    held = snapshot([values, other], verify=verify)
    values += 1
    values.flags.writeable = False
    other.append(2)
    held.restore()
    assert held.differences() == ["model.kept[0]"]
    assert other == [1]


def test_an_array_that_was_never_writable_is_named_if_it_has_changed():
    owner = np.zeros(2)
    values = owner.view()
    values.flags.writeable = False
    held = snapshot(values)
    held.restore()
    assert held.differences() == []
    owner += 1
    held.restore()
    assert held.differences() == ["model.kept"]


def test_an_iterator_that_was_read_is_named():
    iterator = itertools.count()
    held = snapshot(iterator)
    assert held.differences() == []
    next(iterator)
    assert held.differences() == ["model.kept"]


def test_a_generator_is_noted_since_nobody_knows_where_it_is():
    held = snapshot(number for number in range(3))
    assert held.notes() == ["model.kept is an iterator: what was read from it is gone."]
    assert held.differences() == []


class TestLimits:
    def test_of_a_longer_container_the_order_is_restored_and_not_what_is_in_it(self):
        items = [[index] for index in range(10_001)]
        first, held = items[0], snapshot(items)
        items.reverse()
        first.append(1)
        held.restore()
        assert items[0] is first
        assert first == [0, 1]
        assert held.differences() == []

    def test_of_what_is_larger_still_only_the_length_is_watched(self, monkeypatch):
        monkeypatch.setattr(rewind, "MAX_ORDERED", 10_001)
        items, values = list(range(10_002)), np.zeros(2**21 + 1)
        held = snapshot(Bag(items=items, values=values))
        items.reverse()
        values += 1
        held.restore()
        assert items[0] == 10_001
        assert (values == 1).all()
        assert held.differences() == held.notes() == []
        items.append(1)
        held.restore()
        assert held.differences() == ["model.kept.items"]

    def test_many_small_arrays_together_are_data(self):
        arrays = [Bag(x=np.zeros(2**20)) for _ in range(5)]
        held = snapshot(arrays)
        arrays[0].x += 1
        arrays.pop()
        held.restore()
        assert len(arrays) == 5
        assert (arrays[0].x == 1).all()


def test_an_object_in_two_places_stays_one_also_in_a_circle():
    shared = [1]
    owner = Bag(a=shared, b={"x": shared})
    owner.other = Bag(owner=owner)
    held = Snapshot([("model", owner)], REGISTRY)
    owner.b["x"] = [1]
    owner.other.count = 1
    shared.append(2)
    held.restore()
    assert owner.a is owner.b["x"] is shared
    assert shared == [1]
    assert vars(owner.other) == {"owner": owner}
