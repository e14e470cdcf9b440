"""What a snapshot holds beyond the state dicts."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from lrsched_torch import OneCycleLR, lr_find
from lrsched_torch.snapshot import Snapshot


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
