"""Traces that a range test once left: what holds state in places of its own."""

import gc
import os
import random
import signal
import sys
import threading
import warnings
import weakref
from collections import UserDict, deque, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.masked import masked_tensor
from torch.testing._internal.two_tensor import TwoTensor

from lrsched_torch import lr_find, range_test

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
    def count(body):
        meter = body.meter
        while isinstance(meter, Nest):
            meter = meter.inside["a"]
        meter.count += 1

    with pytest.warns(UserWarning, match="could not put back: attribute meter"):
        find(Body(count, meter=nest(Slots())))


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


def at_the_start_of(name, act):
    """Act when a function of this name is entered, before it does anything."""

    def watch(frame, event, argument):
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            act()

    sys.setprofile(watch)


def by_hand(model, optimizer, at_the_end):
    with range_test(model, optimizer, num_steps=20) as test:
        for inputs, target in test.batches(data()):
            MSE(model(inputs), target).backward()
            optimizer.step()
            test.record(1.0)
        at_the_end()


def by_call(model, optimizer, at_the_end):
    def criterion(outputs, target):
        if sys.getprofile() is None:
            at_the_end()
        return MSE(outputs, target)

    find(model, optimizer, criterion)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("how", [by_hand, by_call])
@pytest.mark.parametrize("place", ["__exit__", "_put_back", "restore", "close", "remains"])
@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_at_any_place_of_the_end_waits_until_everything_is_back(how, place, first):
    """Nothing is left to do later, when the garbage collector comes by."""

    def arm():
        at_the_start_of(place, interrupt)
        if first:
            interrupt()

    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    before, handler = model.weight.detach().clone(), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            how(model, optimizer, arm)
    finally:
        sys.setprofile(None)
    assert torch.equal(model.weight, before)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert signal.getsignal(signal.SIGINT) is handler
    assert not optimizer._optimizer_step_post_hooks
    with torch.no_grad():
        model.weight.fill_(7.0)
    del caught
    gc.collect()
    assert (model.weight == 7.0).all()


def test_a_range_test_in_a_range_test_and_one_in_a_thread_end_as_ever():
    model = nn.Linear(4, 1)
    optimizer, before = sgd(model), model.weight.detach().clone()
    inner = []

    def in_a_thread():
        inner.append(len(find(nn.Linear(4, 1))))

    def both():
        with range_test(model, optimizer, num_steps=20) as test:
            for number, (inputs, target) in enumerate(test.batches(data())):
                if number == 3:
                    inner.append(len(find(model, optimizer)))
                    thread = threading.Thread(target=in_a_thread)
                    thread.start()
                    thread.join()
                    by_hand(model, optimizer, interrupt)
                MSE(model(inputs), target).backward()
                optimizer.step()
                test.record(1.0)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        both()
    assert inner == [20, 20]
    assert torch.equal(model.weight, before)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_copies_do_not_live_as_long_as_the_test_object():
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        copies = weakref.ref(test._undoing._snapshot)
        for _ in test.batches(data()):
            test.record(1.0)
    assert copies() is None
    assert len(test.curve) == 12


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


class TestUnusualValues:
    @pytest.mark.parametrize(
        "share",
        [
            torch.from_numpy,
            torch.asarray,
            lambda array: torch.frombuffer(array, dtype=torch.float32),
            lambda array: torch.from_dlpack(torch.from_numpy(array)),
        ],
        ids=["from_numpy", "asarray", "frombuffer", "from_dlpack"],
    )
    def test_memory_that_must_not_be_written_to(self, share, tmp_path):
        np.save(tmp_path / "x.npy", np.ones(4, np.float32))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable")
            mapped = share(np.load(tmp_path / "x.npy", mmap_mode="r"))
        model = Body(lambda body: None)
        model.register_buffer("mapped", mapped)
        assert not left(find(model))
        assert model.mapped is mapped

    @pytest.mark.parametrize("of_numpy", [True, False])
    def test_conjugate_tensors(self, of_numpy):
        value = torch.randn(4, dtype=torch.complex64)
        # in memory of another library, what is equal is not written to
        value = (torch.from_numpy(value.numpy()) if of_numpy else value).conj()
        before = value.clone()
        model = Body(lambda body: body.value.mul_(2.0), value=value)
        assert not left(find(model))
        assert torch.equal(value, before)

    @pytest.mark.parametrize("of_numpy", [True, False])
    def test_nan_and_zeros_of_both_signs(self, of_numpy):
        numbers = [float("nan"), -0.0, 0.0]
        value = torch.from_numpy(np.float32(numbers)) if of_numpy else torch.tensor(numbers)
        model = Body(lambda body: body.value.copy_(torch.tensor([0.0, 0.0, -0.0])), value=value)
        assert not left(find(model))
        assert value.isnan().tolist() == [True, False, False]
        assert torch.signbit(value[1:]).tolist() == [True, False]

    def test_memory_that_can_be_resized(self):
        def grow(body):
            body.value.resize_(body.value.numel() + 8).fill_(1.0)

        model = Body(grow, value=torch.zeros(2))
        value, other = model.value, model.linear.weight
        assert not left(find(model))
        assert (model.value is value, value.tolist()) == (True, [0.0, 0.0])
        for tensor in (value, other.data):
            assert tensor.resize_(64).numel() == 64

    def test_tensors_made_of_others(self):
        parts = torch.zeros(4), torch.ones(4)
        model = Body(lambda body: body.value.add_(1.0), value=TwoTensor(*parts))
        assert not left(find(model))
        assert [part.tolist() for part in parts] == [[0.0] * 4, [1.0] * 4]

    @pytest.mark.filterwarnings("ignore:.*prototype")
    def test_tensors_that_nothing_can_be_read_from(self):
        mask = torch.tensor([True, False])
        model = Body(lambda body: None, value=masked_tensor(torch.ones(2), mask))
        with pytest.raises(TypeError, match=r"MaskedTensor cannot be checked .*verify=False"):
            find(model)

    @pytest.mark.filterwarnings("ignore:The range test could not")
    def test_mappings_that_are_no_dicts(self):
        def count(body):
            body.user["steps"] += 1

        model = Body(count, frozen=MappingProxyType({"a": 1}), user=UserDict(steps=0))
        user = model.user
        curve = find(model)
        assert model.user is user
        assert "attribute user" in left(curve)[0]

    def test_a_named_tuple_in_the_optimizer(self):
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        Pair = namedtuple("Pair", "tensor thing")
        optimizer.state[model.weight]["pair"] = Pair(torch.ones(1), Nest(2))
        find(model, optimizer)
        pair = optimizer.state[model.weight]["pair"]
        assert (type(pair), pair.tensor.item(), type(pair.thing)) == (Pair, 1.0, Nest)


def test_a_snapshot_device_without_memory_is_refused():
    model = nn.Linear(4, 1)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match="keeps values, got 'meta'"):
        find(model, snapshot_device="meta")
    assert torch.equal(model.weight, before)


def test_a_loss_with_more_to_it_is_refused():
    model = nn.Linear(4, 1)
    with pytest.raises(TypeError, match="a tensor with one element, got"):
        find(model, criterion=lambda prediction, y: (MSE(prediction, y), 1))


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
