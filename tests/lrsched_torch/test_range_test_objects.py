"""Objects, hooks and functions that move on in a range test are put back, or else named."""

import array
import copy
import functools
import itertools
import logging
import multiprocessing
import threading
import weakref
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from lrsched_torch import range_test
from lrsched_torch.rewind.snapshot import TrainingSnapshot as Snapshot
from tests.lrsched_torch.test_range_test_traces import MSE, Body, Slots, data, find, left, sgd


def nothing(body):
    pass


class Frozen(dict):
    """Refuses every change, and takes itself for its copy."""

    def refuse(self, *args, **kwargs):
        raise TypeError("frozen")

    clear = update = pop = __setitem__ = __delitem__ = refuse

    def copy(self):
        return self


class Outputs(OrderedDict):
    """As the outputs of Transformers: entries are set one by one, and never all at once."""

    update = clear = pop = Frozen.refuse

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.last = key


class TestContainers:
    @pytest.mark.parametrize("kind", [Frozen, Outputs])
    def test_one_that_refuses_to_be_refilled_stays_as_it_is(self, kind):
        held = kind([("a", torch.ones(2)), ("b", 2)])
        model = Body(nothing, held=held)
        assert not left(find(model))
        assert model.held is held
        assert list(held) == ["a", "b"]

    @pytest.mark.parametrize(
        ("kind", "change"),
        [
            (Frozen, lambda held: dict.__setitem__(held, "c", 3)),
            (Outputs, lambda held: held.__setitem__("c", 3)),
            (Outputs, lambda held: held.move_to_end("a")),
        ],
    )
    def test_one_that_changes_all_the_same_is_put_back(self, kind, change):
        held = kind([("a", torch.ones(2)), ("b", 2)])
        assert not left(find(Body(lambda body: change(body.held), held=held)))
        assert list(held) == ["a", "b"]

    def test_what_cannot_be_written_to_any_more_is_named(self):
        def seal(body):
            body.values[0] += 1
            body.values.flags.writeable = False
            body.before = nothing

        model = Body(seal, values=np.zeros(2))
        model.other = [1]
        for verify in (True, False):
            model.values = np.zeros(2)
            model.before = seal
            with pytest.warns(UserWarning, match="could not put back: attribute values"):
                curve = find(model, verify=verify)
            assert len(curve) == 20


class Preconditioner:
    """Belongs to a parameter, and moves on."""

    def __init__(self, parameter):
        self.parameter, self.mean = parameter, torch.zeros_like(parameter)
        self.lock, self.steps = threading.Lock(), 0

    def __call__(self, gradient):
        self.steps += 1
        return self.mean.lerp_(gradient, 0.5)


