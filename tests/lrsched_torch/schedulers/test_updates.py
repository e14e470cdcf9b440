"""Counting real updates: accumulation, skipped updates, dry runs, and planning them."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lrsched
from lrsched_torch import OneCycleLR, ScheduleLR, steps_for

CURVE = lrsched.one_cycle(0.1, 100)


def model_and(optimizer=torch.optim.SGD, **arguments):
    weight = torch.nn.Parameter(torch.ones(3))
    return weight, optimizer([weight], **{"lr": 0.1, **arguments})


def backward(weight, scale=1.0):
    (weight.sum() * scale).backward()


@pytest.mark.parametrize("zero_first", [False, True])
def test_gradient_accumulation_needs_no_thought(zero_first):
    """step() after every batch, an update after every fourth."""
    weight, optimizer = model_and()
    scheduler = ScheduleLR(optimizer, CURVE)
    used = []
    for batch in range(40):
        backward(weight)
        if (batch + 1) % 4 == 0:
            used += scheduler.get_last_lr()
            optimizer.step()
            if zero_first:
                optimizer.zero_grad()
        scheduler.step()
        if (batch + 1) % 4 == 0 and not zero_first:
            optimizer.zero_grad()
    assert scheduler.last_epoch == 10
    assert used == list(CURVE.values()[:10])


@pytest.mark.parametrize("zero_first", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_updates_that_grad_scaler_skips_do_not_count(optimizer, fused, zero_first):
    """The loop of torch's AMP guide; the first batches overflow, as they do in practice."""
    weight, driven = model_and(optimizer, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scheduler = ScheduleLR(driven, CURVE)
    made, applied = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in range(12):
            overflow = batch in (0, 1, 5, 6, 11)
            before = weight.detach().clone()
            loss = weight.sum() * (float("inf") if overflow else 1.0)
            scaler.scale(loss).backward()
            scaler.step(driven)
            scaler.update()
            if zero_first:
                driven.zero_grad()
            scheduler.step()
            driven.zero_grad()
            assert torch.equal(weight.detach(), before) is overflow
            made += not overflow
            applied.append(scheduler.last_epoch)
    assert scheduler.last_epoch == made == 7
    assert applied == [0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7]
    assert driven.param_groups[0]["lr"] == CURVE(7)


def test_stepping_before_the_update_skips_no_value():
    """The order of old, which torch warns of, since it skips the first value."""
    weight, optimizer = model_and()
    scheduler = ScheduleLR(optimizer, CURVE)
    used = []
    for _ in range(10):
        backward(weight)
        scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    assert used == list(CURVE.values()[:10])


def test_a_call_per_epoch_is_warned_of_once_unless_it_is_meant():
    def run(**arguments):
        weight, optimizer = model_and()
        scheduler = ScheduleLR(optimizer, CURVE, **arguments)
        for _ in range(4):
            for _ in range(25):
                backward(weight)
                optimizer.step()
            scheduler.step()
        return scheduler.last_epoch

    with pytest.warns(UserWarning, match="interval='step'") as caught:
        assert run() == 4
    assert len(caught) == 1
    assert run(count="calls") == 4


@pytest.mark.parametrize("gradients", ["none", "left", "cleared"])
@pytest.mark.parametrize("trained", [0, 3])
def test_calls_without_a_forward_pass_are_a_dry_run_also_after_a_training(trained, gradients):
    weight, optimizer = model_and()
    scheduler = ScheduleLR(optimizer, CURVE)
    for _ in range(trained):
        backward(weight)
        optimizer.step()
        scheduler.step()
    if gradients == "left" and not trained:
        backward(weight)
        scheduler.step()
    if gradients == "cleared":
        optimizer.zero_grad()

    def dry_run():
        for _ in range(50):
            yield scheduler.get_last_lr()[0]
            scheduler.step()

    with pytest.warns(UserWarning, match="taken for a dry run") as caught:
        curve = [*dry_run()]
    assert len(caught) == 1
    assert curve == CURVE.values()[trained : trained + 50].tolist()


@pytest.mark.parametrize(("count", "reached"), [("auto", 5), ("updates", 0), ("calls", 5)])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_what_a_dry_run_does_can_be_chosen(count, reached):
    _, optimizer = model_and()
    scheduler = ScheduleLR(optimizer, CURVE, count=count)
    for _ in range(5):
        scheduler.step()
    assert scheduler.last_epoch == reached


def test_every_scheduler_of_an_optimizer_counts_for_itself():
    weight, optimizer = model_and(torch.optim.SGD, momentum=0.9)
    both = [ScheduleLR(optimizer, CURVE), ScheduleLR(optimizer, CURVE.scaled(2.0))]
    for _ in range(3):
        backward(weight)
        optimizer.step()
        for scheduler in both:
            scheduler.step()
    assert [scheduler.last_epoch for scheduler in both] == [3, 3]
    assert optimizer.param_groups[0]["lr"] == 2 * CURVE(3)


def test_lbfgs_and_its_closure_are_one_update():
    weight, optimizer = model_and(torch.optim.LBFGS, max_iter=5)
    scheduler = ScheduleLR(optimizer, CURVE)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
        scheduler.step()
    assert scheduler.last_epoch == 3


# Planning


LOADER = DataLoader(TensorDataset(torch.zeros(103, 1)), batch_size=10)
FULL_BATCHES = DataLoader(TensorDataset(torch.zeros(103, 1)), batch_size=10, drop_last=True)


@pytest.mark.parametrize("loader", [LOADER, FULL_BATCHES, LOADER.batch_sampler, [0] * 7])
@pytest.mark.parametrize("accumulate", [1, 2, 4, 7])
@pytest.mark.parametrize("drop_last", [False, True])
def test_steps_for_counts_what_a_loop_makes(loader, accumulate, drop_last):
    weight, optimizer = model_and()
    total_steps = steps_for(3, loader, accumulate=accumulate, drop_last=drop_last)
    scheduler = OneCycleLR(optimizer, 0.1, total_steps, cycle_momentum=False, after_end="raise")
    for _ in range(3):
        for batch, _ in enumerate(loader, 1):
            backward(weight)
            if batch % accumulate == 0 or (batch == len(loader) and not drop_last):
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()
        optimizer.zero_grad()
    assert scheduler.last_epoch == total_steps
    assert scheduler.get_last_lr() == [0.1 / 25 / 1e4]


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 10), ValueError, "epochs must be an int >= 1"),
        ((1.5, 10), TypeError, "epochs must be an int"),
        ((1, 10, 0), ValueError, "accumulate must be an int >= 1"),
        ((1, iter([])), TypeError, "pass the batches in it"),
        ((1, DataLoader(Endless())), TypeError, "pass the number of batches"),
        *(
            ((1, samples), TypeError, r"(?s)loader must give batches, got .*pass the DataLoader")
            for samples in (LOADER.dataset, LOADER.sampler, torch.zeros(64, 4), {"train": LOADER})
        ),
        ((1, []), ValueError, "at least one update"),
        ((1, 3, 4, True), ValueError, "lower accumulate"),
        ((1, 3, 4, 1), TypeError, "drop_last must be a bool"),
    ],
)
def test_bad_plans_are_refused(arguments, error, message):
    named = dict(zip(("accumulate", "drop_last"), arguments[2:], strict=False))
    with pytest.raises(error, match=message):
        steps_for(*arguments[:2], **named)
