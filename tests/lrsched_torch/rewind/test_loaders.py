"""What decides the batches of a loader is restored."""

import dataclasses
import functools
import io
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, StackDataset

from tests.lrsched_torch.helpers import (
    data,
    find,
    left,
)
from tests.lrsched_torch.rewind.data_sets import Augmented, Generators, Noise, samples

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


@dataclasses.dataclass(slots=True)
class SlottedSampler:
    epoch: int = 0

    def __iter__(self):
        self.epoch += 1
        return iter(random.Random(self.epoch).sample(range(64), 64))

    def __len__(self):
        return 64


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
    "slots": lambda: DataLoader(samples(), batch_size=8, sampler=SlottedSampler()),
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


def test_batches_that_the_model_changes_in_place_are_restored():
    batches = data()
    before = [x.clone() for x, _ in batches]
    assert not left(find(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1)), loader=batches))
    assert all(torch.equal(x, old) for (x, _), old in zip(batches, before, strict=True))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_in_a_data_set_is_no_obstacle():
    loader = ShufflingLoader()
    loader.nested = torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)])
    assert not left(find(nn.Linear(4, 1), loader=loader))


def test_a_sparse_tensor_in_a_data_set_is_left_alone():
    loader = ShufflingLoader()
    loader.graph = torch.eye(2000).to_sparse()
    assert not left(find(nn.Linear(4, 1), loader=loader))
