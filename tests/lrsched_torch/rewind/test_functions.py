"""What hooks, losses and forward passes lead to is restored."""

import functools

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from tests.lrsched_torch.helpers import MSE, Body, data, find, left, nothing, sgd


class Counting:
    """Counts its calls, as a hook."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1


class Averaging(nn.Linear):
    """An EMA of the weights, which a hook of the optimizer keeps."""

    @torch.no_grad()
    def update(self, model):
        self.weight.lerp_(model.weight, 0.5)


def test_what_hooks_of_modules_and_optimizers_lead_to_is_restored():
    of_model, of_optimizer, generator = Counting(), Counting(), torch.Generator().manual_seed(0)

    def adding_noise(module, inputs, outputs):
        return outputs + torch.randn(outputs.shape, generator=generator)

    model, ema = nn.Linear(4, 1), Averaging(4, 1)
    model.register_forward_hook(of_model)
    model.register_forward_hook(adding_noise)
    optimizer = sgd(model)
    optimizer.register_step_pre_hook(of_optimizer)
    optimizer.register_step_post_hook(lambda *_: ema.update(model))
    before = ema.weight.detach().clone()
    assert not left(find(model, optimizer))
    assert of_model.calls == of_optimizer.calls == 0
    assert torch.equal(ema.weight, before)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_a_hook_registered_in_a_forward_pass_is_gone():
    def begin(body):
        if not hasattr(body, "begun"):
            body.begun = body.linear.register_forward_hook(Counting())

    model = Body(begin)
    assert not left(find(model))
    assert not model.linear._forward_hooks


def test_a_hook_removed_in_a_forward_pass_is_back():
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


def closed_over(measure):
    return lambda outputs, target: measure(outputs, target)


LOSSES = {
    "object": (Mean, lambda measure: measure),
    "closure over an object": (Mean, closed_over),
    "module": (MeanModule, lambda measure: measure),
    "partial of a module": (MeanModule, lambda measure: functools.partial(measure, scale=2.0)),
    "method of a module": (MeanModule, lambda measure: measure.forward),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_what_a_loss_remembers_is_restored(kind):
    make, wrap = LOSSES[kind]
    measure = make()
    assert not left(find(nn.Linear(4, 1), criterion=wrap(measure), repeats=2))
    assert (measure.mean.item(), measure.count) == (0.0, 0)


def test_so_is_what_a_loss_in_place_of_a_criterion_remembers():
    measure, targets = MeanModule(), [target for _, target in data()]
    find(
        nn.Linear(4, 1),
        criterion=None,
        loader=targets,
        forward=lambda model, _: model(torch.ones(8, 4)),
        loss=measure,
    )
    assert (measure.mean.item(), measure.count) == (0.0, 0)
