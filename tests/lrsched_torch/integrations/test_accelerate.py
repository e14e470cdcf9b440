"""Accelerate in one process: prepare, accumulation, and its checkpoints."""

import re

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("accelerate", reason="needs accelerate, of the integrations extra")

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader, TensorDataset

import lrsched
import lrsched_torch
from lrsched_torch import CyclicLR, OneCycleLR

STEPS, ACCUMULATE = 10, 3


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def prepared(accelerator, make, built_on_prepared=False):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    if built_on_prepared:
        optimizer = accelerator.prepare(optimizer)
        return weight, optimizer, make(optimizer)
    return (weight, *accelerator.prepare(optimizer, make(optimizer)))


def train(accelerator, weight, optimizer, scheduler, updates):
    used = []
    for batch in range(1, updates * ACCUMULATE + 1):
        accelerator.gradient_state._set_sync_gradients(batch % ACCUMULATE == 0)
        weight.sum().backward()
        if accelerator.sync_gradients:
            used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return used


ONE_CYCLE = lrsched.one_cycle(0.1, STEPS)


def one_cycle(optimizer):
    return OneCycleLR(optimizer, 0.1, STEPS)


def cyclic(optimizer):
    return CyclicLR(optimizer, 0.01, 0.1, 4)


@pytest.mark.parametrize(
    ("make", "built_on_prepared", "schedule"),
    [
        (one_cycle, False, ONE_CYCLE),
        (one_cycle, True, ONE_CYCLE),
        (cyclic, False, lrsched.cyclical(0.01, 0.1, 4)),
    ],
)
def test_accumulated_batches_do_not_use_up_the_schedule(
    make, built_on_prepared, schedule, accelerator
):
    """Accelerate counts them, and stops at total_steps; the step counted here is an update."""
    parts = prepared(accelerator, make, built_on_prepared)
    assert train(accelerator, *parts, STEPS) == list(schedule.values(STEPS))


def test_its_checkpoints_resume_the_schedule(accelerator, tmp_path):
    parts = prepared(accelerator, one_cycle)
    start = train(accelerator, *parts, 4)
    accelerator.save_state(tmp_path)
    train(accelerator, *parts, 3)
    accelerator.load_state(tmp_path)
    assert start + train(accelerator, *parts, STEPS - 4) == list(ONE_CYCLE.values())


def test_the_snippet_of_the_docs_runs(accelerator, repo):
    page = (repo / "docs" / "range_test.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", page.split("## In Lightning")[1], re.DOTALL)
    inputs = torch.randn(40, 3)
    model = torch.nn.Linear(3, 1)
    names = {
        "accelerator": accelerator,
        "lrsched_torch": lrsched_torch,
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "criterion": torch.nn.MSELoss(),
        "loader": DataLoader(TensorDataset(inputs, inputs[:, :1]), batch_size=4, shuffle=True),
    }
    exec(next(text for text in snippets if "accelerator" in text), names)
    assert len(names["test"].curve) > 100
    assert accelerator.step == 0


def test_a_range_test_judges_and_puts_back_the_scaler_of_a_prepared_optimizer(accelerator):
    accelerator.gradient_state._set_sync_gradients(True)
    model = torch.nn.Linear(3, 1)
    torch.nn.init.ones_(model.weight)
    # The first updates overflow, and are skipped.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    optimizer = AcceleratedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), scaler=scaler)
    before = scaler.state_dict()
    tried = 0
    with lrsched_torch.range_test(model, optimizer, 1e-6, 1e-4, 20) as test:
        for x in test.batches([torch.full((4, 3), 8.0)]):
            loss = model(x).square().mean()
            scaler.scale(loss).backward()
            optimizer.step()
            optimizer.zero_grad()
            test.record(loss)
            tried += 1
        assert scaler.state_dict() != before
    assert scaler.state_dict() == before
    assert len(test.curve) == 20 < tried
    assert test.curve.lr[0] == 1e-6


def test_accumulated_batches_are_one_point_with_the_lr_of_their_update(accelerator):
    model, used, losses = torch.nn.Linear(3, 1), [], []
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.register_step_post_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
    # An epoch of seven batches ends with an update of a single one.
    data = TensorDataset(torch.randn(28, 3), torch.randn(28, 1))
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, 4))
    with lrsched_torch.range_test(
        model, optimizer, 1e-5, 1e-2, 20, stateful=[accelerator], stop_factor=None
    ) as test:
        for inputs, target in test.batches(loader):
            with accelerator.accumulate(model):
                loss = (model(inputs) - target).square().mean()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            test.record(loss)
    assert used == list(test.curve.lr) == list(lrsched.exponential_sweep(1e-5, 1e-2, 20).values())
    means = [sum(losses[i:j]) / (j - i) for i, j in ((0, 3), (3, 6), (6, 7), (7, 10))]
    assert list(test.curve.loss[:4]) == pytest.approx(means)


def test_in_the_middle_of_an_accumulation_each_batch_is_an_update(accelerator):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = TensorDataset(torch.randn(28, 3), torch.randn(28, 1))
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, 4))
    with accelerator.accumulate(model):
        state = dict(vars(accelerator.gradient_state))
    assert not state["sync_gradients"]
    mse = torch.nn.functional.mse_loss
    curve = lrsched_torch.lr_find(model, optimizer, mse, loader, num_steps=20, stop_factor=None)
    assert len(curve) == 20
    assert len(set(curve.loss.tolist())) > 7
    assert not accelerator.gradient_state.sync_gradients

    def forget_to_accumulate():
        with lrsched_torch.range_test(model, optimizer, num_steps=20) as test:
            for _ in test.batches(loader):
                test.record(1.0)

    with pytest.raises(RuntimeError, match=r"must use .with accelerator.accumulate.* 3 batches"):
        forget_to_accumulate()
