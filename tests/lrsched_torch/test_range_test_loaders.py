"""What a loader, and all that it is made of, keeps between its batches is put back."""

import dataclasses
import functools
import gc
import io
import itertools
import multiprocessing
import random
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, StackDataset, TensorDataset

from lrsched_torch import range_test
from tests.lrsched_torch.test_range_test_traces import data, find, left, sgd

pytestmark = pytest.mark.filterwarnings("ignore:os.fork")


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

    def method(self, samples):
        return self(samples)


def collate_with(samples, noise):
    x, y = map(torch.stack, zip(*samples, strict=True))
    return x + noise[0].random(), y


def collate_stacked(samples):
    return (
        torch.stack([sample["x"][0] for sample in samples]),
        torch.stack([sample["y"] for sample in samples]),
    )


class Buckets:
    """Shuffles lists in a dict in place."""

    def __init__(self):
        self.buckets = {length: list(range(length, 64, 2)) for length in (0, 1)}

    def __iter__(self):
        for bucket in self.buckets.values():
            random.shuffle(bucket)
            yield from (bucket[start : start + 8] for start in range(0, 32, 8))

    def __len__(self):
        return 8


class Epochs(ShufflingSampler):
    """Keeps its state in tuples."""

    def __init__(self):
        self.order, self.epoch = tuple(range(64)), (0,)

    def __iter__(self):
        rng = random.Random(self.epoch[0])
        self.order = tuple(rng.sample(self.order, 64))
        self.epoch = (self.epoch[0] + 1,)
        return iter(self.order)


class Generators(Dataset):
    def __init__(self):
        self.rngs = [random.Random(0), random.Random(1)]

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.full((4,), self.rngs[index % 2].random()), torch.ones(1)


class Subclass(Generators):
    """Keeps what it takes its samples from under a name of its own."""

    def __init__(self):
        self.wrapped = Augmented(Noise())

    def __getitem__(self, index):
        return self.wrapped[index]


class Lazy(Generators):
    """Opens a file at its first sample."""

    def __init__(self):
        self.file = None

    def __getitem__(self, index):
        if self.file is None:
            self.file, self.index = io.BytesIO(b""), list(range(64))
        return torch.full((4,), float(self.index[index])), torch.ones(1)


class Layer(nn.Module):
    """A transform that is a module, and draws."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + torch.rand(4, generator=self.generator)


class TwoStreams:
    def __init__(self):
        options = {"batch_size": 8, "shuffle": True}
        self.labelled = DataLoader(samples(), **options, generator=torch.Generator())
        self.unlabelled = DataLoader(samples(), **options, generator=torch.Generator())

    def __iter__(self):
        for (x, y), (more, _) in zip(self.labelled, self.unlabelled, strict=True):
            yield x + more, y


class Spawning:
    """Has a generator of its own for each epoch, and counts them there."""

    def __init__(self):
        self.rng, self.batches = np.random.default_rng(0), data()

    def __iter__(self):
        (rng,) = self.rng.spawn(1)
        return iter([self.batches[index] for index in rng.permutation(len(self.batches))])


@dataclasses.dataclass(slots=True)
class SlottedSampler:
    epoch: int = 0

    def __iter__(self):
        self.epoch += 1
        return iter(random.Random(self.epoch).sample(range(64), 64))

    def __len__(self):
        return 64


class SharedEpoch(SlottedSampler):
    """As data sets tell the epoch to workers that persist."""

    def __init__(self):
        self.shared = multiprocessing.Value("i", 0)

    def __iter__(self):
        self.shared.value += 1
        return iter(random.Random(self.shared.value).sample(range(64), 64))


class Drawn:
    """Draws with a method that it was given."""

    def __init__(self, random):
        self.random = random


def closed_over(rng):
    def collate(samples):
        return collate_with(samples, noise=[rng])

    return collate


def by_default(rng):
    def collate(samples, *, noise=(rng,)):
        return collate_with(samples, noise)

    return collate


RNG = np.random.default_rng(0)
TORCH_RNG = torch.Generator()
GLOBAL_NOISE = Noise()


def noise():
    return torch.randn(1, generator=TORCH_RNG)


class OfTheModule(Dataset):
    """Draws from what the module around it has, as a script or notebook does."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        x = torch.ones(4) * float(RNG.random()) + noise()
        return GLOBAL_NOISE(x), torch.zeros(1)


