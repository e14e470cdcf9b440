"""A run that is interrupted and goes on, in processes of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn for its digits")
pytest.importorskip("torch", reason="needs PyTorch")

from lrsched.experiments.dataset import digits
from lrsched.experiments.frameworks import FRAMEWORKS

# The main module of a framework, with smaller sizes.
SHORT = """
import runpy, sys
from lrsched.experiments.catalog import EXPERIMENTS
from lrsched.experiments.experiment import Size
for experiment in EXPERIMENTS.values():
    type(experiment).quick = Size(200, 2, 100)
{before}
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=False)
"""
# Ctrl-C in the middle of the third training.
INTERRUPT = """
from lrsched.experiments.record import Record
train, calls = Record.train, []
def interrupted(self, name, seed, measure):
    calls.append(name)
    if len(calls) == 3:
        signal = __import__("signal")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
    train(self, name, seed, measure)
Record.train = interrupted
"""
# Too few updates for a drop of the loss.
SHORT_SWEEP = """
for experiment in EXPERIMENTS.values():
    type(experiment).quick = Size(200, 1, 8)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The digits as an NPZ file."""
    data, path = digits(), tmp_path_factory.mktemp("images") / "digits.npz"
    arrays = {"x_train": data.x_train, "y_train": data.y_train}
    np.savez(path, **arrays, x_test=data.x_val, y_test=data.y_val)
    return str(path)


def run_part(name, images, record, before=""):
    given = {"name": name, "quick": True, "data": images, "record": str(record), "seeds": 1}
    code = SHORT.format(before=before)
    command = [sys.executable, "-c", code, FRAMEWORKS["torch"].module, json.dumps(given)]
    return subprocess.run(command, capture_output=True, text=True)


def lines(record):
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_a_run_that_is_interrupted_goes_on_where_it_ended(images, tmp_path):
    record = tmp_path / "run.jsonl"
    name = "one_cycle_vs_constant"
    first = run_part(name, images, record, INTERRUPT)
    assert first.returncode == 130, first.stderr
    assert "Traceback" not in first.stderr
    finished = record.read_text()
    assert [line["name"] for line in lines(record)[1:]] == [
        "range test",
        "constant",
        "constant / 10",
    ]
    second = run_part(name, images, record)
    assert second.returncode == 0, second.stderr
    assert record.read_text().startswith(finished)
    assert [line["name"] for line in lines(record)[4:]] == ["1cycle", "1cycle, three phases"]
    of = {line["name"]: line["result"] for line in lines(record)[1:]}
    for name in ("constant", "1cycle"):
        assert of[name]["losses"][-1] < of[name]["losses"][0]
        assert len(of[name]["validations"]) == 2
        assert of[name]["validations"][-1][1] > 0.5
    assert of["constant / 10"]["max_lr"] == pytest.approx(of["constant"]["max_lr"] / 10)


def test_a_range_test_without_a_drop_is_a_sentence_and_its_result_is_kept(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (200, 8, 8), np.uint8), random.integers(0, 4, 200)
    path, record = tmp_path / "noise.npz", tmp_path / "run.jsonl"
    np.savez(path, x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    part = run_part("one_cycle_vs_constant", str(path), record, SHORT_SWEEP)
    assert part.returncode == 2, part.stderr
    *_, last = part.stderr.splitlines()
    assert "error: the range test found no learning rate: " in last
    assert [line.get("name") for line in lines(record)] == [None, "range test"]
