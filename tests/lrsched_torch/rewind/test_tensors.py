"""Tensors get their values back in place, however they lie in memory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from lrsched_torch import range_test
from lrsched_torch.rewind.snapshot import TrainingSnapshot
from tests.lrsched_torch.helpers import MSE, Body, Run, find, left, nothing, sgd, training_after


def test_tensors_keep_their_identity():
    def seen(run):
        slots = [v for s in run.optimizer.state.values() for v in s.values()]
        return [*run.model.parameters(), *run.model.buffers(), *slots]

    run = Run("adam")
    run.train(1)
    before = seen(run)
    run.find()
    assert all(a is b for a, b in zip(before, seen(run), strict=True))


def test_a_replaced_tensor_is_the_old_object_again():
    model = nn.BatchNorm1d(3)
    mean = model.running_mean
    snapshot = TrainingSnapshot(model, sgd(model))
    model.running_mean = torch.full((3,), 7.0)
    mean += 1
    snapshot.restore()
    assert model.running_mean is mean
    assert mean.tolist() == [0.0, 0.0, 0.0]


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    before = model[0].weight.detach().clone()
    snapshot = TrainingSnapshot(model, sgd(model))
    with torch.no_grad():
        model[0].weight += 1
    snapshot.restore()
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, before)


class OwnParameter(nn.Parameter):
    """A parameter of a class of the user's."""


def test_a_parameter_of_a_class_derived_from_torchs_is_restored():
    model = nn.Linear(2, 1)
    model.weight = weight = OwnParameter(torch.ones(1, 2))
    snapshot = TrainingSnapshot(model, sgd(model))
    with torch.no_grad():
        weight += 1
    snapshot.restore()
    assert snapshot.differences() == []
    assert weight.tolist() == [[1.0, 1.0]]


def test_a_copy_that_fails_ends_the_test_before_anything_has_changed():
    class Full(nn.Parameter):
        def detach(self):
            raise torch.OutOfMemoryError

    model = nn.Linear(4, 1)
    model.weight = Full(torch.ones(1, 4))
    with pytest.raises(torch.OutOfMemoryError):
        find(model)
    assert model.weight.tolist() == [[1.0] * 4]


KINDS = {
    "plain": lambda: torch.arange(6.0),
    "transposed": lambda: torch.arange(6.0).reshape(2, 3).t(),
    "with gaps": lambda: torch.arange(12.0)[::2],
    "of NumPy, with gaps": lambda: torch.from_numpy(np.arange(12.0)[::2]),
    "of 8 bits": lambda: torch.arange(6).to(torch.float8_e4m3fn),
    "expanded": lambda: torch.ones(1).expand(6),
    "conjugate": lambda: torch.complex(torch.arange(6.0), torch.ones(6)).conj(),
    "single": lambda: torch.tensor(5),
    "with NaN": lambda: torch.tensor([float("nan"), -0.0]),
    "made of others": lambda: TwoTensor(torch.zeros(4), torch.ones(4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_gets_its_values_back_however_it_lies_in_memory(kind):
    value = KINDS[kind]()
    model = Body(nothing, value=value)
    before, address = repr(value), value.data_ptr()
    snapshot = TrainingSnapshot(model, sgd(model))
    value.fill_(7)
    assert repr(value) != before
    snapshot.restore()
    assert snapshot.differences() == []
    assert model.value is value
    assert (repr(value), value.data_ptr()) == (before, address)


LAYOUTS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*are deprecated:UserWarning")
def test_a_tensor_that_cannot_be_written_to_in_place_is_named_if_it_has_changed(layout):
    model = Body(nothing, value=LAYOUTS[layout]())
    snapshot = TrainingSnapshot(model, sgd(model))
    snapshot.restore()
    assert snapshot.differences() == []
    model.value.copy_(LAYOUTS[layout]())
    snapshot.restore()
    assert snapshot.differences() == ["model.value"]


@pytest.mark.parametrize("layout", ["sparse", "quantized"])
@pytest.mark.filterwarnings("ignore:.*are deprecated:UserWarning")
def test_a_parameter_that_cannot_be_written_to_in_place_is_refused_before_the_start(layout):
    value, model = LAYOUTS[layout](), nn.Sequential(nn.Linear(4, 1))
    model[0].extra = nn.Parameter(value, requires_grad=False)
    message = rf"written to in place, got {value.layout} of {value.dtype} in 0\.extra \(make it"
    with pytest.raises(ValueError, match=message):
        find(model)
    with pytest.raises(ValueError, match=message), range_test(model, sgd(model)):
        pass


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


def test_copies_on_another_device_are_put_back_too():
    def find(run):
        run.find(snapshot_device="cpu")

    assert training_after(find, "adam") == training_after(lambda run: None, "adam")


class TestGradients:
    def test_those_that_were_there_are_there_again(self):
        run = Run()
        run.criterion(run.model(torch.ones(8, 4)), torch.zeros(8, dtype=torch.long)).backward()
        before = run.everything()
        run.find()
        assert run.everything() == before

    def test_a_sparse_one_too(self):
        model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 1))
        batch = (torch.tensor([[0, 1], [1, 4]]), torch.ones(2, 1))
        MSE(model(batch[0]), batch[1]).backward()
        gradient = model[0].weight.grad
        before = gradient.to_dense()
        assert not left(find(model, loader=[batch]))
        assert model[0].weight.grad is gradient
        assert torch.equal(gradient.to_dense(), before)

    def test_that_of_a_tensor_that_is_no_parameter_too(self):
        model = Body(nothing, scale=torch.zeros(1, requires_grad=True))
        model.forward = lambda x: model.linear(x) * model.scale.exp()
        assert not left(find(model))
        assert model.scale.grad is None
