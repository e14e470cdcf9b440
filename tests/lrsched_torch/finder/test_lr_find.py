"""A range test in one call: what it records, and what it refuses."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.swa_utils import AveragedModel

import lrsched
from lrsched_torch import range_test
from tests.lrsched_torch.helpers import (
    MSE,
    OPTIMIZERS,
    Net,
    Run,
    data,
    find,
    sgd,
    training_after,
)

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


def find_twice(run):
    for _ in range(2):
        assert len(run.find()) > 10


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("epochs_before", [0, 1])
def test_training_after_it_is_bitwise_training_without_it(optimizer, epochs_before):
    untouched = training_after(lambda run: None, optimizer, epochs_before)
    assert training_after(find_twice, optimizer, epochs_before) == untouched


def test_the_progress_bar_counts_the_updates_of_all_sweeps(monkeypatch):
    import tqdm.auto

    bars = []

    class Bar:
        def __init__(self, total, **options):
            self.total, self.steps = total, 0
            bars.append(self)

        def update(self):
            self.steps += 1

        def close(self):
            self.closed = True

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    Run().find(repeats=2, stop_factor=None, progress=True)
    assert [(bar.total, bar.steps, bar.closed) for bar in bars] == [(80, 80, True)]


def test_a_trace_would_be_seen():
    untouched = training_after(lambda run: None)

    def draw(run):
        torch.manual_seed(int(torch.initial_seed()) + 1)

    with pytest.raises(AssertionError):
        assert training_after(draw) == untouched


def test_the_recorded_lr_is_the_one_that_moved_the_weights():
    weight = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(weight.parameters(), lr=123.0)
    moves = []
    with range_test(weight, optimizer, 1e-3, 1e-1, 20, stop_factor=None) as test:
        for x in test.batches([torch.ones(1, 1)]):
            before = weight.weight.item()
            loss = weight(x).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            moves.append(before - weight.weight.item())
            test.record(loss)
    np.testing.assert_allclose(moves, test.curve.lr, rtol=2e-4)
    assert optimizer.param_groups[0]["lr"] == 123.0


def test_the_curve_is_that_of_a_plain_loop():
    by_call, by_hand = Run("adam"), Run("adam")
    curve = by_call.find(num_steps=30)
    lrs = lrsched.exponential_sweep(1e-5, 1.0, 30).values()
    losses = []
    batches = (batch for _ in range(9) for batch in by_hand.loader)
    for lr, (x, y) in zip(lrs, batches, strict=False):
        by_hand.optimizer.param_groups[0]["lr"] = float(lr)
        by_hand.optimizer.zero_grad()
        loss = by_hand.criterion(by_hand.model(x), y)
        loss.backward()
        by_hand.optimizer.step()
        losses.append(loss.item())
    assert curve.loss.tolist() == losses[: len(curve)]
    assert curve.lr.tolist() == lrs[: len(curve)].tolist()


def test_losses_may_be_of_several_shapes_and_dtypes():
    run, plain = Run(), Run()
    shapes, dtypes, seen = [(), (1,), (1, 1)], [torch.float32, torch.float64], []

    def criterion(output, target):
        seen.append(len(seen))
        loss = plain.criterion(output, target).to(dtypes[seen[-1] % 2])
        return loss.reshape(shapes[seen[-1] % 3])

    run.criterion = criterion
    assert run.find().loss.tolist() == plain.find().loss.tolist()


def test_a_nan_loss_ends_the_test_and_says_so():
    run = Run()
    real = run.criterion
    seen = []

    def criterion(output, target):
        seen.append(1)
        return real(output, target) * (float("nan") if len(seen) == 13 else 1.0)

    run.criterion = criterion
    curve = run.find()
    assert len(curve) == 13
    assert "non-finite" in curve.stop_reason


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"num_steps": 5}, ValueError, "num_steps must be an int >= 10"),
        ({"progress": 1}, TypeError, "progress must be a bool"),
    ],
)
def test_bad_arguments_change_nothing(change, error, message):
    run = Run()
    before = run.everything()
    with pytest.raises(error, match=message):
        run.find(**change)
    assert run.everything() == before


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        ([], ValueError, "loader must give batches, got none"),
        ([torch.ones(8, 4)], TypeError, "must hold inputs and a target, .* got Tensor"),
        ([{"x": torch.ones(8, 4)}], TypeError, r"got a dict of \['x'\]"),
    ],
)
def test_bad_batches_change_nothing(loader, error, message):
    run = Run()
    before = run.everything()
    run.loader, kept = loader, run.loader
    with pytest.raises(error, match=message):
        run.find()
    run.loader = kept
    assert run.everything() == before


def test_an_optimizer_of_another_model_is_refused():
    other = torch.optim.SGD(Net().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="optimizer must hold parameters of model"):
        range_test(Net(), other)


def test_a_loss_of_many_numbers_is_refused():
    run = Run()
    run.criterion = nn.CrossEntropyLoss(reduction="none")
    before = run.everything()
    with pytest.raises(
        TypeError, match=r"loss must be a tensor with one element, got shape \(8,\)"
    ):
        run.find()
    assert run.everything() == before


def test_a_snapshot_device_without_memory_is_refused():
    model = nn.Linear(4, 1)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match="keeps values, got 'meta'"):
        find(model, snapshot_device="meta")
    assert torch.equal(model.weight, before)


def test_a_loss_with_more_to_it_is_refused():
    model = nn.Linear(4, 1)
    with pytest.raises(TypeError, match="a tensor with one element, got"):
        find(model, criterion=lambda prediction, y: (MSE(prediction, y), 1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"accumulate": 0}, ValueError, "accumulate must be an int >= 1"),
        ({"repeats": 0}, ValueError, "repeats must be an int >= 1"),
        ({"groups": "same"}, ValueError, "groups must be one of"),
        ({"amp": torch.float64}, ValueError, "amp must be torch.bfloat16"),
        ({"device": "cuda"}, ValueError, "device must be that of the model, cpu, got cuda"),
        ({"verify": 1}, TypeError, "verify must be a bool"),
        ({"device": "foo"}, ValueError, "device must be a device such as 'cpu' .* got 'foo'"),
        ({"snapshot_device": "foo"}, ValueError, "snapshot_device must be a device such as .* got"),
        ({"snapshot_device": 1.5}, TypeError, "snapshot_device must be a device such as .* got 1"),
        (
            {"snapshot_device": "cuda:99"},
            ValueError,
            "snapshot_device must be .* this machine, got",
        ),
        ({"snapshot_device": "meta"}, ValueError, "snapshot_device must be one that keeps values"),
        (
            {"stateful": AveragedModel(Net())},
            TypeError,
            r"got AveragedModel .pass stateful=\[...\]",
        ),
        ({"stateful": nn.Sequential(Net())}, TypeError, r"got Sequential .pass stateful=\[...\]"),
        ({"val_loader": 3}, TypeError, "loader must be an iterable of batches, got 3"),
        ({"val_loader": []}, ValueError, "loader must give batches, got none"),
        ({"end_lr": 1e-6}, ValueError, "start_lr must be < end_lr"),
    ],
)
def test_bad_options_change_nothing(change, error, message):
    run = Run()
    before = run.everything()
    with pytest.raises(error, match=message):
        run.find(**change)
    assert run.everything() == before


def test_a_frozen_model_and_a_lazy_one_are_named():
    run = Run()
    run.criterion = lambda outputs, target: outputs.detach().sum()
    with pytest.raises(ValueError, match="loss must depend on parameters that require a gradient"):
        run.find()
    run.criterion = lambda outputs, target: 3.0
    with pytest.raises(TypeError, match=r"loss must be a tensor with one element, got 3\.0"):
        run.find()
    lazy = nn.LazyLinear(2)
    with (
        pytest.raises(ValueError, match=r"model must have values .* none in weight"),
        range_test(lazy, torch.optim.SGD(lazy.parameters(), lr=0.1)),
    ):
        pass


@pytest.mark.parametrize(
    ("loss", "message"), [(3.0, r"got 3\.0"), (torch.ones(2), r"got shape \(2,\)")]
)
def test_a_validation_loss_is_one_number_too(loss, message):
    run = Run()
    real = run.criterion
    run.criterion = lambda *pair: real(*pair) if torch.is_grad_enabled() else loss
    with pytest.raises(TypeError, match=f"loss must be a tensor with one element, {message}"):
        run.find(val_loader=list(run.loader)[:1])


def test_what_has_no_state_dict_is_refused():
    run = Run()
    with pytest.raises(TypeError, match=r"stateful must hold .* got object"):
        run.find(stateful=[object()])


class TestMessages:
    def test_a_validation_loader_is_called_by_its_name(self):
        with pytest.raises(TypeError, match=r"val_loader must be an iterable .* again and again"):
            find(nn.Linear(4, 1), val_loader=iter(data()))
        with pytest.raises(ValueError, match="val_loader must give batches, got none"):
            find(nn.Linear(4, 1), val_loader=[])
        with pytest.raises(TypeError, match="val_loader must be an iterable of batches, got 3"):
            find(nn.Linear(4, 1), val_loader=3)

    def test_an_optimizer_that_needs_a_closure_is_sent_to_a_loop(self):
        model = nn.Linear(4, 1)
        with pytest.raises(TypeError, match=r"without a closure, got LBFGS \(use range_test"):
            find(model, torch.optim.LBFGS(model.parameters()))

    def test_a_group_without_a_lr_is_named(self):
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        optimizer.param_groups[0]["lr"] = None
        with pytest.raises(ValueError, match="a lr in each group, got None in group 0"):
            find(model, optimizer)

    def test_inputs_in_a_tuple_get_the_remedy(self):
        class Sum(nn.Linear):
            def forward(self, a, b):
                return super().forward(a + b)

        pairs = [((x, x), y) for x, y in data()]
        with pytest.raises(TypeError, match=r"a tuple of 2.*forward=lambda model, batch"):
            find(Sum(4, 1), loader=pairs)
        find(Sum(4, 1), loader=pairs, forward=lambda model, batch: model(*batch[0]))
