"""Loops of users in a range test: one loss for each batch, and as many updates as points."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import OneCycleLR, lr_find, range_test
from tests.lrsched_torch.helpers import Run

ONE_FOR_EACH = r"record\(loss\) must be called once for every batch, got"


def entered(run, **options):
    return range_test(run.model, run.optimizer, num_steps=20, stop_factor=None, **options)


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
    def test_a_missing_loss_is_refused_at_the_next_batch(self, accumulate):
        def loop(run):
            with entered(run, accumulate=accumulate) as test:
                for number, _ in enumerate(test.batches(run.loader)):
                    if number == 0:
                        test.record(1.0)

        with pytest.raises(RuntimeError, match=f"{ONE_FOR_EACH} 1 losses for 2 batches"):
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

    def test_a_loop_that_another_has_followed_does_not_go_on(self):
        def loop(run):
            with entered(run) as test:
                first = test.batches(run.loader)
                for stream in (first, test.batches(run.loader), first):
                    for number, _ in enumerate(stream):
                        test.record(1.0)
                        if number == 3:
                            break

        with pytest.raises(RuntimeError, match="read by one loop at a time"):
            loop(Run())


def accumulating(run, every, **options):
    """A loop that makes an update with every so many batches; the test, lrs and losses."""
    lrs, losses = [], []
    with entered(run, **options) as test:
        for number, (x, y) in enumerate(test.batches(run.loader), 1):
            loss = run.criterion(run.model(x), y)
            (loss / every).backward()
            losses.append(loss.item())
            if number % every == 0:
                lrs.append(run.optimizer.param_groups[0]["lr"])
                run.optimizer.step()
                run.optimizer.zero_grad()
            test.record(loss)
    return test.curve, lrs, losses


class TestAccumulation:
    def test_the_batches_of_an_update_are_one_point_with_their_mean_loss(self):
        curve, lrs, losses = accumulating(Run(), 4, accumulate=4)
        assert curve.lr.tolist() == lrs
        np.testing.assert_allclose(curve.loss, np.reshape(losses, (20, 4)).mean(1), rtol=1e-6)
        other = Run()
        by_call = lr_find(
            *(other.model, other.optimizer, other.criterion, other.loader),
            num_steps=20,
            stop_factor=None,
            accumulate=4,
        )
        np.testing.assert_allclose(curve.loss, by_call.loss, rtol=1e-5)

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
        run = Run()
        batches = iter(range(11)) if how == "end" else [None]
        with entered(run, accumulate=4) as test:
            for number, _ in enumerate(test.batches(batches), 1):
                test.record(float(number))
                if number == 11 and how == "break":
                    break
        assert test.curve.loss.tolist() == [2.5, 6.5]

    def test_updates_that_a_scaler_skips_are_made_again(self):
        run, lrs = Run(), []
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        with entered(run, accumulate=2, stateful=[scaler]) as test:
            for number, (x, y) in enumerate(test.batches(run.loader), 1):
                loss = run.criterion(run.model(x), y)
                if number == 5:
                    loss.register_hook(lambda gradient: gradient * float("inf"))
                scaler.scale(loss / 2).backward()
                if number % 2 == 0:
                    lrs.append(run.optimizer.param_groups[0]["lr"])
                    scaler.step(run.optimizer)
                    scaler.update()
                    run.optimizer.zero_grad()
                test.record(loss)
        assert len(lrs) == 21
        assert list(dict.fromkeys(lrs)) == test.curve.lr.tolist()

    def test_our_schedule_counts_none_of_it(self):
        run = Run()
        scheduler = OneCycleLR(run.optimizer, max_lr=0.1, total_steps=50)
        run.optimizer.step()
        scheduler.step()
        before = scheduler.state_dict(), scheduler.get_last_lr()
        accumulating(run, 4, accumulate=4, stateful=[scheduler])
        assert (scheduler.state_dict(), scheduler.get_last_lr()) == before
        run.optimizer.step()
        scheduler.step()
        assert scheduler.last_epoch == 2

    def test_accelerate_says_it_itself(self):
        run = Run()
        run.optimizer.gradient_state = SimpleNamespace(num_steps=2, sync_gradients=True)
        with pytest.raises(ValueError, match=r"accumulate must be 1 where Accelerate .*, got 4"):
            entered(run, accumulate=4)

    def test_it_must_be_a_number_of_batches(self):
        with pytest.raises(ValueError, match="accumulate must be an int >= 1, got 0"):
            entered(Run(), accumulate=0)


FEWER = "made 5 updates for the 20 points of the curve"


class TestCountingUpdates:
    def test_fewer_updates_than_points_are_a_warning_in_the_line_of_the_user(self):
        with pytest.warns(UserWarning, match=f"{FEWER}.*pass accumulate=") as seen:
            curve, _, _ = accumulating(Run(), 4)
        assert [warning.filename for warning in seen] == [__file__]
        assert any(FEWER in note for note in curve.notes)

    def test_the_line_is_right_for_an_exit_stack_too(self):
        def loop(run):
            with contextlib.ExitStack() as stack:
                test = stack.enter_context(entered(run))
                for number, _ in enumerate(test.batches(run.loader)):
                    if number % 4 == 0:
                        run.optimizer.step()
                    test.record(1.0)

        with pytest.warns(UserWarning, match=FEWER) as seen:
            loop(Run())
        assert [warning.filename for warning in seen] == [__file__]

    def test_no_hook_stays(self):
        run = Run()
        with pytest.warns(UserWarning, match=FEWER):
            accumulating(run, 4)
        assert not run.optimizer._optimizer_step_post_hooks
        assert not run.optimizer._optimizer_step_pre_hooks

    def test_an_optimizer_that_wraps_another_is_counted_too(self):
        class Wrapping(torch.optim.Optimizer):
            def __init__(self, optimizer):
                self.optimizer = optimizer
                self.param_groups, self.state = optimizer.param_groups, optimizer.state
                self.defaults = optimizer.defaults

            def step(self, closure=None):
                return self.optimizer.step(closure)

            def zero_grad(self, set_to_none=True):
                self.optimizer.zero_grad(set_to_none)

        run = Run()
        run.optimizer = Wrapping(run.optimizer)
        with pytest.warns(UserWarning, match=FEWER):
            accumulating(run, 4)
        accumulating(run, 1)

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

    def test_updates_that_a_scaler_skips_are_no_fault_though_nobody_has_named_it(self):
        run = Run()
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        with entered(run) as test:
            for number, (x, y) in enumerate(test.batches(run.loader)):
                loss = run.criterion(run.model(x), y)
                if number in (0, 1, 7):
                    loss.register_hook(lambda gradient: gradient * float("inf"))
                scaler.scale(loss).backward()
                scaler.step(run.optimizer)
                scaler.update()
                run.optimizer.zero_grad()
                test.record(loss)
        assert not any("updates for" in note for note in test.curve.notes)

    def test_nor_are_those_of_a_scaler_that_skips_more_than_it_makes(self):
        run = Run()
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        with entered(run, stateful=[scaler]) as test:
            for number, (x, y) in enumerate(test.batches(run.loader)):
                loss = run.criterion(run.model(x), y)
                if number % 3:
                    loss.register_hook(lambda gradient: gradient * float("inf"))
                scaler.scale(loss).backward()
                scaler.step(run.optimizer)
                scaler.update()
                run.optimizer.zero_grad()
                test.record(loss)
        assert len(test.curve) == 20
        assert not any("updates for" in note for note in test.curve.notes)

    def test_a_range_test_within_a_range_test_counts_for_itself(self):
        run = Run()
        with entered(run) as outer:
            for number, (x, y) in enumerate(outer.batches(run.loader)):
                if number == 3:
                    accumulating(run, 1)
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