class Preconditioned(torch.optim.SGD):
    """Keeps objects in its state and in its groups."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.01)
        self.param_groups[0]["slots"] = Slots()

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["slots"].count += 1
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["of"] = Preconditioner(parameter)
                direction = state["of"](parameter.grad)
                state["of"].parameter.sub_(group["lr"] * direction)


def train(model, optimizer):
    for x, y in data():
        optimizer.zero_grad()
        MSE(model(x), y).backward()
        optimizer.step()


def test_objects_of_an_optimizer_stay_those_that_refer_to_its_parameters():
    def weights(with_test):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = Preconditioned(model.parameters())
        train(model, optimizer)
        kept = optimizer.state[model.weight]["of"]
        if with_test:
            assert not left(find(model, optimizer))
        assert optimizer.state[model.weight]["of"] is kept
        assert (kept.steps, optimizer.param_groups[0]["slots"].count) == (8, 8)
        train(model, optimizer)
        return model.weight.tolist()

    assert weights(True) == weights(False)


def test_mappings_of_libraries_are_left_to_them():
    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    optimizer.param_groups[0]["cache"] = cache = weakref.WeakKeyDictionary()
    snapshot = Snapshot(model, optimizer)
    optimizer.param_groups[0]["cache"][model] = 1
    snapshot.restore()
    assert optimizer.param_groups[0]["cache"] is cache
    assert snapshot.differences() == ["cache of group 0"]


def test_another_object_in_a_group_is_named():
    model = nn.Linear(4, 1)
    optimizer = Preconditioned(model.parameters())
    snapshot = Snapshot(model, optimizer)
    optimizer.param_groups[0]["slots"] = Slots()
    assert snapshot.differences() == ["slots of group 0"]
    snapshot.restore()
    assert snapshot.differences() == []


class Counting:
    """Counts its calls."""

    def __init__(self):
        self.calls, self.inner = 0, None

    def __call__(self, *args):
        self.calls += 1

    def method(self, *args):
        self.calls += 1


HOOKS = {
    "object": lambda counting: counting,
    "method": lambda counting: counting.method,
    "partial": lambda counting: functools.partial(counting, 1),
}


class TestHooks:
    @pytest.mark.parametrize("hook", HOOKS)
    def test_what_they_count_is_put_back(self, hook):
        counting = Counting()
        model = nn.Sequential(nn.Linear(4, 1))
        model[0].register_forward_hook(HOOKS[hook](counting))
        optimizer = sgd(model)
        optimizer.register_step_pre_hook(HOOKS[hook](counting))
        assert not left(find(model, optimizer))
        assert counting.calls == 0

    @pytest.mark.parametrize("hook", ["lambda", "method"])
    def test_modules_that_they_lead_to_are_put_back(self, hook):
        class Ema(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.copy = copy.deepcopy(model)

            @torch.no_grad()
            def update(self, *args):
                self.copy.weight.lerp_(model.weight, 0.5)

        model = nn.Linear(4, 1)
        optimizer, ema = sgd(model), Ema(model)
        optimizer.register_step_post_hook(
            ema.update if hook == "method" else lambda *_: ema.update()
        )
        before = ema.copy.weight.clone()
        assert not left(find(model, optimizer))
        assert torch.equal(ema.copy.weight, before)

    def test_generators_and_objects_that_they_lead_to_are_put_back(self):
        generator, counting = torch.Generator().manual_seed(0), Counting()

        def hook(module, inputs, outputs):
            counting.method()
            return outputs + torch.randn(outputs.shape, generator=generator)

        model = nn.Sequential(nn.Linear(4, 1))
        model[0].register_forward_hook(hook)
        assert not left(find(model))
        assert counting.calls == 0
        assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())

    def test_what_they_keep_deeper_is_named(self):
        class Deep(Counting):
            def __call__(self, *args):
                self.inner.count += 1

        hook = Deep()
        hook.inner = Slots()
        model = nn.Sequential(nn.Linear(4, 1))
        model[0].register_forward_hook(hook)
        with pytest.warns(UserWarning, match="could not put back: hooks of 0"):
            find(model)

    def test_those_registered_in_a_forward_pass_are_gone(self):
        def begin(body):
            if not hasattr(body, "begun"):
                body.begun = body.linear.register_forward_hook(Counting())

        model = Body(begin)
        assert not left(find(model))
        assert not model.linear._forward_hooks

    def test_those_removed_in_a_forward_pass_are_back(self):
        model = Body(lambda body: body.handle.remove())
        model.handle = model.linear.register_forward_pre_hook(
            lambda module, args, kwargs: None, with_kwargs=True
        )
        assert not left(find(model))
        model.before = nothing
        model(torch.ones(1, 4))
        assert len(model.linear._forward_pre_hooks) == 1


GENERATOR = torch.Generator()


class NamingAGlobal(nn.Linear):
    """Draws from a generator of the module that it is in."""

    def forward(self, x):
        return super().forward(x + torch.rand(1, generator=GENERATOR))


KEPT = {
    "partial": lambda generator: functools.partial(torch.rand, 1, generator=generator),
    "closure": lambda generator: lambda: torch.rand(1, generator=generator),
    "method": lambda generator: generator.seed,
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_function_that_a_module_keeps_leads_to_is_put_back(kind):
    generator = torch.Generator().manual_seed(0)
    model = Body(lambda body: body.draw(), draw=KEPT[kind](generator))
    assert not left(find(model))
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_a_module_behind_a_weak_reference_is_put_back():
    teacher = nn.BatchNorm1d(4)
    model = Body(lambda body: body.teacher()(torch.randn(8, 4)), teacher=weakref.ref(teacher))
    assert not left(find(model))
    assert teacher.num_batches_tracked == 0


def test_a_generator_that_a_forward_pass_names_is_put_back():
    GENERATOR.manual_seed(0)
    assert not left(find(NamingAGlobal(4, 1)))
    assert torch.equal(GENERATOR.get_state(), torch.Generator().manual_seed(0).get_state())


class Mean:
    """A loss that is no module, and remembers."""

    def __init__(self):
        self.mean, self.count = torch.zeros(()), 0

    def __call__(self, outputs, target):
        loss = MSE(outputs, target)
        self.mean = self.mean.lerp(loss.detach(), 0.5)
        self.count += 1
        return loss


class MeanModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.count = 0

    def forward(self, outputs, target, scale=1.0):
        loss = MSE(outputs, target) * scale
        self.mean.lerp_(loss.detach(), 0.5)
        self.count += 1
        return loss


class Untold(Mean):
    """Does not say whether it is true, as an array of several numbers does not."""

    def __bool__(self):
        raise ValueError("neither")


def closed_over(measure):
    def criterion(outputs, target):
        return measure(outputs, target)

    return criterion


LOSSES = {
    "object": (Mean, lambda measure: measure),
    "object without a truth value": (Untold, lambda measure: measure),
    "method of an object": (Mean, lambda measure: measure.__call__),
    "closure over an object": (Mean, closed_over),
    "partial of a module": (MeanModule, lambda measure: functools.partial(measure, scale=2.0)),
    "method of a module": (MeanModule, lambda measure: measure.forward),
    "closure over a module": (MeanModule, closed_over),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_loss_that_is_no_module_is_put_back(kind, repeats):
    make, wrap = LOSSES[kind]
    measure = make()
    assert not left(find(nn.Linear(4, 1), criterion=wrap(measure), repeats=repeats))
    assert (measure.mean.item(), measure.count) == (0.0, 0)


def test_what_of_a_loss_is_too_large_to_be_put_back_is_named():
    class Writing(Mean):
        def __call__(self, outputs, target):
            self.large += 1
            return super().__call__(outputs, target)

    measure = Writing()
    measure.large = np.zeros(2**20 + 1)
    with pytest.warns(UserWarning, match="attribute large of the Writing in criterion"):
        find(nn.Linear(4, 1), criterion=measure)


def test_what_a_loss_notes_in_a_list_of_the_caller_stays():
    seen = []

    def criterion(outputs, target):
        seen.append(1)
        return MSE(outputs, target)

    find(nn.Linear(4, 1), criterion=criterion)
    assert len(seen) == 20


class TestOptimizersThatNobodyNamed:
    def run(self, stateful=(), anew=False):
        model = nn.ModuleDict({"one": nn.Linear(4, 1), "other": nn.Linear(4, 1)})
        optimizer, other = sgd(model["one"]), torch.optim.Adam(model["other"].parameters())
        with range_test(
            model, optimizer, num_steps=12, stateful=[other] if stateful else ()
        ) as test:
            for x, y in test.batches(data()):
                loss = MSE(model["one"](x) + model["other"](x), y)
                loss.backward()
                optimizer.step()
                (torch.optim.Adam(model["other"].parameters()) if anew else other).step()
                test.record(loss)
        return left(test.curve)

    @pytest.mark.filterwarnings("ignore:The range test could not")
    def test_one_that_makes_steps_is_named(self):
        assert self.run() == [
            "The range test could not put back: state of the Adam that the loop steps."
        ]

    def test_one_that_is_stateful_or_made_anew_is_not(self):
        assert self.run(stateful=True) == self.run(anew=True) == []

    def test_nobody_watches_afterwards(self):
        before = len(_global_optimizer_post_hooks)
        self.run(stateful=True)
        assert len(_global_optimizer_post_hooks) == before


class TestOtherValues:
    def test_the_gradient_of_a_tensor_that_is_no_parameter_is_put_back(self):
        model = Body(nothing, scale=torch.zeros(1, requires_grad=True))
        model.forward = lambda x: model.linear(x) * model.scale.exp()
        assert not left(find(model))
        assert model.scale.grad is None

    def test_a_gradient_of_a_tensor_that_stays_shows(self):
        model = Body(nothing, scale=torch.zeros(1, requires_grad=True))
        snapshot = Snapshot(model, sgd(model))
        model.scale.grad = torch.ones(1)
        assert snapshot.differences() == ["attribute scale"]

    def test_a_logger_that_caches_its_level_is_no_difference(self):
        log = logging.getLogger("lrsched.test")
        assert not left(find(Body(lambda body: body.log.debug("seen"), log=log)))

    @pytest.mark.parametrize(
        ("value", "change"),
        [
            (bytearray(b"abc"), lambda value: value.append(1)),
            (array.array("d", [0.0]), lambda value: value.append(1.0)),
            (multiprocessing.Value("i", 1), lambda value: setattr(value, "value", 7)),
            (np.random.PCG64(0), lambda value: value.random_raw()),
        ],
        ids=["bytearray", "array", "shared number", "bits"],
    )
    def test_memory_of_other_kinds_is_put_back(self, value, change):
        model = Body(lambda body: change(body.value), value=value)
        snapshot = Snapshot(model, sgd(model))
        change(value)
        assert snapshot.differences() == ["attribute value"]
        assert model.value is value
        snapshot.restore()
        assert snapshot.differences() == []

    def test_seeds_that_others_were_spawned_from_are_named(self):
        model = Body(lambda body: body.seeds.spawn(1), seeds=np.random.SeedSequence(0))
        with pytest.warns(UserWarning, match="could not put back: attribute seeds"):
            find(model)

    def test_an_iterator_is_noted(self):
        curve = find(Body(lambda body: next(body.numbers), numbers=itertools.count()))
        assert "Attribute numbers is an iterator: what was read from it is gone." in curve.notes

    @pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
    @pytest.mark.parametrize(
        "make",
        [
            lambda: torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)]),
            lambda: torch.ones(3).to_mkldnn(),
        ],
        ids=["nested", "mkldnn"],
    )
    def test_tensors_without_strides_are_put_back(self, make):
        model = Body(nothing, value=make())
        snapshot = Snapshot(model, sgd(model))
        model.value.copy_(make() + make())
        assert snapshot.differences() == ["attribute value"]
        snapshot.restore()
        assert snapshot.differences() == []

    def test_a_tensor_without_values_is_left_alone(self):
        assert not left(find(Body(nothing, value=torch.ones(3, device="meta"))))

    def test_an_integer_of_thousands_of_digits_can_be_hashed(self):
        value = 10**5000
        model = Body(nothing, value=value, values=[value, value])
        snapshot = Snapshot(model, sgd(model))
        model.value += 1
        model.values[1] += 1
        assert snapshot.differences() == ["attribute value", "attribute values"]
