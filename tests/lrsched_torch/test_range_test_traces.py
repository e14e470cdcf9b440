"""Traces that a range test once left: what holds state in places of its own."""

import gc
import multiprocessing
import os
import random
import signal
from collections import deque

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lrsched_torch import lr_find, range_test
from lrsched_torch._digest import MAX_OBJECTS
from lrsched_torch._hold import MAX_ENTRIES

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")
MSE = nn.functional.mse_loss


def data(batches=8, width=4):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, width, generator=generator), torch.randn(8, 1, generator=generator))
        for _ in range(batches)
    ]


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def find(model, optimizer=None, criterion=MSE, loader=None, **options):
    settings = {"num_steps": 20, "stop_factor": None, **options}
    loader = data() if loader is None else loader
    return lr_find(model, optimizer or sgd(model), criterion, loader, **settings)


def left(curve):
    return [note for note in curve.notes if "could not put back" in note]


class Body(nn.Module):
    """A linear layer that does something else in each forward pass."""

    def __init__(self, before, **attributes):
        super().__init__()
        self.linear, self.before = nn.Linear(4, 1), before
        vars(self).update(attributes)

    def forward(self, x):
        self.before(self)
        return self.linear(x)


class Sam(torch.optim.Optimizer):
    """Makes its steps with another optimizer, as Sharpness-Aware Minimization does."""

    def __init__(self, parameters, **options):
        super().__init__(parameters, dict(rho=0.05, **options))
        self.base_optimizer = torch.optim.SGD(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    def step(self, closure=None):
        self.base_optimizer.step()


class Lookahead(torch.optim.Optimizer):
    """Keeps slow weights, outside of its state."""

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


def test_the_state_of_an_optimizer_inside_of_another_is_put_back():
    model = nn.Linear(4, 1)
    optimizer = Sam(model.parameters(), lr=0.1, momentum=0.9)
    MSE(model(torch.ones(2, 4)), torch.ones(2, 1)).backward()
    optimizer.step()
    slots = [s["momentum_buffer"] for s in optimizer.base_optimizer.state.values()]
    before = [slot.clone() for slot in slots]
    assert not left(find(model, optimizer))
    after = [s["momentum_buffer"] for s in optimizer.base_optimizer.state.values()]
    assert all(a is b for a, b in zip(after, slots, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_tensors_and_counters_that_an_optimizer_keeps_are_put_back():
    model = nn.Linear(4, 1)
    optimizer = Lookahead(sgd(model, momentum=0.9))
    slow, before = optimizer.slow[0], optimizer.slow[0].clone()
    assert not left(find(model, optimizer))
    assert optimizer.slow[0] is slow
    assert torch.equal(slow, before)
    assert (optimizer.steps, len(optimizer.optimizer.state)) == (0, 0)


def test_no_mark_stays_on_an_optimizer_with_a_scheduler():
    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    before = set(vars(optimizer))
    find(model, optimizer)
    assert set(vars(optimizer)) == before


def normalize(body):
    body.linear.weight.data = nn.functional.normalize(body.linear.weight.data)


def widen(body):
    body.linear.weight.data = body.linear.weight.data.double().float().t().contiguous().t()


@pytest.mark.parametrize("replace", [normalize, widen])
def test_weights_that_were_given_other_memory_are_back_in_their_own(replace):
    model = Body(replace)
    weight = model.linear.weight
    before, address, strides = weight.detach().clone(), weight.data_ptr(), weight.stride()
    assert not left(find(model))
    assert torch.equal(weight, before)
    assert (weight.data_ptr(), weight.stride()) == (address, strides)


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


def vars_of(body):
    return {name: vars(body)[name] for name in ("a", "b", "c", "d", "many")}


def drawn(body):
    """The states of all generators, and which objects they are."""
    states = [body.a.get_state().numpy().tobytes(), body.b.getstate(), body.many[0].getstate()]
    states += [str(body.c.bit_generator.state), str(body.d.get_state()[2])]
    return states, [id(value) for value in vars_of(body).values()]


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


def test_a_long_queue_of_numbers_is_put_back():
    length = 2 * MAX_ENTRIES
    model = Body(lambda body: body.queue.append(-1), queue=deque(range(length), maxlen=length))
    assert not left(find(model))
    assert list(model.queue) == list(range(length))


class Slots:
    __slots__ = ("count",)

    def __init__(self):
        self.count = 0


class Nest:
    def __init__(self, inner):
        self.inside = {"a": inner}


@pytest.mark.parametrize("nest", [lambda meter: meter, Nest, lambda meter: Nest(Nest(meter))])
def test_objects_that_change_are_named_however_deep_they_are(nest):
    meter = Slots()

    def count(body):
        meter.count += 1

    with pytest.warns(UserWarning, match="could not put back: attribute meter"):
        find(Body(count, meter=nest(meter)))


def test_objects_that_refer_to_each_other_can_be_hashed():
    one, other = Nest(None), Nest(None)
    one.inside["a"], other.inside["a"] = other, one
    model = Body(lambda body: None, one=one)
    one.model = [model]
    assert not left(find(model))


@pytest.mark.parametrize(
    ("value", "noted"),
    [
        ([Slots() for _ in range(MAX_ENTRIES + 1)], True),
        (Nest([[Slots() for _ in range(100)] for _ in range(MAX_OBJECTS // 100 + 1)]), True),
        ({str(i): i for i in range(MAX_ENTRIES + 1)}, False),
        (list(range(MAX_ENTRIES + 1)), False),
    ],
)
def test_what_is_too_large_to_be_checked_whole_is_named(value, noted):
    curve = find(Body(lambda body: None, memory=value), loader=data(20))
    note = "Too large to be put back and checked whole: attribute memory."
    assert curve.notes == ((note,) if noted else ())


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_the_weight_that_the_old_weight_norm_computed_is_put_back():
    layer = nn.utils.weight_norm(nn.Linear(4, 1))
    layer(torch.ones(1, 4))
    weight, before = layer.weight, layer.weight.detach().clone()
    assert not left(find(nn.Sequential(layer)))
    assert layer.weight is weight
    assert torch.equal(weight, before)


class TestWhatOnceFailedAtTheStart:
    @pytest.mark.parametrize("layout", ["sparse", "sparse_csr"])
    @pytest.mark.filterwarnings("ignore:Sparse CSR")
    def test_sparse_buffers(self, layout):
        model = Body(lambda body: body.graph.mul_(2.0))
        graph = getattr(torch.eye(8), f"to_{layout}")()
        model.register_buffer("graph", graph)
        assert not left(find(model))
        assert model.graph is graph
        assert torch.equal(graph.to_dense(), torch.eye(8))

    def test_a_sparse_gradient(self):
        model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 1))
        batch = (torch.tensor([[0, 1], [1, 4]]), torch.ones(2, 1))
        MSE(model(batch[0]), batch[1]).backward()
        gradient = model[0].weight.grad
        before = gradient.to_dense()
        assert not left(find(model, loader=[batch]))
        assert model[0].weight.grad is gradient
        assert torch.equal(gradient.to_dense(), before)

    def test_an_array_of_objects(self):
        names = np.array(["a", None], dtype=object)

        def rename(body):
            body.names[1] = "b"

        model = Body(rename, names=names)
        assert not left(find(model))
        assert model.names is names
        assert names.tolist() == ["a", None]

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


class ShufflingSampler:
    def __init__(self):
        self.order, self.rng = list(range(64)), random.Random(0)

    def __iter__(self):
        self.rng.shuffle(self.order)
        return iter(list(self.order))

    def __len__(self):
        return 64


class ShufflingLoader:
    def __init__(self):
        self.batches = data()

    def __iter__(self):
        random.shuffle(self.batches)
        return iter(self.batches)


class ShufflingDataset(IterableDataset):
    def __init__(self):
        self.order, self.x = np.arange(64), torch.randn(64, 4)

    def __iter__(self):
        np.random.shuffle(self.order)
        for index in self.order:
            yield self.x[index], torch.ones(1)


class Noise:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return x + float(self.rng.random())


class Augmented(Dataset):
    def __init__(self, transform):
        self.transform, self.x = transform, torch.randn(64, 4)

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.transform(self.x[index]), torch.ones(1)


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


class Collate(Noise):
    def __call__(self, samples):
        x, y = map(torch.stack, zip(*samples, strict=True))
        return super().__call__(x), y


def samples():
    return TensorDataset(torch.randn(64, 4), torch.randn(64, 1))


LOADERS = {
    "sampler": lambda: DataLoader(samples(), batch_size=8, sampler=ShufflingSampler()),
    "loader": ShufflingLoader,
    "iterable data set": lambda: DataLoader(ShufflingDataset(), batch_size=8),
    "transform": lambda: DataLoader(Augmented(Noise()), batch_size=8),
    "several transforms": lambda: DataLoader(Augmented(Compose(Noise(), Noise())), batch_size=8),
    "collate_fn": lambda: DataLoader(samples(), batch_size=8, collate_fn=Collate()),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_the_batches_after_it_are_those_without_it(kind):
    def batches(with_test):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        loader = LOADERS[kind]()
        seen = [x for x, _ in loader]
        if with_test:
            assert not left(find(nn.Linear(4, 1), loader=loader))
        return torch.cat([*seen, *(x for x, _ in loader)])

    assert torch.equal(batches(True), batches(False))


class Large:
    """Has an array that is too large to be kept."""

    def __init__(self):
        self.batches, self.array = data(), np.zeros(2**20 + 1)

    def __iter__(self):
        self.array += 1
        return iter(self.batches)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.filterwarnings("ignore:The range test could not")
def test_what_could_not_be_put_back_in_a_loader_is_named(verify):
    curve = find(nn.Linear(4, 1), loader=Large(), verify=verify)
    named = ["The range test could not put back: attribute array of the Large in loader."]
    assert left(curve) == (named if verify else [])


def endless():
    while True:
        yield torch.ones(4), torch.ones(1)


class Held(IterableDataset):
    def __init__(self, iterator):
        self.iterator = iterator

    def __iter__(self):
        return self.iterator


HOLDS = "The loader holds an iterator: what was read from it is gone."


def test_a_loader_that_holds_an_iterator_is_noted_and_ends_with_it():
    curve = find(nn.Linear(4, 1), loader=Held(iter(data(15))))
    assert (len(curve), curve.notes) == (15, (HOLDS,))
    curve = find(nn.Linear(4, 1), loader=DataLoader(Held(endless()), batch_size=1))
    assert (len(curve), curve.notes) == (20, (HOLDS,))


class InterruptingPart:
    """Gets a Ctrl-C, or raises, in the middle of the restoring."""

    def __init__(self, how):
        self.how = how

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        if self.how == "sigint":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise OSError("cannot load")


@pytest.mark.parametrize(("how", "error"), [("sigint", KeyboardInterrupt), ("raise", OSError)])
@pytest.mark.parametrize("first", [True, False])
def test_an_interrupted_restore_is_whole(how, error, first):
    """Also where it is itself the consequence of a first Ctrl-C."""

    def criterion(outputs, target):
        if first:
            os.kill(os.getpid(), signal.SIGINT)
        return MSE(outputs, target)

    model = nn.Linear(4, 1)
    optimizer = sgd(model, momentum=0.9)
    before, handler = model.weight.detach().clone(), signal.getsignal(signal.SIGINT)
    state = torch.get_rng_state()
    with pytest.raises((error, KeyboardInterrupt)):
        find(model, optimizer, criterion, stateful=[InterruptingPart(how)])
    assert torch.equal(model.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state
    assert signal.getsignal(signal.SIGINT) is handler


def test_no_hook_stays_after_an_error_though_the_batches_are_kept():
    model = nn.Linear(4, 1)
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
    kept = []

    def train():
        with range_test(model, optimizer, num_steps=12, stateful=[scaler]) as test:
            kept.append(test.batches(data()))
            for _ in kept[0]:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert not optimizer._optimizer_step_post_hooks
    assert next(kept[0], None) is None


def test_no_worker_lives_as_long_as_the_test_object():
    before = {child.pid for child in multiprocessing.active_children()}
    loader = DataLoader(samples(), batch_size=8, num_workers=1, persistent_workers=True)
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        for _ in test.batches(loader):
            test.record(1.0)
    gc.collect()
    assert {child.pid for child in multiprocessing.active_children()} <= before


def test_a_scheduler_that_nobody_puts_back_is_noted():
    def notes(listed):
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        stateful = [scheduler] if listed else []
        with range_test(model, optimizer, num_steps=12, stateful=stateful) as test:
            for _ in test.batches([None]):
                optimizer.step()
                scheduler.step()
                test.record(1.0)
        return [note for note in test.curve.notes if "sets the lr too" in note]

    assert len(notes(listed=False)) == 1
    assert notes(listed=True) == []


class TestMessages:
    def test_a_validation_loader_is_called_by_its_name(self):
        with pytest.raises(TypeError, match=r"val_loader must be an iterable .* again and again"):
            find(nn.Linear(4, 1), val_loader=iter(data()))
        with pytest.raises(ValueError, match="val_loader must give batches, got none"):
            find(nn.Linear(4, 1), val_loader=[])
        with pytest.raises(TypeError, match="val_loader must be an iterable of batches, got 3"):
            find(nn.Linear(4, 1), val_loader=3)

    def test_an_optimizer_that_needs_a_closure_is_sent_to_a_loop(self):
        model = nn.Linear(4, 1)
        with pytest.raises(TypeError, match=r"without a closure, got LBFGS \(use range_test"):
            find(model, torch.optim.LBFGS(model.parameters()))

    def test_a_group_without_a_lr_is_named(self):
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        optimizer.param_groups[0]["lr"] = None
        with pytest.raises(ValueError, match="a lr in each group, got None in group 0"):
            find(model, optimizer)

    def test_losses_of_several_shapes_are_one_curve(self):
        model = nn.Linear(4, 1)
        losses = [torch.tensor(1.0), torch.tensor([[2.0]]), 3.0, torch.tensor([4.0])] * 3
        with range_test(model, sgd(model), num_steps=12, stop_factor=None) as test:
            for loss in test.batches(losses):
                test.record(loss)
        assert test.curve.loss.tolist() == [1.0, 2.0, 3.0, 4.0] * 3

    def test_inputs_in_a_tuple_get_the_remedy(self):
        class Sum(nn.Linear):
            def forward(self, a, b):
                return super().forward(a + b)

        pairs = [((x, x), y) for x, y in data()]
        with pytest.raises(TypeError, match=r"a tuple of 2.*forward=lambda model, batch"):
            find(Sum(4, 1), loader=pairs)
        find(Sum(4, 1), loader=pairs, forward=lambda model, batch: model(*batch[0]))


def test_a_sparse_tensor_in_a_data_set_is_left_alone():
    loader = ShufflingLoader()
    loader.graph = torch.eye(2000).to_sparse()
    assert not left(find(nn.Linear(4, 1), loader=loader))
