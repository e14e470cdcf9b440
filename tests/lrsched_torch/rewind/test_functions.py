"""What hooks, losses and functions of a model lead to is restored."""

import copy
import functools
import itertools
import logging

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from tests.lrsched_torch.helpers import (
    MSE,
    Body,
    Slots,
    data,
    find,
    left,
    nothing,
    sgd,
)


class CountingHook:
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
        counting = CountingHook()
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
        generator, counting = torch.Generator().manual_seed(0), CountingHook()

        def hook(module, inputs, outputs):
            counting.method()
            return outputs + torch.randn(outputs.shape, generator=generator)

        model = nn.Sequential(nn.Linear(4, 1))
        model[0].register_forward_hook(hook)
        assert not left(find(model))
        assert counting.calls == 0
        assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())

    def test_what_they_keep_deeper_is_restored(self):
        class Deep(CountingHook):
            def __call__(self, *args):
                self.inner.count += 1

        hook = Deep()
        hook.inner = Slots()
        model = nn.Sequential(nn.Linear(4, 1))
        model[0].register_forward_hook(hook)
        assert not left(find(model))
        assert hook.inner.count == 0

    def test_those_registered_in_a_forward_pass_are_gone(self):
        def begin(body):
            if not hasattr(body, "begun"):
                body.begun = body.linear.register_forward_hook(CountingHook())

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


def test_what_a_loss_notes_in_a_list_of_the_caller_stays():
    seen = []

    def criterion(outputs, target):
        seen.append(1)
        return MSE(outputs, target)

    find(nn.Linear(4, 1), criterion=criterion)
    assert len(seen) == 20


class RunningMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.calls = 0

    def forward(self, outputs, target):
        loss = MSE(outputs, target)
        self.mean.lerp_(loss.detach(), 0.1)
        self.calls += 1
        return loss


@pytest.mark.parametrize("name", ["criterion", "loss"])
def test_the_state_of_a_loss_that_is_a_module_is_put_back(name):
    measure = RunningMean()
    model = nn.Linear(4, 1)
    if name == "criterion":
        find(model, criterion=measure)
    else:
        targets = [target for _, target in data()]
        forward = lambda model, _: model(torch.ones(8, 4))  # noqa: E731
        find(model, criterion=None, loader=targets, forward=forward, loss=measure)
    assert (measure.mean.item(), measure.calls) == (0.0, 0)


class TestOtherValues:
    def test_a_logger_that_caches_its_level_is_no_difference(self):
        log = logging.getLogger("lrsched.test")
        assert not left(find(Body(lambda body: body.log.debug("seen"), log=log)))

    def test_an_iterator_that_was_read_is_named(self):
        with pytest.warns(UserWarning, match=r"could not put back: model\.numbers\."):
            find(Body(lambda body: next(body.numbers), numbers=itertools.count()))
