"""A scheduler never stands still in silence: updates that its optimizer does not tell of."""

import warnings
from collections import OrderedDict, defaultdict

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched_torch import OneCycleLR, ScheduleLR

CURVE = lrsched.one_cycle(0.1, 2000)
UNSEEN = "parameters are updated, but not by step"


def sgd(parameters, cls=torch.optim.SGD, **arguments):
    return cls(parameters, **{"lr": 0.1, "momentum": 0.9, **arguments})


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation as its readme has it, by two calls or by a closure."""

    def __init__(self, params, **options):
        super().__init__(params, options)
        self.base_optimizer = torch.optim.SGD(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    def first_step(self):
        self.moves = [(p, 0.05 * p.grad) for g in self.param_groups for p in g["params"]]
        for p, move in self.moves:
            p.data += move
        self.zero_grad()

    def second_step(self):
        for p, move in self.moves:
            p.data -= move
        self.base_optimizer.step()

    def step(self, closure):
        self.first_step()
        closure()
        self.second_step()


class Lookahead(torch.optim.Optimizer):
    """As in timm: hooks around step alone, which nothing calls."""

    def __init__(self, base):
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self.base, self.param_groups, self.defaults = base, base.param_groups, base.defaults
        self.state = defaultdict(dict)

    def step(self, closure=None):
        return self.base.step(closure)


class Several(Lookahead):
    """One optimizer for each parameter."""

    def __init__(self, parameters):
        self.parts = [torch.optim.SGD([p], 0.1) for p in parameters]
        super().__init__(self.parts[0])
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None):
        for part in self.parts:
            part.step()


@pytest.fixture
def model():
    return torch.nn.Linear(3, 2)


def loss_of(model):
    return model(torch.ones(2, 3)).square().sum()


def train(model, scheduler, step, batches=20):
    """The steps of the scheduler after each batch."""
    steps = []
    for _ in range(batches):
        model.zero_grad()
        loss_of(model).backward()
        step()
        scheduler.step()
        steps.append(scheduler.last_epoch)
    return steps


@pytest.mark.parametrize(
    ("make", "updates"),
    # One of each part where nothing holds them together.
    [(Sam, 1), (lambda p, **_: Lookahead(sgd(p)), 1), (lambda p, **_: Several(p), 2)],
)
def test_updates_of_inner_optimizers_count_once(model, make, updates):
    optimizer = make([*model.parameters()], lr=0.1, momentum=0.9)
    scheduler = ScheduleLR(optimizer, CURVE)

    def closure():
        loss_of(model).backward()

    def by_two_steps():
        optimizer.first_step()
        closure()
        optimizer.second_step()

    ways = [by_two_steps] if make is Sam else []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for way in (*ways, lambda: optimizer.step(closure)):
            start = scheduler.last_epoch
            assert train(model, scheduler, way) == [start + k for k in range(1, 21)]
    assert optimizer.param_groups[0]["lr"] == CURVE(scheduler.last_epoch)
    loss_of(model).backward()
    optimizer.step(closure)
    assert scheduler.state_dict()["pending"] == updates


def by_hand(model, optimizer):
    def step():
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(optimizer.param_groups[0]["lr"] * p.grad)

    return step


def by_data(model, optimizer):
    def step():
        for p in model.parameters():
            p.data -= optimizer.param_groups[0]["lr"] * p.grad

    return step


def replaced(model, optimizer):
    optimizer.step = by_hand(model, optimizer)
    return optimizer.step


def made_anew(model, optimizer):
    return sgd(model.parameters()).step


@pytest.mark.parametrize("count", ["auto", "updates"])
@pytest.mark.parametrize("way", [by_hand, by_data, replaced, made_anew])
def test_updates_that_nobody_sees_are_warned_of_once_and_counted(model, way, count):
    optimizer = sgd(model.parameters())
    step = way(model, optimizer)
    scheduler = ScheduleLR(optimizer, CURVE, count=count)
    with pytest.warns(UserWarning, match=UNSEEN) as caught:
        steps = train(model, scheduler, step)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    # The first call is what the others are compared with.
    assert steps == list(range(20))
    assert optimizer.param_groups[0]["lr"] == CURVE(19)


def test_of_unseen_updates_those_that_move_versions_are_counted(model):
    """Four batches to an update, by hand."""
    optimizer = sgd(model.parameters())
    scheduler, step, calls = ScheduleLR(optimizer, CURVE), by_hand(model, optimizer), []

    def every_fourth():
        calls.append(1)
        if len(calls) % 4 == 0:
            step()

    with pytest.warns(UserWarning, match=UNSEEN):
        assert train(model, scheduler, every_fourth)[-1] == 5


def test_an_optimizer_made_anew_in_the_middle_is_warned_of(model):
    optimizer = sgd(model.parameters())
    scheduler = OneCycleLR(optimizer, 0.1, 2000)
    assert train(model, scheduler, optimizer.step)[-1] == 20
    other = sgd(model.parameters())
    with pytest.warns(UserWarning, match="build the scheduler with the optimizer that makes"):
        steps = train(model, scheduler, other.step, 150)
    assert steps[99] == 20
    assert steps[-1] == 20 + 50


def test_a_forgotten_step_is_said_once(model):
    scheduler = ScheduleLR(sgd(model.parameters()), CURVE)
    with pytest.warns(UserWarning, match="no update has been seen in 100 calls") as c:
        assert train(model, scheduler, lambda: None, 300)[-1] == 0
    assert len(c) == 1


@pytest.mark.parametrize("batches", [48, 500])
def test_accumulation_is_no_unseen_update(model, batches):
    optimizer = sgd(model.parameters())
    scheduler, calls = ScheduleLR(optimizer, CURVE), []

    def step():
        calls.append(1)
        if len(calls) % batches == 0:
            optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # True of the first 500 batches.
        warnings.filterwarnings("ignore", "no update has been seen in 100 calls")
        assert train(model, scheduler, step, 3 * batches)[-1] == 3


def test_an_update_that_raises_does_not_hide_those_after_it(model):
    optimizer = Sam([*model.parameters()], lr=0.1, momentum=0.9)
    scheduler = ScheduleLR(optimizer, CURVE)

    def broken():
        raise KeyboardInterrupt

    loss_of(model).backward()
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(broken)
    scheduler.step()

    def by_two_steps():
        optimizer.first_step()
        loss_of(model).backward()
        optimizer.second_step()

    start = scheduler.last_epoch
    assert train(model, scheduler, by_two_steps, 5)[-1] == start + 5
