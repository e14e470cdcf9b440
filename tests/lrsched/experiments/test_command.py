"""`lrsched experiment` on bad input: a sentence, exit code 2, and nothing is lost."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("typer", reason="needs typer, of the cli extra")
pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
pytest.importorskip("sklearn", reason="needs scikit-learn for its digits")

from typer.testing import CliRunner

from lrsched.cli import app
from lrsched.experiments import command
from lrsched.experiments.catalog import EXPERIMENTS

NAME = "one_cycle_vs_constant"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command in an empty folder; no framework's part is started, for none gets so far."""
    monkeypatch.chdir(tmp_path)

    def started(*_):
        raise AssertionError("the input is bad, and was not refused before the training")

    monkeypatch.setattr(command, "run_part", started)
    return lambda *words: CliRunner().invoke(app, ["experiment", *map(str, words)])


def refused(result, *parts):
    assert result.exit_code == 2, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("error: ")
    assert "Traceback" not in result.output
    for part in parts:
        assert part in last


def test_an_unknown_name_is_told_the_close_one(run):
    refused(run("one_cycle_vs_constants"), "NAME must be one of", f"did you mean '{NAME}'?")
    refused(run("x"), *EXPERIMENTS)


def test_a_framework_must_be_known_and_installed(run, monkeypatch):
    refused(run(NAME, "--framework", "jax"), "--framework must be one of 'torch', 'keras'")
    monkeypatch.setattr(command, "find_spec", lambda name: name not in ("torch", "keras") or None)
    refused(run(NAME, "--framework", "keras"), 'pip install "onecycle-lr[tf]"')
    refused(run(NAME), 'needs PyTorch or Keras: pip install "onecycle-lr[torch]"')


@pytest.mark.parametrize("seeds", [0, 1001])
def test_seeds_have_bounds(run, seeds):
    refused(run(NAME, "--seeds", seeds), "--seeds must be")


def test_data_in_no_format_is_told_the_formats(run, tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        refused(run(NAME, "--data", path), "--data must be a folder with train-images", str(path))
    np.savez("x.npz", x_train=np.zeros(3))
    refused(run(NAME, "--data", "x.npz"), "must hold the arrays", "got no y_train")


@pytest.mark.parametrize(
    ("name", "classes", "part"),
    [
        ("batch_size_grid", 3, "the images of two batches of 64, got 120"),
        ("optimizers_vs_clr", 3, "4 classes or more, got 3"),
        ("optimizers_vs_clr", 8, "the images of two batches of 64"),
    ],
)
def test_data_that_is_too_little_for_an_experiment_is_refused(run, name, classes, part):
    x, y = np.zeros((120, 8, 8), np.uint8), np.arange(120) % classes
    np.savez("x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    refused(run(name, "--data", "x.npz"), part)


@pytest.mark.parametrize("place", ["a_file", "a_file/below"])
def test_an_out_that_is_no_folder_is_refused_before_training(run, tmp_path, place):
    (tmp_path / "a_file").write_text("mine")
    refused(run(NAME, "--quick", "--out", place), "--out must be a folder to write to", place)
    assert (tmp_path / "a_file").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user with limits")
def test_an_out_that_must_not_be_written_is_refused_before_training(run, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    refused(run(NAME, "--quick", "--out", "closed"), "--out must be a folder to write to")


def test_results_of_another_run_are_refused_and_stay(run, tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch")
    header = {"format": 1, "experiment": NAME, "framework": "torch", "images": 7}
    path = tmp_path / "out" / f"{NAME}_torch.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(header) + "\n")
    result = run(NAME, "--framework", "torch", "--quick", "--out", "out")
    refused(result, "must hold results of the same run", "pass another --out")
    assert json.loads(path.read_text()) == header


@pytest.mark.parametrize(
    ("code", "exit_code", "text"),
    [(2, 2, ""), (130, 130, "goes on"), (-2, 130, "goes on"), (1, 2, "failed, as above")],
)
def test_how_a_part_ends_is_how_the_command_ends(run, monkeypatch, code, exit_code, text):
    pytest.importorskip("torch", reason="needs PyTorch")
    monkeypatch.setattr(command, "run_part", lambda *_: code)
    result = run(NAME, "--framework", "torch", "--quick")
    assert result.exit_code == exit_code
    assert bool(result.stderr) is (code != 2)  # the part has said why
    assert text in result.stderr
    assert "Traceback" not in result.output
