"""Modules: tables, modes, hooks, settings and attributes."""

import itertools
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import lr_find, range_test
from tests.lrsched_torch.helpers import Body, Run, Slots, find, left, sgd


@pytest.mark.parametrize("evaluated", [False, True])
def test_submodules_keep_their_own_mode(evaluated):
    run = Run()
    run.model.train(not evaluated)
    run.model.body[1].train(evaluated)
    before = [m.training for m in run.model.modules()]
    run.find()
    assert [m.training for m in run.model.modules()] == before


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


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_the_weight_that_the_old_weight_norm_computed_is_put_back():
    layer = nn.utils.weight_norm(nn.Linear(4, 1))
    layer(torch.ones(1, 4))
    weight, before = layer.weight, layer.weight.detach().clone()
    assert not left(find(nn.Sequential(layer)))
    assert layer.weight is weight
    assert torch.equal(weight, before)


def test_settings_of_layers_of_torch_are_put_back():
    def schedule(body):
        body.norm.momentum *= 0.9
        body.drop.p += 0.01

    model = Body(schedule)
    model.norm, model.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)
    assert not left(find(model))
    assert (model.norm.momentum, model.drop.p) == (0.1, 0.2)


class Counting(nn.Module):
    """Keeps things in plain attributes, as a module may."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.calls, self.seen, self.mean = 0, [], torch.zeros(4)
        self.config, self.generator = Slots(), torch.Generator().manual_seed(0)

    def forward(self, x):
        self.calls += 1
        x = x + torch.rand(4, generator=self.generator)
        self.seen.append(self.calls)
        self.mean += x.mean(0)
        self.late = torch.ones(1)
        self.config.count += 1
        return self.inner(x)


def test_plain_attributes_and_objects_of_modules_are_restored():
    model = Counting()
    drawn = model.generator.get_state()
    assert not left(find(model, criterion=nn.functional.cross_entropy, loader=classes()))
    assert (model.calls, model.seen, model.mean.tolist()) == (0, [], [0.0] * 4)
    assert model.config.count == 0
    assert torch.equal(model.generator.get_state(), drawn)
    assert not hasattr(model, "late")


class Config:
    """As models of Transformers have: its `problem_type` is set by the first batch."""

    def __init__(self):
        self.problem_type, self.nested = None, SimpleNamespace(seen=[])


def in_a_block(model):
    optimizer = sgd(model)
    with range_test(model, optimizer, num_steps=20) as test:
        for x in test.batches([torch.ones(8, 4)]):
            loss = model(x).sum()
            loss.backward()
            optimizer.step()
            test.record(loss)
    return test


@pytest.mark.parametrize("make", [Config, lambda: SimpleNamespace(problem_type=None)])
@pytest.mark.parametrize("block", [False, True])
def test_plain_objects_that_a_model_keeps_are_restored_without_a_word(make, block, recwarn):
    def note(body):
        body.config.problem_type = body.config.problem_type or "single label"
        if isinstance(body.config, Config):
            body.config.nested.seen.append(1)

    model = Body(note)
    model.config = config = make()
    if block:
        in_a_block(model)
    else:
        find(model)
    assert model.config is config
    assert config.problem_type is None
    assert not isinstance(config, Config) or config.nested.seen == []
    assert not [warning for warning in recwarn if warning.category is UserWarning]
    with pytest.raises(TypeError, match=r"got .* is restored anyway: leave it out"):
        find(model, stateful=[config])


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
    remedy = r"\(pass what keeps it in .* if that has a state dict, else make it anew\)"
    expected = rf"could not put back: model\.numbers\. {remedy}"
    with pytest.warns(UserWarning, match=expected) as seen:
        find(Counted(), criterion=nn.functional.cross_entropy, loader=classes())
    # the line of the call, and below that of the `with`
    assert seen[0].filename == str(Path(__file__).parents[1] / "helpers.py")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = Counted()
        test = in_a_block(model)
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


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_a_scripted_model_is_restored():
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    assert not left(find(model))
    assert not any(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


WITHOUT_VALUES = {
    "1.0.weight": lambda: nn.Sequential(nn.LazyLinear(2)),
    "1.weight": lambda: nn.Linear(2, 2, device="meta"),
    "1.running_mean": lambda: nn.LazyBatchNorm1d(affine=False),
}


@pytest.mark.parametrize("path", WITHOUT_VALUES)
def test_a_parameter_without_values_is_named_with_its_path(path):
    model = nn.Sequential(nn.Linear(4, 2), WITHOUT_VALUES[path]())
    with pytest.raises(ValueError, match=rf"must have values .* got none in {path} \("):
        find(model, sgd(model[0]))