def of_the_module():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    TORCH_RNG.manual_seed(0)
    vars(GLOBAL_NOISE).update(vars(Noise()))
    return DataLoader(OfTheModule(), batch_size=8)


def samples():
    return TensorDataset(torch.randn(64, 4), torch.randn(64, 1))


LOADERS = {
    "sampler": lambda: DataLoader(samples(), batch_size=8, sampler=ShufflingSampler()),
    "loader": ShufflingLoader,
    "iterable data set": lambda: DataLoader(ShufflingDataset(), batch_size=8),
    "transform": lambda: DataLoader(Augmented(Noise()), batch_size=8),
    "several transforms": lambda: DataLoader(Augmented(Compose(Noise(), Noise())), batch_size=8),
    "collate_fn": lambda: DataLoader(samples(), batch_size=8, collate_fn=Collate()),
    "method": lambda: DataLoader(samples(), batch_size=8, collate_fn=Collate().method),
    "partial": lambda: DataLoader(
        samples(),
        batch_size=8,
        collate_fn=functools.partial(collate_with, noise=[random.Random(0)]),
    ),
    "buckets": lambda: DataLoader(samples(), batch_sampler=Buckets()),
    "tuples": lambda: DataLoader(samples(), batch_size=8, sampler=Epochs()),
    "generators in a list": lambda: DataLoader(Generators(), batch_size=8),
    "another name": lambda: DataLoader(Subclass(), batch_size=8),
    "stacked": lambda: DataLoader(
        StackDataset(x=Generators(), y=torch.ones(64, 1)), 8, collate_fn=collate_stacked
    ),
    "file": lambda: DataLoader(Lazy(), batch_size=8),
    "module": lambda: DataLoader(Augmented(nn.Sequential(Layer())), batch_size=8),
    "two streams": TwoStreams,
    "globals": of_the_module,
    "spawning": Spawning,
    "slots": lambda: DataLoader(samples(), batch_size=8, sampler=SlottedSampler()),
    "shared memory": lambda: DataLoader(samples(), batch_size=8, sampler=SharedEpoch()),
    "closure": lambda: DataLoader(
        samples(), batch_size=8, collate_fn=closed_over(random.Random(0))
    ),
    "default": lambda: DataLoader(samples(), batch_size=8, collate_fn=by_default(random.Random(0))),
    "method of a generator": lambda: DataLoader(
        samples(), batch_size=8, collate_fn=closed_over(Drawn(np.random.default_rng(0).random))
    ),
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


def test_a_data_loader_that_keeps_its_iterator_is_noted():
    curve = find(nn.Linear(4, 1), loader=Endless(samples(), batch_size=2))
    assert curve.notes == (HOLDS,)


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


def test_what_the_loop_itself_notes_stays():
    class Trainer:
        def __init__(self):
            self.model = nn.Linear(4, 1)
            self.optimizer, self.losses = sgd(self.model), []
            self.loader = DataLoader(samples(), 8, collate_fn=self.collate)

        def collate(self, batch):
            return tuple(map(torch.stack, zip(*batch, strict=True)))

        def run(self):
            with range_test(self.model, self.optimizer, num_steps=12) as test:
                for x, y in test.batches(self.loader):
                    loss = (self.model(x) - y).square().mean()
                    self.losses.append(loss.item())
                    test.record(loss)

    trainer = Trainer()
    trainer.run()
    assert len(trainer.losses) == 12


@pytest.mark.parametrize("kind", ["generator", "collate_fn"])
def test_what_decides_the_batches_in_a_training_loop_is_put_back(kind):
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

        def batches(self):
            yield from self.loader

    trainer, untouched = Trainer(), Trainer()
    loader = trainer.loader if kind == "collate_fn" else trainer.batches()
    assert not left(find(trainer.model, trainer.optimizer, loader=loader, num_steps=10))
    assert trainer.calls
    for (x, _), (other, _) in zip(trainer.loader, untouched.loader, strict=True):
        assert torch.equal(x, other)


def test_there_may_be_too_many_parts():
    loader = ShufflingLoader()
    loader.parts = [[Noise() for _ in range(1000)] for _ in range(11)]
    assert (
        "Too large to be put back and checked whole: loader."
        in find(nn.Linear(4, 1), loader=loader).notes
    )


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


def test_a_sparse_tensor_in_a_data_set_is_left_alone():
    loader = ShufflingLoader()
    loader.graph = torch.eye(2000).to_sparse()
    assert not left(find(nn.Linear(4, 1), loader=loader))


READERS = {
    "zip": lambda loader: zip(loader, strict=True),
    "map": functools.partial(map, tuple),
    "chain": lambda loader: itertools.chain(loader, loader),
    "islice": lambda loader: itertools.islice(loader, 100),
    "generator": lambda loader: (batch for batch in loader),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="itertools do not tell what they read")
def test_what_an_iterator_reads_from_draws_as_before(kind):
    loader = DataLoader(samples(), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    stream = READERS[kind](loader)
    # zip() and others have begun an epoch already
    before = loader.generator.get_state()
    model = nn.Linear(4, 1)
    with range_test(model, sgd(model), num_steps=12) as test:
        for _ in test.batches(stream):
            test.record(1.0)
    assert torch.equal(loader.generator.get_state(), before)
    assert "The loader is an iterator: the batches that were read are gone from it." in (
        test.curve.notes
    )


class Seen(Generators):
    """Notes in its samples that they were read."""

    def __init__(self, count):
        self.items = [{"x": torch.full((4,), float(index)), "seen": 0} for index in range(count)]

    def __getitem__(self, index):
        self.items[index]["seen"] += 1
        return self.items[index]["x"], torch.ones(1)


def test_samples_of_a_small_data_set_are_put_back():
    seen = Seen(200)
    assert not left(find(nn.Linear(4, 1), loader=DataLoader(seen, batch_size=8)))
    assert not any(item["seen"] for item in seen.items)


@pytest.mark.filterwarnings("ignore:The range test could not")
def test_samples_of_a_large_data_set_that_change_are_named():
    curve = find(nn.Linear(4, 1), loader=DataLoader(Seen(2000), batch_size=8))
    where = "attribute items of the Seen in loader"
    assert left(curve) == [f"The range test could not put back: {where}."]
    assert f"Too large to be put back and checked whole: {where}." in curve.notes


class Paths(Generators):
    """Long, but nothing in it can change."""

    def __init__(self):
        self.items = [(f"{index}.png", index % 3) for index in range(2000)]

    def __getitem__(self, index):
        self.items.reverse()
        return torch.full((4,), float(self.items[index][1])), torch.ones(1)


def test_a_long_list_of_plain_tuples_is_put_back_whole():
    paths = Paths()
    first = paths.items[0]
    assert find(nn.Linear(4, 1), loader=DataLoader(paths, batch_size=2)).notes == ()
    assert paths.items[0] is first


class Volumes(Generators):
    """Each could be kept, but not all together."""

    def __init__(self, changing):
        self.volumes = [Volume() for _ in range(7)]
        self.changing = changing

    def __getitem__(self, index):
        if self.changing:
            self.volumes[index % 7].values += 1
        return torch.ones(4), torch.ones(1)


class Volume:
    def __init__(self):
        self.values = torch.zeros(2**20 - 100)


def test_parts_of_a_loader_share_what_may_be_kept():
    parts = Parts(DataLoader(Volumes(changing=False), batch_size=8), "loader")
    volumes = parts._parts[-7:]
    for volume in volumes:
        volume.values += 1
    parts.restore()
    assert sum(int(volume.values[0] == 0) for volume in volumes) == 4
    with pytest.warns(UserWarning, match="attribute values of the Volume in loader"):
        find(nn.Linear(4, 1), loader=DataLoader(Volumes(changing=True), batch_size=8))


@pytest.mark.filterwarnings("ignore:The range test could not")
def test_batches_that_the_model_changes_in_place_are_named():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1))
    assert left(find(model)) == ["The range test could not put back: batches in loader."]


def test_an_iterator_in_a_data_set_is_noted():
    class Numbered(Generators):
        def __init__(self):
            self.numbers = itertools.count()

        def __getitem__(self, index):
            return torch.full((4,), float(next(self.numbers))), torch.ones(1)

    assert HOLDS in find(nn.Linear(4, 1), loader=DataLoader(Numbered(), batch_size=8)).notes


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_in_a_data_set_is_no_obstacle():
    loader = ShufflingLoader()
    loader.nested = torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)])
    assert not left(find(nn.Linear(4, 1), loader=loader))
