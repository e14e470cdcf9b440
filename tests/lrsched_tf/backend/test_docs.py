"""The snippets of docs/keras.md and the Keras examples run."""

import re
import runpy
from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest

import lrsched
import lrsched_tf

pytest.importorskip("sklearn", reason="needs scikit-learn and its digits, of the all extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("run once, on the default backend", allow_module_level=True)
matplotlib.use("Agg")
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def reader():
    """What a reader has by then: a model, its data, and the names of the snippets before."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
    # The first snippets import the packages; each test must hold alone.
    packages = {"lrsched": lrsched, "lrsched_tf": lrsched_tf}
    return {**packages, "model": model, "x": x, "y": (x.sum(1) > 0).astype("int64")}


@pytest.mark.filterwarnings("ignore:OneCycle. the (lr|momentum) ends", "ignore:`shuffle=True`")
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_page_on_keras(snippet, reader):
    fresh = keras.models.clone_model(reader["model"])
    reader["model"].set_weights(fresh.get_weights())
    if "KerasSchedule" in snippet:
        reader = {**reader, "model": fresh}
    exec(compile(snippet, "docs/keras.md", "exec"), reader)


def example(name):
    return runpy.run_path(str(ROOT / "examples" / f"keras_{name}.py"))["main"]


def test_one_cycle_learns_the_digits(capsys):
    assert example("one_cycle")() > 0.85
    said = capsys.readouterr().out
    assert "Suggested lr for the peak" in said
    assert "momentum afterwards: 0.9" in said


def test_a_training_does_not_notice_the_range_tests_of_the_example(capsys):
    assert example("range_test")()
    assert "Adam: Suggested lr for the peak" in capsys.readouterr().out


def test_the_cyclical_example_tells_the_values(capsys):
    callback = example("cyclical")()
    assert len(callback.history["step"]) == 8 * 45
    assert "beta_1 was lowest: 0.85" in capsys.readouterr().out


def test_the_policy_of_the_example_cools_down_and_stops(capsys):
    callback = example("policy")()
    steps, total = len(callback.history["step"]), callback.policy.total_steps
    assert steps == total < 30 * 45
    assert callback.history["learning_rate"][-1] == 0.0
    assert f"{total} updates, the last with an lr of 0" in capsys.readouterr().out
