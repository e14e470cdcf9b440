"""The sweep by two speeds in PyTorch: its knee is where the lr of the optimizer says."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

import lrsched
from lrsched_torch import lr_find, range_test

STEPS = 120
OF_THE_USER = lrsched.two_speed_sweep(1e-7, 10.0, STEPS, knee=1e-3)


def grouped(*lrs, kind=torch.optim.SGD):
    def make(weights):
        return kind([{"params": [w], "lr": lr} for w, lr in zip(weights, lrs, strict=True)])

    return make


def warming_up(weights):
    optimizer = grouped(2e-5, 1e-5)(weights)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    return optimizer


ADAM_W = functools.partial(torch.optim.AdamW, weight_decay=0.0)
TENSOR = torch.tensor(2e-5, dtype=torch.float64)
# An optimizer, options, where the knee belongs, and what part of the lr each weight has.
CASES = {
    "fine-tuning": (functools.partial(ADAM_W, lr=2e-5), {}, 2e-5 / 10, (1, 1)),
    "AdamW as it comes": (ADAM_W, {}, 1e-4, (1, 1)),
    "SGD": (functools.partial(torch.optim.SGD, lr=0.1), {}, 10**-3.5, (1, 1)),
    "a tensor": (functools.partial(ADAM_W, lr=TENSOR), {}, 2e-5 / 10, (1, 1)),
    "tensors of groups": (grouped(TENSOR, TENSOR / 4, kind=ADAM_W), {}, 2e-5 / 10, (1, 0.25)),
    "groups": (grouped(5e-6, 2e-5), {}, 2e-5 / 10, (0.25, 1)),
    "equal groups": (grouped(5e-6, 2e-5), {"groups": "equal"}, 2e-5 / 10, (1, 1)),
    "a group that stands still": (grouped(0.0, 2e-5), {}, 2e-5 / 10, (0, 1)),
    "a warmup at its first step": (warming_up, {}, 2e-5 / 10, (1, 0.5)),
    "no lr at all": (grouped(0.0, 0.0), {}, 10**-3.5, (1, 1)),
    "asked for": (grouped(2e-5, 2e-5), {"sweep": "two_speed"}, 2e-5 / 10, (1, 1)),
}


def by_call(model, optimizer, **options):
    summed = {"forward": lambda model, batch: sum(model), "loss": lambda total, batch: total.sum()}
    return lr_find(model, optimizer, None, [[torch.ones(1)]], **summed, **options)


def in_a_loop(model, optimizer, **options):
    with range_test(model, optimizer, **options) as test:
        for _ in test.batches([None]):
            optimizer.zero_grad()
            loss = sum(model).sum()
            loss.backward()
            optimizer.step()
            test.record(loss)
    return test.curve


def lrs_of(find, make, **options):
    """The curve, and the lrs that have moved each weight: its gradient is 1, also for Adam."""
    model = nn.ParameterList(torch.zeros(1, dtype=torch.float64) for _ in range(2))
    optimizer, weights = make(list(model)), [np.zeros(2)]
    optimizer.register_step_post_hook(
        lambda *_: weights.append(np.array([w.item() for w in model]))
    )
    curve = find(model, optimizer, stop_factor=None, **options)
    return curve, -np.diff(weights, axis=0)


@pytest.mark.parametrize("find", [by_call, in_a_loop])
@pytest.mark.parametrize("case", CASES)
def test_the_knee_is_at_a_tenth_of_the_highest_lr_of_the_optimizer(find, case):
    make, options, knee, parts = CASES[case]
    curve, moved = lrs_of(find, make, num_steps=STEPS, **options)
    lrs = lrsched.two_speed_sweep(1e-7, 10.0, STEPS, knee=knee).values()
    np.testing.assert_allclose(moved, np.outer(lrs, parts), rtol=1e-5, atol=1e-14)
    np.testing.assert_allclose(curve.lr, lrs, rtol=1e-12)


@pytest.mark.parametrize("find", [by_call, in_a_loop])
@pytest.mark.parametrize(
    ("options", "plan"),
    [
        (
            {"sweep": "exponential", "num_steps": STEPS},
            lrsched.exponential_sweep(1e-7, 10.0, STEPS),
        ),
        ({"sweep": OF_THE_USER}, OF_THE_USER),
    ],
)
def test_another_sweep_has_no_knee_to_be_moved(find, options, plan):
    _, moved = lrs_of(find, grouped(2e-5, 2e-5), **options)
    np.testing.assert_allclose(moved, np.outer(plan.values(), (1, 1)), rtol=1e-5)


def test_sweeps_that_are_averaged_have_one_plan():
    make = functools.partial(ADAM_W, lr=2e-5)
    curve, _ = lrs_of(by_call, make, num_steps=STEPS, repeats=2)
    lrs = lrsched.two_speed_sweep(1e-7, 10.0, STEPS, knee=2e-5 / 10).values()
    assert curve.lr.tolist() == lrs.tolist()
    assert "The mean of 2 sweeps." in curve.notes


@pytest.mark.parametrize("find", [by_call, in_a_loop])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_a_lr_that_is_no_lr_is_refused_and_nothing_has_moved(find, bad):
    model = nn.ParameterList([torch.zeros(1)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = bad
    with pytest.raises(ValueError, match=r"lr of group 0 must be .* got (nan|inf|-0\.1)"):
        find(model, optimizer)
    assert model[0].item() == 0
