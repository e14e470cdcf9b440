"""Optimizers: state, groups, attributes, those inside of others, and what schedulers count."""

import threading

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import OneCycleLR, lr_find
from lrsched_torch.rewind.snapshot import TrainingSnapshot
from tests.lrsched_torch.helpers import MSE, Slots, data, find, left, sgd


def train(model, optimizer):
    for x, y in data():
        optimizer.zero_grad()
        MSE(model(x), y).backward()
        optimizer.step()


class Lookahead(torch.optim.Optimizer):
    """Makes its steps with another optimizer, and keeps slow weights outside of its state."""

    def __init__(self, optimizer):
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups
        self.state, self.defaults, self.steps = {}, optimizer.defaults, 0
        self.fast = [p for group in self.param_groups for p in group["params"]]
        self.slow = [p.detach().clone() for p in self.fast]

    def step(self, closure=None):
        self.optimizer.step()
        self.steps += 1
        for slow, fast in zip(self.slow, self.fast, strict=True):
            slow.lerp_(fast.detach(), 0.5)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)


class Smoothing(torch.optim.SGD):
    """Keeps the mean of each gradient at the parameter itself, as Megatron does."""

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            mean = getattr(parameter, "main_grad", torch.zeros_like(parameter))
            parameter.main_grad = mean.lerp_(parameter.grad, 0.5)
        return super().step(closure)


@pytest.mark.parametrize("begun", [True, False])
def test_tensors_that_an_optimizer_keeps_at_the_parameters_are_put_back(begun):
    model = nn.Linear(4, 1)
    if begun:
        model.weight.main_grad = mean = torch.ones(1, 4)
    assert not left(find(model, Smoothing(model.parameters(), lr=0.1)))
    assert vars(model.bias) == {}
    if begun:
        assert model.weight.main_grad is mean
        assert torch.equal(mean, torch.ones(1, 4))
    else:
        assert vars(model.weight) == {}


@pytest.mark.parametrize("begun", [True, False])
def test_what_an_optimizer_and_that_inside_of_it_keep_is_put_back(begun):
    model = nn.Linear(4, 1)
    optimizer = Lookahead(sgd(model, momentum=0.9))
    if begun:
        train(model, optimizer)
    kept = [*optimizer.slow, *(s["momentum_buffer"] for s in optimizer.optimizer.state.values())]
    before = [tensor.clone() for tensor in kept]
    assert not left(find(model, optimizer))
    after = [*optimizer.slow, *(s["momentum_buffer"] for s in optimizer.optimizer.state.values())]
    assert all(a is b for a, b in zip(after, kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert optimizer.steps == (8 if begun else 0)


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


def lrs_of_an_accumulating_run(find_at=None):
    """The lr before each batch, with an update every third; a range test before one of them."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    batches = [(torch.randn(4, 3), torch.randint(2, (4,))) for _ in range(30)]
    criterion, lrs = torch.nn.CrossEntropyLoss(), []
    for index, (x, y) in enumerate(batches):
        if index == find_at:
            before = set(vars(optimizer))
            lr_find(model, optimizer, criterion, batches, num_steps=20, end_lr=1.0)
            assert set(vars(optimizer)) == before  # no mark stays
        lrs.append(optimizer.param_groups[0]["lr"])
        criterion(model(x), y).backward()
        if index % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return lrs


@pytest.mark.parametrize("find_at", [1, 29])
def test_a_range_test_is_no_step_of_a_schedule(find_at):
    assert lrs_of_an_accumulating_run(find_at) == lrs_of_an_accumulating_run()


def test_what_was_born_in_between_is_dropped():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    snapshot = TrainingSnapshot(model, optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    extra = torch.nn.Parameter(torch.ones(1))
    optimizer.add_param_group({"params": [extra]})
    model.register_buffer("late", torch.zeros(1))
    for p in model.parameters():
        p.requires_grad_(False)
    snapshot.restore()
    assert len(optimizer.param_groups) == 1
    assert not optimizer.state
    assert "late" not in dict(model.named_buffers())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
