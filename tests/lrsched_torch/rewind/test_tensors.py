"""Tensors get their values back in place, however they lie in memory."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.masked import masked_tensor
from torch.testing._internal.two_tensor import TwoTensor

from lrsched_torch import range_test
from lrsched_torch.rewind.snapshot import TrainingSnapshot
from tests.lrsched_torch.helpers import (
    MSE,
    Body,
    Net,
    Run,
    find,
    left,
    nothing,
    sgd,
    training_after,
)


def test_a_replaced_tensor_is_the_old_object_again():
    model = torch.nn.BatchNorm1d(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mean = model.running_mean
    snapshot = TrainingSnapshot(model, optimizer)
    model.running_mean = torch.full((3,), 7.0)
    mean += 1
    snapshot.restore()
    assert model.running_mean is mean
    assert mean.tolist() == [0.0, 0.0, 0.0]


def test_tied_weights_stay_tied():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model[0].weight.detach().clone()
    snapshot = TrainingSnapshot(model, optimizer)
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


def conjugate():
    return torch.complex(torch.arange(6.0), torch.ones(6)).conj()


KINDS = {
    "plain": lambda: torch.arange(6.0),
    "transposed": lambda: torch.arange(6.0).reshape(2, 3).t(),
    "with gaps": lambda: torch.arange(12.0)[::2],
    "of 8 bits": lambda: torch.arange(6).to(torch.float8_e4m3fn),
    "expanded": lambda: torch.ones(1).expand(6),
    "conjugate": conjugate,
    "negative": lambda: conjugate().imag,
    "single": lambda: torch.tensor(5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_gets_its_values_back_however_it_lies_in_memory(kind):
    model = torch.nn.Linear(2, 1)
    value = KINDS[kind]()
    model.register_buffer("value", value)
    before = value.to_dense().tolist()
    snapshot = TrainingSnapshot(model, sgd(model))
    value.zero_()
    snapshot.restore()
    assert snapshot.differences() == []
    assert value.to_dense().tolist() == before


def test_a_tensor_that_has_become_its_conjugate_in_the_same_memory_is_put_back():
    model = torch.nn.Linear(2, 1)
    model.register_buffer("value", conjugate().resolve_conj())
    before = model.value.tolist()
    snapshot = TrainingSnapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.value.data = model.value.data.conj()
    snapshot.restore()
    assert snapshot.differences() == []
    assert model.value.tolist() == before


LAYOUTS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)]),
    "of another library": lambda: torch.ones(3).to_mkldnn(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*are deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR|The PyTorch API of nested")
def test_a_tensor_that_cannot_be_written_to_in_place_is_named_if_it_has_changed(layout):
    model = Body(nothing, value=LAYOUTS[layout]())
    snapshot = TrainingSnapshot(model, sgd(model))
    snapshot.restore()
    assert snapshot.differences() == []
    model.value.copy_(LAYOUTS[layout]())
    snapshot.restore()
    assert snapshot.differences() == ["model.value"]


@pytest.mark.parametrize("layout", ["sparse", "compressed", "quantized"])
@pytest.mark.filterwarnings("ignore:.*are deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR")
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


def test_expanded_buffers_are_put_back():
    model = Net()
    model.register_buffer("wide", torch.zeros(1).expand(5), persistent=False)
    snapshot = TrainingSnapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.wide.untyped_storage().fill_(1)
    assert model.wide[3] != 0
    snapshot.restore()
    assert model.wide.tolist() == [0.0] * 5


def test_copies_on_another_device_are_put_back_too():
    def find(run):
        run.find(snapshot_device="cpu")

    assert training_after(find, "adam") == training_after(lambda run: None, "adam")


def test_tensors_keep_their_identity():
    run = Run("adam")
    run.train(1)
    before = [*run.model.parameters(), *run.model.buffers()]
    slots = [v for s in run.optimizer.state.values() for v in s.values()]
    run.find()
    assert all(
        a is b for a, b in zip(before, [*run.model.parameters(), *run.model.buffers()], strict=True)
    )
    after = [v for s in run.optimizer.state.values() for v in s.values()]
    assert all(a is b for a, b in zip(slots, after, strict=True))


def test_gradients_that_were_there_are_there_again():
    run = Run()
    run.criterion(run.model(torch.ones(8, 4)), torch.zeros(8, dtype=torch.long)).backward()
    before = run.everything()
    run.find()
    assert run.everything() == before


class TestUnusualTensors:
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
        assert not left(find(model))

    def test_a_sparse_gradient(self):
        model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 1))
        batch = (torch.tensor([[0, 1], [1, 4]]), torch.ones(2, 1))
        MSE(model(batch[0]), batch[1]).backward()
        gradient = model[0].weight.grad
        before = gradient.to_dense()
        assert not left(find(model, loader=[batch]))
        assert model[0].weight.grad is gradient
        assert torch.equal(gradient.to_dense(), before)

    def test_the_gradient_of_a_tensor_that_is_no_parameter_is_put_back(self):
        model = Body(nothing, scale=torch.zeros(1, requires_grad=True))
        model.forward = lambda x: model.linear(x) * model.scale.exp()
        assert not left(find(model))
        assert model.scale.grad is None

    def test_a_tensor_without_values_is_left_alone(self):
        assert not left(find(Body(nothing, value=torch.ones(3, device="meta"))))
