"""The snippets of docs/torch.md and docs/range_test.md run."""

import re

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset


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
    assert len(snippets) == 7
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
