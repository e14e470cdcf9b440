"""Loops of users in a range test: one loss for each batch, and as many updates as points."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from lrsched_torch import OneCycleLR, range_test
from tests.lrsched_torch.helpers import MSE, Run, data, left, sgd

# Some of these loops make none, or without gradients.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The optimizer of the range test made no update"),
    pytest.mark.filterwarnings("ignore:The updates of the loop had no gradients"),
]
ONE_FOR_EACH = r"record\(loss\) must be called once for every batch, got"


def entered(run, **options):
    return range_test(run.model, run.optimizer, num_steps=20, stop_factor=None, **options)


def test_it_is_used_inside_with_and_once():
    run = Run()
    test = range_test(run.model, run.optimizer)
    with pytest.raises(RuntimeError, match="inside `with"):
        next(test.batches(run.loader))
    with test:
        pass
    with pytest.raises(RuntimeError, match="a second time"):
        test.__enter__()


def test_losses_of_several_shapes_are_one_curve():
    losses = [torch.tensor(1.0), torch.tensor([[2.0]]), 3.0, torch.tensor([4.0])] * 5
    with entered(Run()) as test:
        for loss in test.batches(losses):
            test.record(loss)
    assert test.curve.loss.tolist() == [1.0, 2.0, 3.0, 4.0] * 5


class TestEveryLossHasItsBatch:
    def test_a_loop_over_the_loader_itself_is_refused_at_its_first_loss(self):
        run, made = Run(), []
        before = run.everything()[0]

        def loop():
            with entered(run) as test:
                for x, y in run.loader:
                    run.criterion(run.model(x), y).backward()
                    run.optimizer.step()
                    made.append(x)
                    test.record(1.0)

        with pytest.raises(
            RuntimeError,
            match=f"{ONE_FOR_EACH} 1 losses for 0 batches .loop over test.batches.loader.",
        ):
            loop()
        assert len(made) == 1
        assert run.everything()[0] == before

    def test_a_second_loss_is_refused_at_once(self):
        run = Run()
        with entered(run) as test:
            for _ in test.batches(run.loader):
                test.record(1.0)
                with pytest.raises(RuntimeError, match=f"{ONE_FOR_EACH} 2 losses for 1 batches"):
                    test.record(1.0)
                break
        assert len(test.curve) == 1

    @pytest.mark.parametrize("accumulate", [1, 3])
    @pytest.mark.parametrize("losses", [0, 1])
    def test_a_missing_loss_is_refused_at_the_next_batch(self, accumulate, losses):
        def loop(run):
            with entered(run, accumulate=accumulate) as test:
                for number, _ in enumerate(test.batches(run.loader)):
                    if number < losses:
                        test.record(1.0)

        with pytest.raises(
            RuntimeError, match=f"{ONE_FOR_EACH} {losses} losses for {losses + 1} batches"
        ):
            loop(Run())

    def test_a_batch_that_a_loop_was_left_with_needs_none(self):
        run, lrs = Run(), []
        with entered(run) as test:
            for _ in test.batches(run.loader):
                break
            for _ in test.batches(run.loader):
                lrs.append(run.optimizer.param_groups[0]["lr"])
                test.record(1.0)
        assert lrs == test.curve.lr.tolist()
        assert len(test.curve) == 20


def loop(run, every=1, *, scaler=None, overflow=(), **options):
    """A loop that makes an update with every so many batches; the curve, lrs and losses.

    The gradients of the batches whose numbers, from 1 on, are in `overflow` are infinite.
    """
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    lrs, losses = [], []
    with entered(run, **options) as test:
        for number, (x, y) in enumerate(test.batches(run.loader), 1):
            loss = run.criterion(run.model(x), y)
            losses.append(loss.item())
            if number in overflow:
                loss.register_hook(lambda gradient: gradient * float("inf"))
            scaler.scale(loss / every).backward()
            if number % every == 0:
                lrs.append(run.optimizer.param_groups[0]["lr"])
                scaler.step(run.optimizer)
                scaler.update()
                run.optimizer.zero_grad()
            test.record(loss)
    return test.curve, lrs, losses


def new_scaler():
    return torch.amp.GradScaler("cpu", init_scale=8.0)


class TestAccumulation:
    def test_the_batches_of_an_update_are_one_point_with_their_mean_loss(self):
        curve, lrs, losses = loop(Run(), 4, accumulate=4)
        assert curve.lr.tolist() == lrs
        np.testing.assert_allclose(curve.loss, np.reshape(losses, (20, 4)).mean(1), rtol=1e-6)

    @pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
    def test_a_scheduler_that_steps_with_each_batch_changes_no_lr_within_an_update(self):
        run, lrs = Run(), []
        scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.5)
        run.optimizer.register_step_pre_hook(lambda o, *_: lrs.append(o.param_groups[0]["lr"]))
        with entered(run, accumulate=2, stateful=[scheduler]) as test:
            for number, _ in enumerate(test.batches([None]), 1):
                if number % 2 == 0:
                    run.optimizer.step()
                scheduler.step()
                test.record(1.0)
        assert lrs == test.curve.lr.tolist()

    @pytest.mark.parametrize("how", ["break", "end"])
    def test_an_update_that_is_not_finished_is_left_out(self, how):
        batches = iter(range(11)) if how == "end" else [None]
        with entered(Run(), accumulate=4) as test:
            for number, _ in enumerate(test.batches(batches), 1):
                test.record(float(number))
                if number == 11 and how == "break":
                    break
        assert test.curve.loss.tolist() == [2.5, 6.5]

    def test_updates_that_a_scaler_skips_are_made_again(self):
        scaler = new_scaler()
        curve, lrs, _ = loop(Run(), 2, scaler=scaler, overflow={5}, accumulate=2, stateful=[scaler])
        assert len(lrs) == 21
        assert list(dict.fromkeys(lrs)) == curve.lr.tolist()

    def test_our_schedule_counts_none_of_it(self):
        run = Run()
        scheduler = OneCycleLR(run.optimizer, max_lr=0.1, total_steps=50)
        run.optimizer.step()
        scheduler.step()
        before = scheduler.state_dict(), scheduler.get_last_lr()
        loop(run, 4, accumulate=4, stateful=[scheduler])
        assert (scheduler.state_dict(), scheduler.get_last_lr()) == before
        run.optimizer.step()
        scheduler.step()
        assert scheduler.last_epoch == 2

    def test_accelerate_says_it_itself(self):
        run = Run()
        run.optimizer.gradient_state = SimpleNamespace(num_steps=2, sync_gradients=True)
        with pytest.raises(ValueError, match=r"accumulate must be 1 where Accelerate .*, got 4"):
            entered(run, accumulate=4)


FEWER = "made 5 updates for the 20 points of the curve"


class Wrapping(torch.optim.Optimizer):
    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups, self.state = optimizer.param_groups, optimizer.state
        self.defaults = optimizer.defaults

    def step(self, closure=None):
        return self.optimizer.step(closure)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)


class TestCountingUpdates:
    """Warnings are errors, so that a loop without one says something too."""

    @pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, Wrapping])
    def test_fewer_updates_than_points_are_a_warning_in_the_line_of_the_user(self, wrap):
        run = Run()
        inner, run.optimizer = run.optimizer, wrap(run.optimizer)
        with pytest.warns(UserWarning, match=f"{FEWER}.*pass accumulate=") as seen:
            curve, _, _ = loop(run, 4)
        assert [warning.filename for warning in seen] == [__file__]
        assert any(FEWER in note for note in curve.notes)
        assert not inner._optimizer_step_post_hooks
        assert not inner._optimizer_step_pre_hooks
        loop(run, 1)

    def test_updates_that_nobody_counts_are_no_fault(self):
        """A loop with updates of its own kind, and one that leaves before its last update."""
        run = Run()
        with entered(run) as test:
            for _ in test.batches(run.loader):
                with torch.no_grad():
                    for parameter in run.model.parameters():
                        parameter.sub_(0.0)
                test.record(1.0)
        with entered(run) as test:
            for number, _ in enumerate(test.batches(run.loader)):
                test.record(1.0)
                if number == 1:
                    break
                run.optimizer.step()
        assert len(test.curve) == 2

    @pytest.mark.filterwarnings("ignore:The range test could not put back. scale of the GradSc")
    @pytest.mark.parametrize("named", [True, False])
    def test_nor_are_those_that_a_scaler_skips(self, named):
        scaler = new_scaler()
        skipped = {number for number in range(1, 99) if number % 3}
        curve, lrs, _ = loop(
            Run(), scaler=scaler, overflow=skipped, stateful=[scaler] if named else []
        )
        assert len(curve) == 20
        assert len(lrs) > 50
        assert not any("updates for" in note for note in curve.notes)

    def test_a_range_test_within_a_range_test_counts_for_itself(self):
        run = Run()
        with entered(run) as outer:
            for number, (x, y) in enumerate(outer.batches(run.loader)):
                if number == 3:
                    loop(run)
                run.criterion(run.model(x), y).backward()
                run.optimizer.step()
                outer.record(1.0)
        assert not any("updates for" in note for note in outer.curve.notes)
        assert len(outer.curve) == 20

    @pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
    def test_a_compiled_step_cannot_be_counted(self):
        torch._dynamo.reset()
        run = Run("amsgrad with a tensor lr")
        step = torch.compile(run.optimizer.step, backend="eager")
        with entered(run) as test:
            for x, y in test.batches(run.loader):
                nn.functional.cross_entropy(run.model(x), y).backward()
                step()
                test.record(1.0)
        assert not any("updates for" in note for note in test.curve.notes)
        torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:The range test could not put back. step of the ExponentialLR")
@pytest.mark.parametrize("listed", [True, False])
def test_a_scheduler_that_nobody_puts_back_is_noted(listed):
    run = Run()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.9)
    with entered(run, stateful=[scheduler] if listed else []) as test:
        for _ in test.batches([None]):
            run.optimizer.step()
            scheduler.step()
            test.record(1.0)
    notes = [note for note in test.curve.notes if "sets the lr too" in note]
    assert len(notes) == (0 if listed else 1)


class TestOptimizersThatNobodyNamed:
    def run(self, stateful=(), anew=False):
        model = nn.ModuleDict({"one": nn.Linear(4, 1), "other": nn.Linear(4, 1)})
        optimizer, other = sgd(model["one"]), torch.optim.Adam(model["other"].parameters())
        before = len(_global_optimizer_post_hooks)
        with range_test(
            model, optimizer, num_steps=12, stateful=[other] if stateful else ()
        ) as test:
            for x, y in test.batches(data()):
                loss = MSE(model["one"](x) + model["other"](x), y)
                loss.backward()
                optimizer.step()
                (torch.optim.Adam(model["other"].parameters()) if anew else other).step()
                test.record(loss)
        assert len(_global_optimizer_post_hooks) == before
        return left(test.curve)

    @pytest.mark.filterwarnings("ignore:The range test could not")
    def test_one_that_makes_steps_is_named(self):
        assert self.run() == [
            "The range test could not put back: state of the Adam that the loop steps."
        ]

    def test_one_that_is_stateful_or_made_anew_is_not(self):
        assert self.run(stateful=True) == self.run(anew=True) == []
