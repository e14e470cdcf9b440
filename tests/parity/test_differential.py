"""Random arguments: ours takes what the peers take, and gives their values."""

import inspect
import os
import subprocess
import sys
from importlib.util import find_spec
from random import Random

import pytest

from lrsched import compat
from tests.parity import differential
from tests.parity.differential import ENTRIES

DRAWS = 60
# Keras computes in float64 on one backend alone, which is chosen once in a process.
ALONE = "keras"


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.peer != ALONE])
def test_equals_the_peer_at_any_arguments(name):
    entry = ENTRIES[name]
    if not differential.installed(entry):
        pytest.skip(f"needs {entry.peer}, which is not installed")
    result = differential.run(entry, DRAWS, seed=0)
    assert not result.fails, result


def test_equals_keras_at_any_arguments(repo):
    if not (find_spec("keras") and find_spec("torch")):
        pytest.skip("needs keras with torch, which are not installed")
    number = sum(entry.peer == ALONE for entry in ENTRIES.values())
    options = ["--peer", ALONE, "--draws", str(DRAWS * number)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.parity.differential", *options],
        cwd=repo,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{DRAWS:8}{0:9}") == number


def test_every_function_is_compared():
    assert set(compat.__all__) < set(ENTRIES)
    assert DRAWS * len(ENTRIES) >= 1000


@pytest.mark.parametrize("name", [name for name in compat.__all__ if name != "torch_sequential"])
def test_every_option_is_drawn_and_left_out(name):
    rng = Random(0)
    drawn = [set(ENTRIES[name].draw(rng).args) for _ in range(200)]
    parameters = inspect.signature(getattr(compat, name)).parameters
    assert set().union(*drawn) == set(parameters)
    needed = {key for key, option in parameters.items() if option.default is option.empty}
    assert set.intersection(*drawn) - needed <= {"exponent", "three_phase"}


@pytest.mark.parametrize(("factor", "column"), [(1 + 1e-10, 0), (1 + 1e-10, 1), (float("nan"), 0)])
def test_a_wrong_value_is_seen(factor, column):
    entry = ENTRIES["fastai_fit_one_cycle"]

    def wrong(args, steps):
        values = entry.ours(args, steps)
        values[-1, column] *= factor
        return values

    assert not differential.run(entry, 20, seed=0).fails
    assert differential.run(entry._replace(ours=wrong), 20, seed=0).fails


def test_a_refusal_is_seen(capsys, monkeypatch):
    entry = ENTRIES["timm_cosine"]

    def refuse(args, steps):
        raise ValueError("lr_min must be > 0")

    monkeypatch.setattr(differential, "ENTRIES", {"timm_cosine": entry._replace(ours=refuse)})
    assert differential.main(["--draws", "20"]) == 1
    assert "lr_min must be > 0" in capsys.readouterr().out
