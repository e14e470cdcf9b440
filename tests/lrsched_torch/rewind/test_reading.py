"""Loaders are read anew, and what reads on by itself has ended before anything is restored."""

import gc
import itertools
import multiprocessing

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lrsched_torch import range_test
from tests.lrsched_torch.helpers import (
    data,
    find,
    left,
    sgd,
)
from tests.lrsched_torch.rewind.data_sets import Augmented, Generators, Noise, samples

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")


def endless():
    while True:
        yield torch.ones(4), torch.ones(1)


class Held(IterableDataset):
    def __init__(self, iterator):
        self.iterator = iterator

    def __iter__(self):
        return self.iterator


def test_a_loader_that_holds_an_iterator_is_told_of_and_ends_with_it():
    with pytest.warns(UserWarning, match=r"could not put back: loader\.iterator\."):
        assert len(find(nn.Linear(4, 1), loader=Held(iter(data(15))))) == 15
    curve = find(nn.Linear(4, 1), loader=DataLoader(Held(endless()), batch_size=1))
    note = "loader.dataset.iterator is an iterator: what was read from it is gone."
    assert (len(curve), curve.notes) == (20, (note,))


class Wrapped:
    """Reads another loader, as one that prefetches does."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        yield from self.loader


@pytest.mark.parametrize("wrap", [lambda loader: loader, Wrapped])
def test_workers_that_persist_and_the_epoch_under_way_go_on(wrap):
    def batches(with_test):
        model = nn.Linear(4, 1)
        torch.manual_seed(0)
        inner = DataLoader(samples(), 8, shuffle=True, num_workers=1, persistent_workers=True)
        loader = wrap(inner)
        epoch = iter(loader)
        seen = [next(epoch)[0]]
        workers = inner._iterator._workers
        if with_test:
            assert not left(find(model, loader=loader))
        assert inner._iterator._workers is workers
        return torch.cat([*seen, *(x for x, _ in epoch), *(x for x, _ in loader)])

    assert torch.equal(batches(True), batches(False))


class Endless(DataLoader):
    """Keeps its iterator, so as to begin an epoch without a pause."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.iterator = super().__iter__()

    def __iter__(self):
        return (next(self.iterator) for _ in range(len(self)))


def test_a_data_loader_that_keeps_its_iterator_is_told_of():
    with pytest.warns(UserWarning, match=r"could not put back: loader\.iterator"):
        find(nn.Linear(4, 1), loader=Endless(samples(), batch_size=2))


def test_an_iterator_that_begins_anew_is_no_iterator():
    class Anew:
        def __len__(self):
            return 8

        def __iter__(self):
            self.batches = iter(data())
            return self

        def __next__(self):
            return next(self.batches)

    curve = find(nn.Linear(4, 1), loader=Anew())
    assert len(curve) == 20
    assert (
        "The loader has fewer batches than the test has steps, and was read again." in curve.notes
    )


def test_a_training_loop_that_collates_the_batches_is_restored():
    class Trainer:
        def __init__(self):
            torch.manual_seed(0)
            self.model = nn.Linear(4, 1)
            self.optimizer, self.calls = sgd(self.model), 0
            self.rng, order = np.random.default_rng(0), torch.Generator().manual_seed(0)
            self.rows = Augmented(Noise())
            self.loader = DataLoader(
                self.rows, 8, shuffle=True, generator=order, collate_fn=self.collate
            )

        def collate(self, batch):
            self.calls += 1
            x, y = map(torch.stack, zip(*batch, strict=True))
            return x + self.rng.random(), y

    trainer, untouched = Trainer(), Trainer()
    assert not left(find(trainer.model, trainer.optimizer, loader=trainer.loader, num_steps=10))
    assert trainer.calls == 0
    for (x, _), (other, _) in zip(trainer.loader, untouched.loader, strict=True):
        assert torch.equal(x, other)


def test_no_worker_lives_as_long_as_the_test_object():
    before = {child.pid for child in multiprocessing.active_children()}
    loader = DataLoader(samples(), batch_size=8, num_workers=1, persistent_workers=True)
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        for _ in test.batches(loader):
            test.record(1.0)
    gc.collect()
    assert {child.pid for child in multiprocessing.active_children()} <= before


class Sharing(Dataset):
    """Counts what all workers have read."""

    def __init__(self):
        self.reads = torch.zeros(1).share_memory_()

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        self.reads += 1
        return torch.ones(4), torch.ones(1)


def test_after_an_error_no_worker_goes_on_while_somebody_holds_it():
    before = {child.pid for child in multiprocessing.active_children()}
    data = Sharing()

    def broken(outputs, target):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as held:
        find(nn.Linear(4, 1), criterion=broken, loader=DataLoader(data, 8, num_workers=2))
    assert {child.pid for child in multiprocessing.active_children()} <= before
    assert data.reads.item() == 0
    assert held.value.__traceback__ is not None


def test_the_epoch_of_a_loader_that_keeps_its_generator_is_not_ended():
    class Kept:
        def __init__(self):
            self.batches = ((torch.ones(8, 4), torch.full((8, 1), float(i))) for i in range(40))

        def __iter__(self):
            return self.batches

    loader = Kept()
    find(nn.Linear(4, 1), loader=loader)
    assert len(list(loader)) == 20


def test_an_iterator_in_a_data_set_is_named():
    class Numbered(Generators):
        def __init__(self):
            self.numbers = itertools.count()

        def __getitem__(self, index):
            return torch.full((4,), float(next(self.numbers))), torch.ones(1)

    with pytest.warns(UserWarning, match=r"could not put back: loader\.dataset\.numbers\."):
        find(nn.Linear(4, 1), loader=DataLoader(Numbered(), batch_size=8))
