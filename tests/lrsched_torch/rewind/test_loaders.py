"""Loaders: what decides their batches is restored, and what reads ahead has ended before."""

import gc
import itertools
import multiprocessing
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lrsched_torch import range_test
from tests.lrsched_torch.helpers import data, find, left, sgd

# Workers are forked, which JAX warns of where other tests have imported it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork")


def samples():
    return TensorDataset(torch.randn(64, 4), torch.randn(64, 1))


def stacked(samples):
    return tuple(map(torch.stack, zip(*samples, strict=True)))


class ShufflingSampler:
    def __init__(self):
        self.order, self.rng = list(range(64)), random.Random(0)

    def __iter__(self):
        self.rng.shuffle(self.order)
        return iter(list(self.order))

    def __len__(self):
        return 64


class ShufflingDataset(IterableDataset):
    def __init__(self):
        self.order, self.x = np.arange(64), torch.randn(64, 4)

    def __iter__(self):
        np.random.shuffle(self.order)
        for index in self.order:
            yield self.x[index], torch.ones(1)


class Augmented(Dataset):
    def __init__(self, *transforms):
        self.transforms, self.x = list(transforms), torch.randn(64, 4)

    def __len__(self):
        return 64

    def __getitem__(self, index):
        x = self.x[index]
        for transform in self.transforms:
            x = transform(x)
        return x, torch.ones(1)


class Noise:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return x + float(self.rng.random())

    def collate(self, samples):
        x, y = stacked(samples)
        return self(x), y


class NoiseLayer(nn.Module):
    """A transform that is a module, and draws."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + torch.rand(4, generator=self.generator)


GENERATOR = torch.Generator()
NOISE = Noise()


class OfTheModule(Dataset):
    """Draws from what the module around it has, as a script or notebook does."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return NOISE(torch.rand(4, generator=GENERATOR)), torch.zeros(1)


def of_the_module():
    GENERATOR.manual_seed(0)
    vars(NOISE).update(vars(Noise()))
    return DataLoader(OfTheModule(), batch_size=8)


LOADERS = {
    "sampler": lambda: DataLoader(samples(), 8, sampler=ShufflingSampler()),
    "worker": lambda: DataLoader(samples(), 8, sampler=ShufflingSampler(), num_workers=1),
    "iterable data set": lambda: DataLoader(ShufflingDataset(), 8),
    "transforms": lambda: DataLoader(Augmented(Noise(), Noise()), 8),
    "module": lambda: DataLoader(Augmented(nn.Sequential(NoiseLayer())), 8),
    "method": lambda: DataLoader(samples(), 8, collate_fn=Noise().collate),
    "globals": of_the_module,
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


class Seen(Dataset):
    """Notes in its samples that they were read."""

    def __init__(self, count):
        self.items = [{"x": torch.full((4,), float(index)), "seen": 0} for index in range(count)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.items[index]["seen"] += 1
        return self.items[index]["x"], torch.ones(1)


def test_samples_of_a_small_data_set_are_put_back():
    seen = Seen(200)
    assert not left(find(nn.Linear(4, 1), loader=DataLoader(seen, batch_size=8)))
    assert not any(item["seen"] for item in seen.items)


def test_batches_that_the_model_changes_in_place_are_restored():
    batches = data()
    before = [x.clone() for x, _ in batches]
    assert not left(find(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1)), loader=batches))
    assert all(torch.equal(x, old) for (x, _), old in zip(batches, before, strict=True))


