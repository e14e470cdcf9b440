"""What trains beside the model in a range test's loop is named, and nothing else is."""

import copy
import sys
import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from lrsched_torch import OneCycleLR, range_test
from tests.lrsched_torch.helpers import left


def data():
    torch.manual_seed(0)
    return [(torch.randn(16, 4), torch.randint(0, 2, (16,))) for _ in range(5)]


class Loop:
    """A training with company; what it uses and does beside it is a function of it."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(4, 8)
        self.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2))
        self.optimizer = torch.optim.SGD([*self.model.parameters(), *self.head.parameters()], 0.1)

    def run(self, beside=lambda loop: None, stateful=(), forward=None):
        forward = forward or (lambda loop, x: loop.head(loop.model(x)))
        with range_test(self.model, self.optimizer, num_steps=20, stateful=stateful) as test:
            for x, y in test.batches(data()):
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(forward(self, x), y)
                loss.backward()
                self.optimizer.step()
                beside(self)
                test.record(loss)
        return test.curve


def averaging(loop):
    loop.ema = AveragedModel(loop.model)
    return loop.ema, lambda loop: loop.ema.update_parameters(loop.model)


def scaling(loop):
    loop.scaler = torch.amp.GradScaler("cpu")

    def update(loop):
        loop.scaler.scale(torch.ones(()))
        loop.scaler._per_optimizer_states[0]["found_inf_per_device"] = {"cpu": torch.zeros(())}
        loop.scaler.update()

    return loop.scaler, update


def scheduling(make, *arguments):
    def schedule(loop):
        loop.scheduler = make(loop.optimizer)
        return loop.scheduler, lambda loop: loop.scheduler.step(*arguments)

    return schedule


COMPANY = {
    "averages of the AveragedModel": averaging,
    "scale of the GradScaler": scaling,
    "step of the OneCycleLR": scheduling(lambda o: OneCycleLR(o, 0.1, 99)),
    "step of the StepLR": scheduling(lambda o: lr_scheduler.StepLR(o, 9)),
    "step of the CosineAnnealingWarmRestarts": scheduling(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 9)
    ),
    "step of the ReduceLROnPlateau": scheduling(lr_scheduler.ReduceLROnPlateau, 1.0),
    "step of the SequentialLR": scheduling(
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 9)], [5]
        )
    ),
    "step of the ChainedScheduler": scheduling(
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o)])
    ),
}


@pytest.mark.parametrize("name", COMPANY)
def test_company_is_named_once_unless_it_is_passed(name):
    loop = Loop()
    part, beside = COMPANY[name](loop)
    with pytest.warns(UserWarning, match=rf"put back: {name}.*pass what keeps it in st") as caught:
        curve = loop.run(beside, stateful=[loop.head])
    assert [warning.filename for warning in caught] == [__file__]
    assert left(curve) == [f"The range test could not put back: {name} that the loop uses."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.run(beside, stateful=[loop.head, part])


def test_methods_are_themselves_again():
    before = torch.amp.GradScaler.update, lr_scheduler.LRScheduler.step, OneCycleLR.step
    loop = Loop()
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda loop: 1 / 0, stateful=[loop.head])
    assert before == (torch.amp.GradScaler.update, lr_scheduler.LRScheduler.step, OneCycleLR.step)
    assert not nn.modules.module._global_forward_pre_hooks


def test_they_are_also_after_tests_that_overlap():
    before = lr_scheduler.LRScheduler.step
    first, second = (
        range_test(loop.model, loop.optimizer, num_steps=20) for loop in (Loop(), Loop())
    )
    with first:
        next(first.batches(data()))
        second.__enter__()
        next(second.batches(data()))
    assert lr_scheduler.LRScheduler.step is not before
    second.__exit__(None, None, None)
    assert lr_scheduler.LRScheduler.step is before


class TestModules:
    def test_one_whose_buffers_change_is_named(self):
        with pytest.warns(UserWarning, match="put back: buffers of the Sequential that the loop"):
            Loop().run()

    def test_one_with_an_optimizer_that_nobody_passed_is_named_too(self):
        loop = Loop()
        loop.optimizer = torch.optim.SGD(loop.model.parameters(), 0.1)
        own = torch.optim.SGD(loop.head.parameters(), 0.1)
        with pytest.warns(UserWarning, match=r"state of the SGD.*parameters of the Sequential"):
            loop.run(lambda loop: own.step())

    def test_one_that_is_passed_is_not(self):
        loop = Loop()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop.run(stateful=[loop.head])

    def test_a_frozen_feature_extractor_and_a_module_without_state_are_not(self):
        body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
        loss = nn.Sequential(nn.Tanh(), nn.Dropout())
        loop = Loop()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop.run(
                stateful=[loop.head], forward=lambda loop, x: loss(loop.head(loop.model(body(x))))
            )

    def test_one_that_puts_a_new_tensor_in_the_place_of_a_buffer_is_named(self):
        class Counting(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("seen", torch.zeros(()))

            def forward(self, x):
                self.seen = self.seen + 1
                return x

        loop, counting = Loop(), Counting()
        with pytest.warns(UserWarning, match="put back: buffers of the Counting that the loop"):
            loop.run(
                stateful=[loop.head], forward=lambda loop, x: loop.head(counting(loop.model(x)))
            )

    @pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a compiler there")
    def test_a_compiled_model_is_no_reason_for_a_warning(self):
        loop = Loop()
        compiled, filters = torch.compile(loop.model, backend="eager"), [*warnings.filters]
        loop.run(stateful=[loop.head], forward=lambda loop, x: loop.head(compiled(x)))
        assert warnings.filters == filters

    def test_only_the_first_two_batches_are_looked_at(self):
        loop, late, count = Loop(), nn.BatchNorm1d(4), []

        def forward(loop, x):
            count.append(len(nn.modules.module._global_forward_pre_hooks))
            return loop.head(loop.model(late(x) if len(count) > 2 else x))

        loop.run(stateful=[loop.head], forward=forward)
        assert count[:4] == [1, 1, 0, 0]


class TestNoUpdate:
    def test_a_loop_without_one_is_a_warning(self):
        loop = Loop()
        loop.optimizer.step = lambda: None
        with pytest.warns(UserWarning, match="made no update with 20 batches.*pass the optimizer"):
            curve = loop.run(stateful=[loop.head])
        assert any("made no update" in note for note in curve.notes)

    def test_one_with_an_optimizer_made_anew_for_each_batch_too(self):
        loop = Loop()
        loop.optimizer.step = lambda: torch.optim.SGD(loop.model.parameters(), 0.1).step()
        with pytest.warns(UserWarning, match="made no update with 20 batches"):
            loop.run(stateful=[loop.head])

    def test_updates_without_gradients_are_a_warning(self):
        loop = Loop()
        copied = copy.deepcopy(loop.model)
        with pytest.warns(UserWarning, match="had no gradients.*call loss.backward"):
            curve = loop.run(
                stateful=[loop.head],
                forward=lambda loop, x: loop.head(copied(x)).detach().requires_grad_(),
            )
        assert any("no gradients" in note for note in curve.notes)

    def test_one_that_steps_another_optimizer_too_even_if_that_is_passed(self):
        loop = Loop()
        new = torch.optim.SGD(loop.model.parameters(), 0.1)
        loop.optimizer.step = new.step
        with pytest.warns(UserWarning, match="made no update with 20 batches"):
            loop.run(stateful=[loop.head, new])


@pytest.mark.filterwarnings("ignore:The range test could not put back. scale of the GradScaler")
def test_updates_that_a_scaler_skips_are_no_points_from_the_first_on():
    loop = Loop()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=10_000)
    made, points = [], []
    with range_test(loop.model, loop.optimizer, num_steps=20, stateful=[loop.head]) as test:
        for x, y in test.batches(data()):
            loop.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(loop.head(loop.model(x)), y)
            before = loop.model.weight.detach().clone()
            scaler.scale(loss * 2.0**9).backward()
            scaler.step(loop.optimizer)
            scaler.update()
            if not torch.equal(before, loop.model.weight):
                made.append(loop.optimizer.param_groups[0]["lr"])
            points.append(1)
            test.record(loss)
    assert len(points) > len(made) == len(test.curve)
    assert test.curve.lr.tolist() == made
