"""A range test in one call: what it records, and what it refuses."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


import lrsched
from tests.lrsched_torch.helpers import OPTIMIZERS, Run, training_after


def find_twice(run):
    for _ in range(2):
        assert len(run.find()) > 10


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("epochs_before", [0, 1])
def test_training_after_it_is_bitwise_training_without_it(optimizer, epochs_before):
    untouched = training_after(lambda run: None, optimizer, epochs_before)
    assert training_after(find_twice, optimizer, epochs_before) == untouched


def test_a_trace_would_be_seen():
    untouched = training_after(lambda run: None)

    def draw(run):
        torch.manual_seed(int(torch.initial_seed()) + 1)

    with pytest.raises(AssertionError):
        assert training_after(draw) == untouched


SWEEPS = {
    "default": ({}, lrsched.two_speed_sweep(1e-5, 1.0, 80, knee=1e-4)),
    "exponential": ({"sweep": "exponential"}, lrsched.exponential_sweep(1e-5, 1.0, 80)),
}


@pytest.mark.parametrize(("options", "sweep"), SWEEPS.values(), ids=SWEEPS)
def test_the_curve_is_that_of_a_plain_loop(options, sweep):
    by_call, by_hand = Run("adam"), Run("adam")
    curve = by_call.find(num_steps=80, stop_factor=None, **options)
    lrs = sweep.values()
    losses = []
    batches = (batch for _ in range(80) for batch in by_hand.loader)
    for lr, (x, y) in zip(lrs, batches, strict=False):
        by_hand.optimizer.param_groups[0]["lr"] = float(lr)
        by_hand.optimizer.zero_grad()
        loss = by_hand.criterion(by_hand.model(x), y)
        loss.backward()
        by_hand.optimizer.step()
        losses.append(loss.item())
    assert curve.loss.tolist() == losses
    assert curve.lr.tolist() == lrs.tolist()


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


def test_the_progress_bar_counts_the_updates_of_all_sweeps(monkeypatch):
    import tqdm.auto

    class Seen(tqdm.auto.tqdm):
        def close(self):
            counts.add((self.n, self.total))
            super().close()

    counts = set()
    monkeypatch.setattr(tqdm.auto, "tqdm", Seen)
    Run().find(repeats=2, stop_factor=None, progress=True)
    assert counts == {(80, 80)}
