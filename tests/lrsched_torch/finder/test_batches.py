"""What the range test of PyTorch can read: any batch, from any loader, which is left as it was."""

import dataclasses
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lrsched_torch import lr_find, range_test
from lrsched_torch.finder.objective import mover

# Workers are forked, which JAX warns of where other tests have imported it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork")

SETTINGS = {"num_steps": 30, "start_lr": 1e-4, "end_lr": 0.1, "stop_factor": None}
LOSS = nn.functional.cross_entropy


def pairs(count=12):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 8, 4, generator=generator)
    return [(a, (a.sum(1) > 0).long()) for a in x]


def curve_of(loader, net=None, criterion=LOSS, **options):
    torch.manual_seed(0)
    body = nn.Linear(4, 2)
    model = body if net is None else net(body)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return lr_find(model, optimizer, criterion, loader, **SETTINGS, **options)


def curve_in_block(loader):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with range_test(model, optimizer, **SETTINGS) as test:
        for x, y in test.batches(loader):
            loss = LOSS(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            test.record(loss)
    return test.curve


class Halves(nn.Module):
    """Takes its input in two parts."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, left, right):
        return self.body(torch.cat([left, right], 1))


class WithLoss(nn.Module):
    """Computes its loss itself, as models for language do."""

    def __init__(self, body, wrap=lambda loss: loss):
        super().__init__()
        self.body, self.wrap = body, wrap

    def forward(self, x, labels):
        return self.wrap(LOSS(self.body(x), labels))


class Graph:
    """A batch that moves itself, and holds its target."""

    def __init__(self, x, y):
        self.x, self.y, self.moved_to = x, y, []

    def to(self, device):
        self.moved_to.append(device)
        return self


class OnGraphs(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, graph):
        return self.body(graph.x)


Named = namedtuple("Named", ["x", "y"])
FORMS = {
    "list": (lambda x, y: [x, y], {}),
    "named tuple": (Named, {}),
    "several inputs": (lambda x, y: (x[:, :2], x[:, 2:], y), {"net": Halves}),
    "dict of one input": (lambda x, y: {"image": x, "label": y}, {}),
    "dict by name": (lambda x, y: {"right": x[:, 2:], "left": x[:, :2], "y": y}, {"net": Halves}),
    "object": (Graph, {"net": OnGraphs}),
    "loss of the model": (lambda x, y: (x, y), {"net": WithLoss, "criterion": None}),
    "loss in a dict": (
        lambda x, y: {"x": x, "labels": y},
        {"net": lambda body: WithLoss(body, lambda loss: {"loss": loss}), "criterion": None},
    ),
    "loss in an object": (
        lambda x, y: {"x": x, "labels": y},
        {"net": lambda body: WithLoss(body, lambda v: SimpleNamespace(loss=v)), "criterion": None},
    ),
    "forward hook": (
        lambda x, y: {"a": {"b": x}, "labels": y},
        {"forward": lambda model, batch: model(batch["a"]["b"])},
    ),
    "loss hook": (
        lambda x, y: (x, [y]),
        {"criterion": None, "loss": lambda outputs, batch: LOSS(outputs, batch[1][0])},
    ),
    "both hooks": (
        lambda x, y: f"{x.numpy().tobytes().hex()} {y.numpy().tobytes().hex()}",
        {
            "criterion": None,
            "forward": lambda model, text: model(decoded(text, 0, np.float32).reshape(8, 4)),
            "loss": lambda outputs, text: LOSS(outputs, decoded(text, 1, np.int64)),
        },
    ),
}


def decoded(text, part, dtype):
    return torch.from_numpy(np.frombuffer(bytes.fromhex(text.split()[part]), dtype).copy())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_batch_gives_the_curve_of_pairs(form):
    make, options = FORMS[form]
    plain = curve_of(pairs())
    assert curve_of([make(x, y) for x, y in pairs()], **options) == plain
    assert plain.loss[-1] < plain.loss[0]


def test_a_batch_is_moved_whatever_holds_its_tensors():
    x = torch.ones(2)
    graph = Graph(x, x)
    batch = {"a": [x, (x, Named(x, 3))], "g": graph, "text": "as it is"}
    moved = mover(torch.device("meta"))(batch)
    assert moved["a"][0].is_meta
    assert moved["a"][1][0].is_meta
    assert moved["a"][1][1] == Named(moved["a"][1][1].x, 3)
    assert moved["a"][1][1].x.is_meta
    assert graph.moved_to == [torch.device("meta")]
    assert moved["g"] is graph
    assert moved["text"] == "as it is"
    assert not x.is_meta


class Stream(IterableDataset):
    """An iterable data set that draws its order from a generator of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def __iter__(self):
        rows = pairs()
        return (rows[i] for i in self.rng.permutation(len(rows)))


def test_loaders_of_every_kind_are_read():
    plain = curve_of(pairs(40))
    assert plain.notes == ()
    note = "The loader is an iterator: the batches that were read are gone from it."
    assert curve_of(iter(pairs(40))) == dataclasses.replace(plain, notes=(note,))
    assert curve_of(DataLoader(pairs(40), batch_size=None)) == plain
    with_workers = DataLoader(pairs(40), batch_size=None, num_workers=2)
    assert curve_of(with_workers) == plain
    assert len(curve_of(DataLoader(Stream(), batch_size=None))) == 30


@pytest.mark.parametrize(("count", "said"), [(12, False), (3, False), (2, True)])
def test_a_loader_that_is_too_short_is_read_again_and_the_curve_says_when_it_matters(count, said):
    short = curve_of(pairs(count))
    assert short.loss.tolist() == curve_of((pairs(count) * 30)[:30]).loss.tolist()
    assert len(short.notes) == said
    if said:
        assert short.notes[0].startswith("The data was read 15 times (number of batches: 2), so")
        assert short.notes[0] in str(short)


def test_a_generator_that_ends_ends_the_test():
    curve = curve_of(iter(pairs(25)))
    assert len(curve) == 25
    assert curve.stop_reason == "the loader ended"
    assert "gone from it" in curve.notes[0]


class WithLength:
    """An iterator that knows its length."""

    def __init__(self, batches):
        self.batches, self.position = batches, 0

    def __len__(self):
        return len(self.batches)

    def __next__(self):
        self.position += 1
        if self.position > len(self.batches):
            raise StopIteration
        return self.batches[self.position - 1]

    def __iter__(self):
        return self


class Rewinding(WithLength):
    def __iter__(self):
        self.position = 0
        return self


@pytest.mark.parametrize("count", [25, 40])
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize(
    "make", [lambda pairs: iter(DataLoader(pairs, batch_size=None)), WithLength]
)
def test_of_an_iterator_that_knows_its_length_the_batches_are_gone_too(make, block, count):
    loader = make(pairs(count))
    curve = curve_in_block(loader) if block else curve_of(loader)
    assert len(curve) == min(count, 30)
    assert curve.notes == (
        "The loader is an iterator: the batches that were read are gone from it.",
    )


def test_one_that_begins_anew_has_lost_none():
    assert curve_of(Rewinding(pairs(40))) == curve_of(pairs(40))
    assert curve_of(Rewinding(pairs(12))) == curve_of(pairs(12))


class Numbered:
    """A loader that gives its batches by number, and has no `__iter__`."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


def test_a_loader_that_is_read_by_number_is_one():
    assert curve_of(Numbered(pairs(12))).loss.tolist() == curve_of(pairs(12)).loss.tolist()


@pytest.mark.parametrize(
    ("batches", "points", "kept"), [(75, 30, 2), (60, 30, 2), (45, 30, 1), (25, 25, 1)]
)
def test_a_sweep_that_the_end_of_the_loader_cuts_short_does_not_shorten_the_others(
    batches, points, kept
):
    """Without a whole one, what there is counts."""
    curve = curve_of(iter(pairs(batches)), repeats=3)
    assert curve.stop_reason == ("finished" if points == 30 else "the loader ended")
    assert f"The loader ended before all sweeps had: {kept} of 3 are in the curve." in curve.notes
    one, two = (curve_of(pairs(75)[i : i + 30]).loss[:points] for i in (0, 30))
    expected = one if kept == 1 else (one + two) / 2
    np.testing.assert_allclose(curve.loss, expected, rtol=1e-12)
