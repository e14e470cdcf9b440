"""What a snapshot holds beyond the state dicts."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from lrsched_torch import OneCycleLR, lr_find
from lrsched_torch.rewind.snapshot import TrainingSnapshot as Snapshot


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
            lr_find(model, optimizer, criterion, batches, num_steps=20, end_lr=1.0)
        lrs.append(optimizer.param_groups[0]["lr"])
        criterion(model(x), y).backward()
        if index % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return lrs


@pytest.mark.parametrize("find_at", [0, 1, 9, 29])
def test_a_range_test_is_no_step_of_a_schedule(find_at):
    assert lrs_of_an_accumulating_run(find_at) == lrs_of_an_accumulating_run()


def test_what_was_born_in_between_is_dropped():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    snapshot = Snapshot(model, optimizer)
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


def test_a_replaced_tensor_is_the_old_object_again():
    model = torch.nn.BatchNorm1d(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mean = model.running_mean
    snapshot = Snapshot(model, optimizer)
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
    snapshot = Snapshot(model, optimizer)
    with torch.no_grad():
        model[0].weight += 1
    snapshot.restore()
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, before)


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
    "sparse": lambda: torch.eye(3).to_sparse(),
    "single": lambda: torch.tensor(5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_however_it_lies_in_memory_is_hashed_and_put_back(kind):
    model = torch.nn.Linear(2, 1)
    value = KINDS[kind]()
    model.register_buffer("value", value)
    before = value.to_dense().tolist()
    snapshot = Snapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert snapshot.differences() == []
    value.zero_()
    assert snapshot.differences() == ["buffer value"]
    snapshot.restore()
    assert snapshot.differences() == []
    assert value.to_dense().tolist() == before


def test_a_layer_under_two_names_is_hashed_and_put_back():
    layer = torch.nn.Linear(2, 2)
    model = torch.nn.ModuleDict({"one": layer, "other": layer})
    snapshot = Snapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model["other"].bias.data += 1
    assert snapshot.differences() == ["parameter one.bias"]
    snapshot.restore()
    assert snapshot.differences() == []


@pytest.mark.parametrize("part", [torch.nn.LazyLinear(2), torch.nn.Linear(2, 2, device="meta")])
def test_a_parameter_without_values_is_named_with_its_path(part):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(part))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"got none in 1\.0\.weight \("):
        Snapshot(model, optimizer)


def test_a_tensor_that_has_become_its_conjugate_in_the_same_memory_is_put_back():
    model = torch.nn.Linear(2, 1)
    model.register_buffer("value", conjugate().resolve_conj())
    before = model.value.tolist()
    snapshot = Snapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.value.data = model.value.data.conj()
    assert snapshot.differences() == ["buffer value"]
    snapshot.restore()
    assert snapshot.differences() == []
    assert model.value.tolist() == before


def quantized(by, scale):
    values = torch.arange(6.0).reshape(2, 3)
    if by == "tensor":
        return torch.quantize_per_tensor(values, scale, 3, torch.qint8)
    scales = torch.tensor([scale, 2 * scale])
    return torch.quantize_per_channel(values, scales, torch.tensor([3, 4]), 0, torch.qint8)


CHANGES = {
    "other integers": lambda value, other: value.copy_(torch.zeros(2, 3)),
    "another scale": lambda value, other: value.copy_(other),
    "another place": lambda value, other: setattr(value, "data", other),
}


@pytest.mark.filterwarnings("ignore:.*are deprecated:UserWarning")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("by", ["tensor", "channel"])
def test_a_quantized_tensor_is_put_back_with_its_scale(by, change):
    model = torch.nn.Linear(2, 1)
    value = quantized(by, 0.1)
    model.register_buffer("value", value)
    before, place = (value.int_repr().tolist(), value.dequantize().tolist()), value.data_ptr()
    snapshot = Snapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert snapshot.differences() == []
    CHANGES[change](value, quantized(by, 0.5))
    assert snapshot.differences() == ["buffer value"]
    snapshot.restore()
    assert snapshot.differences() == []
    assert (value.int_repr().tolist(), value.dequantize().tolist()) == before
    assert model.value is value
    assert value.data_ptr() == place


def test_grad_mode_and_autocast_that_ctrl_c_has_left_on_are_put_back():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    snapshot = Snapshot(model, optimizer)
    torch.set_grad_enabled(False)
    torch.autocast("cpu", torch.float16, cache_enabled=False).__enter__()
    snapshot.restore()
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert torch.is_autocast_cache_enabled()
    assert torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()
    with torch.no_grad():
        Snapshot(model, optimizer).restore()
        assert not torch.is_grad_enabled()


def test_weights_that_are_put_back_are_cast_anew():
    """Autocast keeps the casts of weights as long as its block lasts."""
    model, x = torch.nn.Linear(2, 1), torch.ones(1, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = torch.autocast("cpu", torch.bfloat16)(model)(x)
    with torch.autocast("cpu", torch.bfloat16):
        snapshot = Snapshot(model, optimizer)
        with torch.no_grad():
            model.weight.add_(1.0)
        assert model(x) != before
        snapshot.restore()
        assert model(x) == before


def test_a_container_is_put_back_without_asking_its_class():
    class Ambiguous(list):
        """Refuses to be a condition, as arrays do."""

        def __bool__(self):
            raise ValueError("neither true nor false")

    class Layer(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 1)
            self.seen = Ambiguous()

    model = Layer()
    snapshot = Snapshot(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.seen.append(1)
    snapshot.restore()
    assert len(model.seen) == 0
    assert snapshot.differences() == []
