"""Every Python snippet of the README and of the guides to the core runs as it stands."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a reader has before the snippet: a model, its data, and an optimizer.
DATA = """
import numpy as np
x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
y = (x.sum(1) > 0).astype("int64")
"""
PRELUDES = {
    "lrsched_tf": DATA
    + """
import keras
keras.utils.set_random_seed(0)
dense = keras.layers.Dense
model = keras.Sequential([keras.layers.Input((4,)), dense(16, "relu"), dense(2)])
model.compile(
    keras.optimizers.SGD(0.01, momentum=0.9),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
""",
    "lrsched_torch": DATA
    + """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
criterion = torch.nn.CrossEntropyLoss()
pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
loader = torch.utils.data.DataLoader(pairs, batch_size=32, shuffle=True)
""",
    "lrsched": "",
}
NEEDS = {"lrsched_tf": "keras", "lrsched_torch": "torch", "lrsched": "numpy"}


def snippets(path: str) -> list[str]:
    """The snippets of a page; one that does not import a package of ours goes on with the last."""
    found: list[str] = []
    for snippet in re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL):
        if "import lrsched" in snippet:
            found.append("")
        found[-1] += snippet
    return found


def files(path: str) -> dict[str, str]:
    """The files of a page: blocks of YAML that begin with their name."""
    text = (ROOT / path).read_text()
    return dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL))


def package(snippet: str) -> str:
    return re.search(r"import (lrsched\w*)", snippet)[1]


CASES = [
    pytest.param(path, snippet, id=f"{path}-{package(snippet)}")
    for path in (
        "README.md",
        "docs/schedules.md",
        "docs/policy.md",
        "docs/loss_curve.md",
        "docs/coming_from.md",
    )
    for snippet in snippets(path)
]


@pytest.mark.parametrize(("path", "snippet"), CASES)
def test_the_snippet_runs(path, snippet, tmp_path):
    name = package(snippet)
    if find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}, which is not installed")
    if ".plot(" in snippet:
        pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    if "import yaml" in snippet:
        pytest.importorskip("yaml", reason="needs PyYAML, of the cli extra")
    for file, text in files(path).items():
        (tmp_path / file).write_text(text)
    code = PRELUDES[name] + snippet
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_the_three_ways_of_use():
    assert [package(snippet) for snippet in snippets("README.md")] == list(PRELUDES)


def test_nobody_is_told_to_install_the_other_project():
    wrong = re.compile(r"pip install [\"']?" + r"lrsched\b")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if name.endswith((".md", ".py", ".toml")):
            assert not wrong.search((ROOT / name).read_text()), name
