"""Options of `lr_find`, and trainings with everything in them."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.swa_utils import AveragedModel

import lrsched
from lrsched_torch import lr_find, range_test
from tests.lrsched_torch.helpers import Run, training_after

LRS = lrsched.two_speed_sweep(1e-5, 1.0, 40).values()


def by_hand(run, batches, lrs=LRS, clip_norm=None):
    """Losses of a plain loop with the lrs of the sweep."""
    losses = []
    for lr, batch in zip(lrs, batches, strict=False):
        run.optimizer.param_groups[0]["lr"] = float(lr)
        run.optimizer.zero_grad()
        losses.append(sum(_backward(run, x, y, len(batch)) for x, y in batch) / len(batch))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(run.model.parameters(), clip_norm)
        run.optimizer.step()
    return losses


def _backward(run, x, y, count):
    loss = run.criterion(run.model(x), y)
    (loss / count).backward()
    return loss.item()


def endless(loader):
    while True:
        yield from loader


def test_accumulated_batches_are_one_update_with_their_mean_loss():
    curve = Run().find(accumulate=3, stop_factor=None)
    other = Run()
    stream = endless(other.loader)
    losses = by_hand(other, ([next(stream) for _ in range(3)] for _ in LRS))
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-6)


def clipped(scaled, accumulate):
    """Losses of a sweep whose gradients are clipped to far less than they are."""
    run = Run()
    options = {"accumulate": accumulate, "clip_norm": 0.05, "stop_factor": None}
    if not scaled:
        return run.find(**options)
    # float32 under a GradScaler, so that the losses are those without one
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    return run.find(**options, stateful=[scaler], amp=torch.float16, forward=in_float32)


def in_float32(model, batch):
    with torch.autocast("cpu", enabled=False):
        return model(batch[0])


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_are_clipped_by_the_norm_of_all_of_them_before_each_update(scaled, accumulate):
    curve, other = clipped(scaled, accumulate), Run()
    stream = endless(other.loader)
    batches = ([next(stream) for _ in range(accumulate)] for _ in LRS)
    losses = by_hand(other, batches, clip_norm=0.05)
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-5)
    free = Run().find(accumulate=accumulate, stop_factor=None)
    assert not np.allclose(curve.loss[-5:], free.loss[-5:], rtol=1e-2)


def test_repeats_are_averaged_sweeps_from_the_same_start_on_other_batches():
    curve = Run().find(repeats=2, stop_factor=None)
    other = Run()
    start, slots = copy.deepcopy(other.model.state_dict()), other.optimizer.state_dict()
    stream = endless(other.loader)
    first = by_hand(other, ([next(stream)] for _ in LRS))
    other.model.load_state_dict(start), other.optimizer.load_state_dict(slots)
    other.optimizer.state.clear()
    second = by_hand(other, ([next(stream)] for _ in LRS))
    np.testing.assert_allclose(curve.loss, np.mean([first, second], axis=0), rtol=1e-12)
    assert curve.notes[0] == "The mean of 2 sweeps."
    assert first[:3] != second[:3]


def test_a_validation_loss_is_measured_after_each_update_in_evaluation_mode():
    generator = torch.Generator().manual_seed(0)
    held_out = [(torch.randn(16, 4, generator=generator), torch.arange(16) % 3) for _ in range(2)]
    run = Run()
    run.model.body[1].eval()
    curve = run.find(val_loader=held_out, stop_factor=None)
    other, losses = Run(), []
    other.model.body[1].eval()
    for lr, (x, y) in zip(LRS, endless(other.loader), strict=False):
        by_hand(other, [[(x, y)]], [lr])
        frozen = copy.deepcopy(other.model).eval()
        with torch.no_grad():
            losses.append(np.mean([other.criterion(frozen(a), b).item() for a, b in held_out]))
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-6)
    assert [m.training for m in run.model.body] == [True, False, True, True, True]


class Merging(nn.Linear):
    """As adapters of low rank do: merges them into the weight for evaluation."""

    merged = False

    def __init__(self):
        super().__init__(4, 3)
        self.low = nn.Parameter(torch.full((3, 4), 0.25))

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            with torch.no_grad():
                self.weight += -self.low if mode else self.low
            self.merged = not mode
        return self

    def forward(self, x):
        merged = self.weight if self.merged else self.weight + self.low
        return nn.functional.linear(x, merged, self.bias)


@pytest.mark.parametrize("adapting", [True, False])
def test_modules_that_merge_weights_for_evaluation_take_them_apart_again(adapting):
    """Unless they had been put in evaluation mode by the user, within a model in train mode."""
    batches = [(torch.randn(8, 4), torch.arange(8) % 3) for _ in range(8)]
    model, states = nn.Sequential(nn.Linear(4, 4), Merging()), set()
    model[1].train(adapting)
    model[1].register_forward_hook(
        lambda part, *_: states.add((torch.is_grad_enabled(), part.training, part.merged))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lr_find(
        *(model, optimizer, nn.functional.cross_entropy, batches),
        num_steps=20,
        val_loader=batches[:1],
    )
    assert states == {(True, adapting, not adapting), (False, False, True)}
    assert model[1].merged == (not adapting)


@pytest.mark.parametrize(
    ("groups", "lrs", "expected"),
    [
        ("ratio", (0.2, 0.05), (1.0, 0.25)),
        ("equal", (0.2, 0.05), (1.0, 1.0)),
        ("ratio", (0.0, 0.0), (1.0, 1.0)),
        ("ratio", (0.0, 0.1), (0.0, 1.0)),
    ],
)
def test_groups_keep_their_ratio_or_are_equal(groups, lrs, expected):
    weights = [nn.Parameter(torch.zeros(1)) for _ in lrs]
    model = nn.ParameterList(weights)
    optimizer = torch.optim.SGD(
        [{"params": [w], "lr": lr} for w, lr in zip(weights, lrs, strict=True)]
    )
    moves = []
    with range_test(model, optimizer, 1e-3, 1e-1, 20, groups=groups, stop_factor=None) as test:
        for _ in test.batches([None]):
            before = [w.item() for w in weights]
            sum(weights).backward()
            optimizer.step()
            optimizer.zero_grad()
            moves.append([b - w.item() for b, w in zip(before, weights, strict=True)])
            test.record(1.0)
    np.testing.assert_allclose(moves, np.outer(test.curve.lr, expected), rtol=1e-3, atol=1e-9)
    assert [group["lr"] for group in optimizer.param_groups] == list(lrs)


def test_a_lr_that_is_set_elsewhere_is_told_of():
    run = Run()

    def overrule(optimizer, args, kwargs):
        optimizer.param_groups[0]["lr"] = 1e-3

    run.optimizer.register_step_pre_hook(overrule)
    with pytest.warns(UserWarning, match="Something else sets the lr too"):
        curve = run.find()
    assert any("may not be those that were used" in note for note in curve.notes)


@pytest.mark.filterwarnings("ignore:The updates of the loop had no gradients")
def test_a_warmup_at_its_first_step_keeps_the_ratio_that_it_leads_to():
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, (0.2, 0.05), strict=True)]
    optimizer = torch.optim.SGD(groups)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    with range_test(nn.ParameterList(weights), optimizer, num_steps=20) as test:
        for _ in test.batches([None]):
            lrs = [group["lr"] for group in optimizer.param_groups]
            assert lrs[1] == pytest.approx(lrs[0] / 4)
            optimizer.step()
            test.record(1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore:The optimizer of the range test made no update")
def test_a_tensor_lr_that_groups_share_is_shared_again():
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    lr = torch.tensor(0.1)
    optimizer = torch.optim.AdamW([{"params": [w]} for w in weights], lr=lr)
    with range_test(nn.ParameterList(weights), optimizer, num_steps=20) as test:
        for _ in test.batches([None]):
            test.record(1.0)
    assert all(group["lr"] is lr for group in optimizer.param_groups)
    assert lr.item() == pytest.approx(0.1)


class Skipping:
    """A criterion whose gradients overflow in some of its calls."""

    def __init__(self, calls):
        self.calls = calls
        # Of the class, since a range test puts the criterion's own back.
        Skipping.count = 0

    def __call__(self, outputs, target):
        loss = nn.functional.cross_entropy(outputs, target)
        Skipping.count += 1
        if self.count in self.calls:
            # the loss stays finite
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss


@pytest.mark.parametrize(("optimizer", "knee"), [("sgd", 10**-3.5), ("adam", 1e-4)])
def test_updates_that_a_scaler_skips_are_not_recorded_and_their_lr_is_used_again(optimizer, knee):
    run = Run(optimizer)
    run.criterion = Skipping({5, 6, 20})
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    curve = run.find(stateful=[scaler], stop_factor=None)
    assert run.criterion.count == 43
    lrs = lrsched.two_speed_sweep(1e-5, 1.0, 40, knee=knee).values()
    np.testing.assert_array_equal(curve.lr, lrs)
    assert scaler.get_scale() == 8.0


def test_a_scaler_that_skips_everything_ends_the_test():
    run = Run()
    run.criterion = Skipping(range(1000))
    curve = run.find(stateful=[torch.amp.GradScaler("cpu")])
    assert len(curve) == 1
    assert curve.stop_reason == "non-finite loss"
    assert run.criterion.count == 32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_leaves_no_trace(dtype):
    def find(run):
        curve = run.find(amp=dtype, stop_factor=None)
        assert len(curve) == 40
        exact = run.find(stop_factor=None)
        assert not np.array_equal(curve.loss, exact.loss)
        np.testing.assert_allclose(curve.loss[:20], exact.loss[:20], rtol=0.02)

    assert training_after(find) == training_after(lambda run: None)


class FullTraining(Run):
    """With a GradScaler, a schedule of torch, another one of ours, and an EMA of the weights."""

    def __init__(self):
        super().__init__("sgd")
        self.scaler = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=7)
        self.cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 5000)
        self.ema = AveragedModel(self.model, use_buffers=True)
        self.second = torch.optim.Adam(self.ema.parameters(), lr=0.1)

    def parts(self):
        return [self.scaler, self.cosine, self.ema, self.second]

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.cosine.step()
        self.ema.update_parameters(self.model)
        return loss

    def train(self, steps):
        batches = zip(range(steps), endless(self.loader), strict=False)
        return [self.step(x, y).item() for _, (x, y) in batches]

    def everything(self):
        own = [part.state_dict() for part in self.parts()]
        return super().everything(), repr([torch.utils._pytree.tree_flatten(s)[0] for s in own])


@pytest.mark.parametrize("steps", [3, 50])
@pytest.mark.parametrize("broken", [False, True])
def test_in_the_middle_of_a_full_training_it_leaves_no_trace(steps, broken):
    def training(find):
        run = FullTraining()
        run.train(steps)
        before = run.everything()
        if find:
            options = {"num_steps": 40, "stateful": run.parts(), "end_lr": 1.0}
            try:
                with range_test(run.model, run.optimizer, **options) as test:
                    for index, (x, y) in enumerate(test.batches(run.loader)):
                        test.record(run.step(x, y))
                        if broken and index == 17:
                            # between unscale_ and step, where a state dict shows nothing
                            run.scaler.scale(run.model(x).sum()).backward()
                            run.scaler.unscale_(run.optimizer)
                            raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            assert len(test.curve) > 9
        assert run.everything() == before
        return run.train(40), run.everything()

    assert training(find=True) == training(find=False)


def test_a_loop_in_epochs_leaves_no_trace():
    """The loader is begun several times, each time with its generator in another state."""

    def find(run):
        with range_test(run.model, run.optimizer, num_steps=40) as test:
            while test.running:
                for index, (x, y) in enumerate(test.batches(run.loader)):
                    run.optimizer.zero_grad()
                    loss = run.criterion(run.model(x), y)
                    loss.backward()
                    run.optimizer.step()
                    test.record(loss)
                    if index == 9:
                        break
        assert len(test.curve) > 20

    assert training_after(find) == training_after(lambda run: None)
