"""Modules: tables, modes, hooks, settings and attributes."""

import itertools
import random
import warnings
from collections import deque
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import lr_find, range_test
from lrsched_torch.rewind.snapshot import TrainingSnapshot
from tests.lrsched_torch.helpers import (
    Body,
    Run,
    Slots,
    find,
    left,
    sgd,
)


@pytest.mark.parametrize("evaluated", [False, True])
def test_submodules_keep_their_own_mode(evaluated):
    run = Run()
    run.model.train(not evaluated)
    run.model.body[1].train(evaluated)
    before = [m.training for m in run.model.modules()]
    run.find()
    assert [m.training for m in run.model.modules()] == before


def test_a_layer_under_two_names_is_hashed_and_put_back():
    layer = torch.nn.Linear(2, 2)
    model = torch.nn.ModuleDict({"one": layer, "other": layer})
    snapshot = TrainingSnapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    before = layer.bias.detach().clone()
    model["other"].bias.data += 1
    snapshot.restore()
    assert torch.equal(layer.bias, before)


@pytest.mark.parametrize("part", [torch.nn.LazyLinear(2), torch.nn.Linear(2, 2, device="meta")])
def test_a_parameter_without_values_is_named_with_its_path(part):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(part))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"got none in 1\.0\.weight \("):
        TrainingSnapshot(model, optimizer)


def vars_of(body):
    return {name: vars(body)[name] for name in ("a", "b", "c", "d", "many")}


def drawn(body):
    """The states of all generators, and which objects they are."""
    states = [body.a.get_state().numpy().tobytes(), body.b.getstate(), body.many[0].getstate()]
    states += [str(body.c.bit_generator.state), str(body.d.get_state()[2])]
    return states, [id(value) for value in vars_of(body).values()]


def test_generators_that_a_module_draws_from_are_put_back():
    def draw(body):
        torch.rand(1, generator=body.a)
        body.b.random(), body.c.random(), body.d.rand(), body.many[0].random()

    kinds = [torch.Generator(), random.Random(0), np.random.default_rng(0)]
    kinds += [np.random.RandomState(0), [random.Random(1)]]
    model = Body(draw, **dict(zip(("a", "b", "c", "d", "many"), kinds, strict=True)))
    before = drawn(model)
    model.before(model)
    assert drawn(model) != before
    model = Body(draw, **vars_of(model))
    before = drawn(model)
    assert not left(find(model))
    assert drawn(model) == before


def fill(body):
    body.array += 1
    body.queue.append(1)
    body.seen.add(len(body.seen))
    body.objects.append(object())


def test_arrays_and_containers_are_refilled_in_place():
    attributes = {"array": np.zeros(3), "queue": deque([0], maxlen=5), "seen": {"a"}}
    attributes["objects"] = [object()]
    copies = {name: value.copy() for name, value in attributes.items()}
    model = Body(fill, **attributes)
    assert not left(find(model))
    for name, value in attributes.items():
        assert vars(model)[name] is value
        assert np.array_equal(value, copies[name]) if name == "array" else value == copies[name]
    assert model.queue.maxlen == 5


def test_a_module_that_was_made_in_a_forward_pass_is_gone():
    def add(body):
        body.extra = nn.Linear(1, 1)
        body.register_buffer("late", torch.ones(1), persistent=False)

    model = Body(add)
    names = list(model.state_dict())
    assert not left(find(model))
    assert not hasattr(model, "extra")
    assert list(model.state_dict()) == names
    assert not model._non_persistent_buffers_set


class Nest:
    def __init__(self, inner):
        self.inside = {"a": inner}


@pytest.mark.parametrize("nest", [lambda meter: meter, Nest, lambda meter: Nest(Nest(meter))])
def test_objects_are_restored_however_deep_they_are(nest):
    def count(body):
        meter = body.meter
        while isinstance(meter, Nest):
            meter = meter.inside["a"]
        meter.count += 1

    slots = Slots()
    assert not left(find(Body(count, meter=nest(slots))))
    assert slots.count == 0


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_the_weight_that_the_old_weight_norm_computed_is_put_back():
    layer = nn.utils.weight_norm(nn.Linear(4, 1))
    layer(torch.ones(1, 4))
    weight, before = layer.weight, layer.weight.detach().clone()
    assert not left(find(nn.Sequential(layer)))
    assert layer.weight is weight
    assert torch.equal(weight, before)


