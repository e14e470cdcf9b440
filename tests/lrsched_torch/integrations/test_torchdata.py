"""StatefulDataLoader of torchdata, whose position in an epoch is a part of the training."""

from functools import lru_cache

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("torchdata", reason="needs torchdata, of requirements-integrations.txt")

from torch.utils.data import TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from lrsched_torch import lr_find, range_test

pytestmark = pytest.mark.filterwarnings("ignore", "ignore:os.fork")
PLACES = {"at the start": (0, None), "between epochs": (1, None), "in an epoch": (1, 2)}


def batches_of_a_run(find_at, listed, workers, state_read):
    """First samples of all batches of three epochs, with a range test in one place, or none."""
    torch.manual_seed(0)
    data = TensorDataset(torch.arange(64.0)[:, None], torch.zeros(64, 1))
    loader = StatefulDataLoader(data, batch_size=8, shuffle=True, num_workers=workers)
    if state_read:
        # Which has it begin the first epoch.
        loader.state_dict()
    seen = []
    for epoch in range(3):
        if find_at == (epoch, None):
            find(loader, listed)
        for index, (x, _) in enumerate(loader):
            seen.append(x[0].item())
            if find_at == (epoch, index):
                find(loader, listed)
    return seen


def find(loader, listed):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mse, stateful = torch.nn.functional.mse_loss, [loader] if listed else []
    curve = lr_find(model, optimizer, mse, loader, num_steps=12, end_lr=1e-6, stateful=stateful)
    assert not any("could not" in note for note in curve.notes)


@lru_cache
def batches_of_a_plain_run(workers, state_read):
    return batches_of_a_run(None, False, workers, state_read)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("listed", "state_read"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("place", PLACES)
def test_the_batches_are_those_of_a_run_without_it(place, listed, workers, state_read):
    with_test = batches_of_a_run(PLACES[place], listed, workers, state_read)
    assert with_test == batches_of_a_plain_run(workers, state_read)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_iterator_that_the_loop_itself_reads_on_is_put_back(workers):
    """Not the batches of the test are read from it, but those of the training."""
    data = TensorDataset(torch.arange(64.0)[:, None])
    loader = StatefulDataLoader(data, batch_size=8, num_workers=workers)
    batches, model = iter(loader), torch.nn.Linear(1, 1)
    next(batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with range_test(model, optimizer, num_steps=10, stateful=[loader]) as test:
        for _ in test.batches([None]):
            if len(test.curve) == 0:
                next(batches, None)
            test.record(1.0)
    assert next(iter(loader))[0][0].item() == 8.0
