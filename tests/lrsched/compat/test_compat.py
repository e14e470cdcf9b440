"""`lrsched.compat` against what the peers themselves gave, step by step."""

import copy
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from lrsched import compat

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "schedules.json").read_text())
NAMES = {
    "OneCycleLR": "torch_one_cycle",
    "CyclicLR": "torch_cyclic",
    "CosineAnnealingLR": "torch_cosine_annealing",
    "CosineAnnealingWarmRestarts": "torch_cosine_annealing_warm_restarts",
    "LinearLR": "torch_linear",
    "ExponentialLR": "torch_exponential",
    "PolynomialLR": "torch_polynomial",
    "StepLR": "torch_step",
    "MultiStepLR": "torch_multi_step",
    "fit_one_cycle": "fastai_fit_one_cycle",
    "fit_flat_cos": "fastai_fit_flat_cos",
    "cosine_onecycle_schedule": "optax_cosine_onecycle",
    "linear_onecycle_schedule": "optax_linear_onecycle",
    "warmup_cosine_decay_schedule": "optax_warmup_cosine_decay",
    "CosineDecay": "keras_cosine_decay",
    "CosineDecayRestarts": "keras_cosine_decay_restarts",
    "PolynomialDecay": "keras_polynomial_decay",
    "InverseTimeDecay": "keras_inverse_time_decay",
    "get_cosine_schedule_with_warmup": "transformers_cosine_with_warmup",
    "get_linear_schedule_with_warmup": "transformers_linear_with_warmup",
    "get_wsd_schedule": "transformers_wsd",
}


LINEAR = compat.torch_linear(0.1)


def assert_reproduces(row: dict) -> None:
    built = getattr(compat, NAMES[row["call"]])(**row["args"])
    lr, momentum = built if isinstance(built, tuple) else (built, None)
    for schedule, recorded in ((lr, row["lr"]), (momentum, row["momentum"])):
        if recorded is None:
            assert schedule is None
            continue
        expected = np.array(recorded)
        steps = np.array(row.get("steps", range(len(expected))))
        exact = row["peer"] in ("torch", "fastai", "transformers")
        np.testing.assert_allclose(
            schedule(steps),
            expected,
            rtol=0 if exact else 2e-6,
            atol=(1e-12 if exact else 1e-7) * expected.max(),
        )


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['peer']}-{row['call']}")
def test_reproduces_the_peer(row):
    assert_reproduces(row)


@pytest.mark.parametrize("row", [GOLDEN[0], next(row for row in GOLDEN if "steps" in row)])
@pytest.mark.parametrize("column", ["lr", "momentum"])
def test_a_wrong_value_is_seen(row, column):
    row = copy.deepcopy(row)
    row[column][7] *= 1 + 1e-10
    with pytest.raises(AssertionError):
        assert_reproduces(row)


def test_every_function_is_compared_with_its_peer():
    # these are compared in tests/parity/differential.py
    elsewhere = {"fastai_fit_sgdr", "timm_cosine", "torch_sequential"}
    assert set(NAMES.values()) | elsewhere == set(compat.__all__)
    assert {row["call"] for row in GOLDEN} == set(NAMES)


@pytest.mark.parametrize("call", NAMES)
def test_every_option_is_compared_with_its_peer(call):
    options = set(inspect.signature(getattr(compat, NAMES[call])).parameters)
    assert options == set().union(*(row["args"] for row in GOLDEN if row["call"] == call))


def test_fit_sgdr_restarts_at_the_peak():
    lr = compat.fastai_fit_sgdr(n_cycles=3, cycle_len=10, lr_max=0.1)
    assert lr.total_steps == 70
    for start, length in ((0, 10), (10, 20), (30, 40)):
        position = np.arange(length) / length
        expected = 0.1 * (1 + np.cos(np.pi * position)) / 2
        np.testing.assert_allclose(lr(start + np.arange(length)), expected, atol=1e-13)


def test_what_repeats_before_a_milestone_takes_no_more_segments_than_it_has_values():
    halves = compat.torch_step(0.4, 10, gamma=0.5)
    lr = compat.torch_sequential([halves, LINEAR, halves], [30, 35])
    assert lr.values(31).tolist() == [0.4] * 10 + [0.2] * 10 + [0.1] * 10 + [LINEAR(0)]
    assert len(lr.segments) == 3 + 1 + 1
    assert lr(35) == 0.4
    assert lr(45) == 0.2


def test_without_cycled_momentum_the_pair_ends_in_none():
    assert compat.torch_one_cycle(0.1, 100, cycle_momentum=False)[1] is None
    assert compat.torch_cyclic(0.01, 0.1, 10, cycle_momentum=False)[1] is None


def test_one_cycle_holds_where_torch_turns_back():
    lr, momentum = compat.torch_one_cycle(0.1, 100, anneal_strategy="linear")
    assert lr(100) == lr(99) == lr(10**9) > 0
    assert momentum(100) == 0.95


def test_total_steps_may_come_from_epochs():
    assert compat.torch_one_cycle(0.1, epochs=4, steps_per_epoch=25)[0].total_steps == 100


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: compat.torch_one_cycle(0.1), "total_steps must be given"),
        (lambda: compat.torch_one_cycle(0.1, epochs=3), "total_steps must be given"),
        (
            lambda: compat.torch_one_cycle(0.1, 7, epochs=3, steps_per_epoch=2),
            r"epochs \* steps_per_epoch \(6\)",
        ),
        (lambda: compat.torch_one_cycle(0.1, 9, anneal_strategy="exp"), "anneal_strategy"),
        (lambda: compat.torch_cyclic(0.1, 0.01), "base_lr must be <= max_lr"),
        (lambda: compat.torch_exponential(0.1, gamma=0.0), "gamma must be > 0"),
        (lambda: compat.fastai_fit_one_cycle(0.1, 100, moms=(0.9, 0.8)), "three values"),
        (lambda: compat.optax_linear_onecycle(10, 0.1, 0.9, 0.5), "pct_start must be < pct_final"),
        (lambda: compat.keras_cosine_decay_restarts(0.1, 10, t_mul=1.0001), "10000 cycles"),
        (lambda: compat.keras_cosine_decay_restarts(0.1, 10, t_mul=0.5), "t_mul"),
        (lambda: compat.transformers_linear_with_warmup(0.1, 20, 10), "num_warmup_steps"),
        (lambda: compat.transformers_wsd(0.1, 5, 10), "num_training_steps must be given"),
        (lambda: compat.transformers_wsd(0.1, 5, 10, 14), r"num_warmup_steps \+ num_decay_steps"),
        (lambda: compat.timm_cosine(0.1, 10, cycle_mul=0.5), "cycle_mul"),
        (lambda: compat.torch_sequential([LINEAR, LINEAR], []), "one fewer than the 2 schedules"),
        (lambda: compat.torch_sequential([LINEAR] * 3, [9, 9]), "milestones must be < the next"),
        (lambda: compat.torch_sequential([], []), "one fewer than the 0 schedules"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