class Trainer:
    """Is part of what its loader leads to, by `collate`."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(4, 1)
        self.optimizer, self.losses, self.rng = sgd(self.model), [], np.random.default_rng(0)
        order = torch.Generator().manual_seed(0)
        self.loader = DataLoader(
            Augmented(Noise()), 8, shuffle=True, generator=order, collate_fn=self.collate
        )

    def collate(self, samples):
        x, y = stacked(samples)
        return x + self.rng.random(), y

    def find(self):
        with range_test(self.model, self.optimizer, num_steps=12) as test:
            for x, y in test.batches(self.loader):
                loss = (self.model(x) - y).square().mean()
                self.losses.append(loss.item())
                self.optimizer.step()
                test.record(loss)
        return test.curve


def test_a_training_loop_whose_method_reads_the_batches_is_restored():
    trainer, untouched = Trainer(), Trainer()
    assert not left(trainer.find())
    assert trainer.losses == []
    for (x, _), (other, _) in zip(trainer.loader, untouched.loader, strict=True):
        assert torch.equal(x, other)


class Held(IterableDataset):
    """Reads on where its iterator is."""

    def __init__(self, iterator):
        self.iterator = iterator

    def __iter__(self):
        return self.iterator


class KeepingItsEpoch(DataLoader):
    """Keeps its iterator, so as to begin an epoch without a pause."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.iterator = super().__iter__()

    def __iter__(self):
        return (next(self.iterator) for _ in range(len(self)))


class Numbered(Augmented):
    def __init__(self):
        super().__init__()
        self.numbers = itertools.count()

    def __getitem__(self, index):
        return torch.full((4,), float(next(self.numbers))), torch.ones(1)


ITERATORS = {
    "loader.iterator": lambda: Held(iter(data(15))),
    "loader.iterator of a DataLoader": lambda: KeepingItsEpoch(samples(), batch_size=2),
    "loader.dataset.numbers": lambda: DataLoader(Numbered(), batch_size=8),
}


@pytest.mark.parametrize("path", ITERATORS)
def test_an_iterator_that_was_read_is_named(path):
    with pytest.warns(UserWarning, match=rf"could not put back: {path.split()[0]}"):
        find(nn.Linear(4, 1), loader=ITERATORS[path]())


def test_a_generator_is_noted_since_it_does_not_tell_and_can_be_read_on():
    loader = Held((torch.ones(8, 4), torch.full((8, 1), float(i))) for i in range(40))
    curve = find(nn.Linear(4, 1), loader=loader)
    assert curve.notes == ("loader.iterator is an iterator: what was read from it is gone.",)
    assert len(list(loader)) == 20


def test_a_loader_ends_with_the_iterator_that_it_holds():
    with pytest.warns(UserWarning, match="could not put back"):
        assert len(find(nn.Linear(4, 1), loader=Held(iter(data(15))))) == 15


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
    assert not any("is gone" in note for note in curve.notes)


def test_workers_that_persist_and_the_epoch_under_way_go_on():
    def batches(with_test):
        model = nn.Linear(4, 1)
        torch.manual_seed(0)
        loader = DataLoader(samples(), 8, shuffle=True, num_workers=1, persistent_workers=True)
        epoch = iter(loader)
        seen = [next(epoch)[0]]
        workers = loader._iterator._workers
        if with_test:
            assert not left(find(model, loader=loader))
        assert loader._iterator._workers is workers
        return torch.cat([*seen, *(x for x, _ in epoch), *(x for x, _ in loader)])

    assert torch.equal(batches(True), batches(False))


def workers():
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.filterwarnings("ignore:The optimizer of the range test made no update")
def test_no_worker_lives_as_long_as_the_test_object():
    before = workers()
    loader = DataLoader(samples(), batch_size=8, num_workers=1, persistent_workers=True)
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        for _ in test.batches(loader):
            test.record(1.0)
    gc.collect()
    assert workers() <= before


def test_after_an_error_no_worker_goes_on_while_somebody_holds_it():
    def broken(outputs, target):
        raise ZeroDivisionError

    before = workers()
    with pytest.raises(ZeroDivisionError) as held:
        find(nn.Linear(4, 1), criterion=broken, loader=DataLoader(samples(), 8, num_workers=2))
    assert workers() <= before
    assert held.value.__traceback__ is not None