class TestSettings:
    def test_those_of_layers_of_torch_are_put_back(self):
        def schedule(body):
            body.norm.momentum *= 0.9
            body.drop.p += 0.01

        model = Body(schedule)
        model.norm, model.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)
        assert not left(find(model))
        assert (model.norm.momentum, model.drop.p) == (0.1, 0.2)

    def test_what_is_set_up_on_first_use_goes_as_a_whole(self):
        def begin(body):
            if not hasattr(body, "table"):
                body.table, body.scale = {"file": object()}, 2.0
            return body.scale

        model = Body(begin)
        assert not left(find(model))
        assert not {"table", "scale"} & set(vars(model))
        find(model)

    def test_an_attribute_that_was_replaced_is_the_old_object(self):
        class Cache:
            pass

        model = Body(lambda body: vars(body).update(cache=Cache()), cache=Cache())
        cache = model.cache
        assert not left(find(model))
        assert model.cache is cache


class Counting(nn.Module):
    """Keeps things in plain attributes, as a module may."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.calls, self.seen, self.mean = 0, [], torch.zeros(4)
        self.config = Slots()

    def forward(self, x):
        self.calls += 1
        self.seen.append(self.calls)
        self.mean += x.mean(0)
        self.late = torch.ones(1)
        self.config.count += 1
        return self.inner(x)


def test_plain_attributes_and_objects_of_modules_are_restored():
    model = Counting()
    assert not left(find(model, criterion=nn.functional.cross_entropy, loader=classes()))
    assert (model.calls, model.seen, model.mean.tolist()) == (0, [], [0.0] * 4)
    assert model.config.count == 0
    assert not hasattr(model, "late")


def classes():
    return [(torch.ones(8, 4), torch.zeros(8).long())] * 20


class Counted(Counting):
    """Counts with an iterator, which nobody can set back."""

    def __init__(self):
        super().__init__()
        self.numbers = itertools.count()

    def forward(self, x):
        next(self.numbers)
        return super().forward(x)


def test_what_could_not_be_restored_is_named_in_a_warning_and_in_the_curve():
    expected = r"could not put back: model\.numbers\. \(pass what"
    with pytest.warns(UserWarning, match=expected) as seen:
        find(Counted(), criterion=nn.functional.cross_entropy, loader=classes())
    # the line of the call, and below that of the `with`
    assert seen[0].filename == str(Path(__file__).parents[1] / "helpers.py")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = Counted()
        with range_test(model, sgd(model), num_steps=20) as test:
            for x in test.batches([torch.ones(8, 4)]):
                loss = model(x).sum()
                loss.backward()
                test.record(loss)
    assert [warning.filename for warning in seen] == [__file__]
    assert test.curve.notes[-1] == "The range test could not put back: model.numbers."


def test_the_watching_can_be_left_out():
    model = Counted()
    curve = find(model, criterion=nn.functional.cross_entropy, loader=classes(), verify=False)
    assert not left(curve)


def test_a_compiled_model_is_not_compiled_again():
    torch._dynamo.reset()
    run = Run()
    compiled = torch.compile(run.model, backend="aot_eager")
    graphs = []

    def train():
        for x, y in run.loader:
            run.optimizer.zero_grad()
            run.criterion(compiled(x), y).backward()
            run.optimizer.step()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    train()
    lr_find(compiled, run.optimizer, run.criterion, run.loader, num_steps=20)
    train()
    assert graphs[0] == graphs[1] > 0
    torch._dynamo.reset()


class TestSpecialModules:
    @pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
    def test_a_scripted_model(self):
        model = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.eval()
        assert not left(find(model))
        assert not any(part.training for part in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def test_a_lazy_layer_without_parameters_is_named(self):
        model = nn.Sequential(nn.Linear(4, 3), nn.LazyBatchNorm1d(affine=False), nn.Linear(3, 1))
        with pytest.raises(ValueError, match=r"must have values .* none in 1.running_mean"):
            find(model)
