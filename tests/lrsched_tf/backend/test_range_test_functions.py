"""What functions lead to is put back: what they are bound to, closed over, given, and name."""

import itertools
from functools import partial

import keras
import numpy as np
import pytest

from lrsched_tf import lr_find


from tests.lrsched_tf.backend.training import (
    BATCH,
    SWEEP,
    Shuffled,
    arrays,
    dense,
    nothing,
    training,
)

RNG = np.random.default_rng()


def noise(generator):
    return generator.normal()


class Noise:
    def __init__(self, generator):
        self.generator = generator

    def draw(self):
        return noise(self.generator)

    __call__ = draw


OF_THE_MODULE = Noise(RNG)


def named():
    return OF_THE_MODULE()


def with_default(given):
    def draw(generator=given):
        return noise(generator)

    return draw


def with_keyword(given):
    def draw(*, generator=given):
        return noise(generator)

    return draw


KINDS = {
    "bound method": lambda generator: Noise(generator).draw,
    "builtin method": lambda generator: generator.normal,
    "partial": lambda generator: partial(noise, generator),
    "partial with a keyword": lambda generator: partial(noise, generator=generator),
    "partial of a method": lambda generator: partial(Noise(generator).draw),
    "closure": lambda generator: lambda: noise(generator),
    "default": with_default,
    "default by keyword": with_keyword,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_function_leads_to_is_held(kind):
    generator = np.random.default_rng(0)
    draw = KINDS[kind](generator)
    held = Held([("draw", draw)], (), generators=False)
    before = generator.bit_generator.state
    draw()
    assert any(name.startswith("draw.") for name in held.remains())
    held.restore()
    assert generator.bit_generator.state == before
    assert held.remains() == []


def functions():
    """One of each kind, that draws from a generator of its own, or from that of the module."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    return [named, *(kind(np.random.default_rng(0)) for kind in KINDS.values())]


class Transformed(Shuffled):
    def __init__(self):
        super().__init__()
        self.functions = functions()

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + np.float32(sum(function() for function in self.functions)), y


def collated(samples, functions):
    import torch

    x, y = map(np.stack, zip(*samples, strict=True))
    x += np.float32(sum(function() for function in functions))
    return torch.from_numpy(x), torch.from_numpy(y)


def loader():
    torch = pytest.importorskip("torch", reason="the loader is of torch")
    samples, collate = [*zip(*arrays(), strict=True)], partial(collated, functions=functions())
    return torch.utils.data.DataLoader(samples, BATCH, collate_fn=collate)


@pytest.mark.parametrize("make", [Transformed, loader])
def test_with_data_whose_functions_lead_to_what_they_draw_from(make):
    def train(find):
        def between(model):
            if find:
                lr_find(model, data, shuffle=False, **SWEEP)

        data = make()
        return training(dense, between, x=data, y=None, batch_size=None, shuffle=False)

    assert train(find=True) == train(find=False)


class Warming:
    """A loss that grows from step to step."""

    step = 0

    def loss(self, y, outputs):
        self.step += 1
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1) * min(1.0, self.step / 100)


def test_with_a_loss_that_is_a_method():
    def train(between):
        warming = Warming()
        return training(lambda: dense(loss=warming.loss, run_eagerly=True), between), warming.step

    def find(model):
        curve = lr_find(model, *arrays(), batch_size=BATCH, **SWEEP)
        assert not any("put back" in note for note in curve.notes)

    assert train(find) == train(nothing)


def test_what_cannot_be_put_back_behind_a_function_is_named():
    ticks = itertools.count()

    def loss(y, outputs):
        next(ticks)
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    with pytest.warns(UserWarning, match=r"could not put back: model\..*\.ticks\.$"):
        lr_find(dense(loss=loss), *arrays(), **SWEEP)


def test_functions_of_frameworks_and_what_those_keep_are_left_alone():
    model = dense()
    model.fit(*arrays(), verbose=0)
    known = {id(value) for _, value in walk([("model", model)])}
    model.kept = [np.mean, keras.ops.mean, keras.losses.get("mse"), model.fit, print, len]
    added = {path for path, value in walk([("model", model)]) if id(value) not in known}
    entries = {f"model.kept[{index}]" for index in range(6)}
    behind = {"model.kept[3].__func__", "model.kept[4].__self__"}
    assert added - entries - behind <= {"model.kept"}
