"""Where a sweep has diverged, and that a plateau is no divergence."""

import json

import numpy as np
import pytest

from lrsched.curve.divergence import Divergence
from lrsched.curve.loss_curve import LossCurve
from lrsched.range_test import RangeTest

LR = np.geomspace(1e-7, 10, 300)


@pytest.fixture(scope="module")
def plateaus(repo):
    """Of a deep tanh net with tiny weights: flat to 1e-3, then a drop, and a real divergence."""
    text = (repo / "tests/golden/plateau.json").read_text(encoding="utf8")
    return json.loads(text)["curves"]


def flat(seed, growth=1.0):
    """A flat loss whose tiny noise grows with the lr, as that of weights near zero does."""
    noise = np.random.default_rng(seed).standard_normal(LR.size)
    return 2.3027 + 2e-4 * noise * np.maximum(1, LR / 1e-4) ** growth


@pytest.mark.parametrize("sweep", ["exponential", "two_speed"])
def test_a_sweep_passes_a_real_plateau_and_stops_at_its_divergence(plateaus, sweep):
    plateau, test = LossCurve.from_dict(plateaus[sweep]), RangeTest(sweep=sweep)
    test.record_all(plateau.loss.tolist())
    curve = test.curve
    np.testing.assert_allclose(curve.lr, plateau.lr[: len(curve)], rtol=1e-12)
    assert curve.stop_reason == "diverged"
    assert 0.03 < curve.lr[-1] < 0.3
    found = curve.suggest()
    # The lowest losses lie from 2e-3 to 2e-2.
    assert 2e-3 < found.lr < 2e-2
    assert found.lr == pytest.approx(plateau.suggest().lr)


@pytest.mark.parametrize("growth", [0.3, 0.5, 1.0])
def test_noise_that_grows_with_the_lr_is_no_divergence(growth):
    stopped = [Divergence(2.0, 300).first(flat(seed, growth).tolist()) for seed in range(40)]
    assert stopped.count(None) >= 39


@pytest.mark.parametrize("seed", range(5))
def test_a_divergence_ends_a_plateau(seed):
    loss = flat(seed, 0.5)
    loss += np.where(LR > 0.1, (LR / 0.1) ** 3 - 1, 0.0)
    found = Divergence(2.0, 300).first(loss.tolist())
    assert 0.1 < LR[found] < 0.2


def test_a_drop_is_the_yardstick_of_a_rise_however_much_that_scatters(tasks):
    """Lion's losses jump about ever higher when it has diverged."""
    lion = next(task for task in tasks["new kinds"] if task.name == "k_digits_lion_b32")
    for lr, loss in lion.curves["e7_300"]:
        found = Divergence(2.0, 300).first(loss.tolist())
        assert 0.2 < lr[found] < 0.4
