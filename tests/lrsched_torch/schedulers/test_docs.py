"""The snippets and the tables of docs/torch.md and docs/range_test.md run."""

import re

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import lrsched
import lrsched_torch

N = 100


@pytest.fixture
def page(repo):
    return (repo / "docs" / "torch.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step\\(\\)` before")
def test_the_snippets_run(page):
    inputs = torch.randn(40, 3)
    names = {
        "torch": torch,
        "model": torch.nn.Linear(3, 1),
        "loader": DataLoader(TensorDataset(inputs, inputs[:, :1]), batch_size=4),
    }
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 6
    for snippet in snippets:
        exec(snippet, names)
    assert isinstance(names["scheduler"], lr_scheduler.LRScheduler)


def test_the_snippets_of_the_range_test_run(repo):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    page = (repo / "docs" / "range_test.md").read_text(encoding="utf-8")
    inputs = torch.randn(200, 3)
    model = torch.nn.Linear(3, 1)
    names = {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "criterion": torch.nn.MSELoss(),
        "loader": DataLoader(TensorDataset(inputs, inputs[:, :1]), batch_size=4),
    }
    # Those of trainers are run where the trainers are tested.
    page = page.split("## In Lightning")[0]
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        exec(snippet, names)
    assert len(names["curve"]) > 100


def migrations(page):
    """Rows of the last table: what is there, and the expression that takes its place here."""
    table = page.split("## Coming from another scheduler")[1].split("\n## ")[0]
    return re.findall(r"^\| (.+?) \| `(.+)` \|$", table, re.MULTILINE)


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)


def values(scheduler, steps):
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def names(optimizer):
    return {
        **vars(lrsched_torch),
        **{name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__ if name.islower()},
        "compat": lrsched.compat,
        "lrsched": lrsched,
        "optimizer": optimizer,
        "N": N,
        "base_lr": 0.1,
        "max_lr": 0.5,
        "total_steps": N,
    }


def test_every_line_of_the_migration_table_runs(page):
    rows = migrations(page)
    assert len(rows) >= 20
    for _, expression in rows:
        assert all(lr >= 0 for lr in values(eval(expression, names(sgd())), N))


def test_the_lines_for_torch_give_the_values_of_torch(page):
    compared = 0
    for there, expression in migrations(page):
        call = re.fullmatch(r"torch `(\w+\(.*\))`", there)
        if call is None:
            continue
        peer = eval(call[1], {**names(optimizer := sgd()), **vars(lr_scheduler)})
        assert peer.optimizer is optimizer
        ours = values(eval(expression, names(sgd())), N)
        assert ours == pytest.approx(values(peer, N), rel=1e-9, abs=1e-15), there
        compared += 1
    assert compared == 9
