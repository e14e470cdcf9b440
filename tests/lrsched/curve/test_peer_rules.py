"""Peers' rules by name: equal to what the peers themselves suggest from the same raw losses."""

import copy
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.peer_rules import ALIASES, PEERS, debiased_mean, evenly_spaced, valley_index
from lrsched.curve.suggestion import suggest
from lrsched.range_test import RangeTest
from lrsched.schedules import two_speed_sweep
from tests.lrsched.helpers import drive


def slow_valley_index(losses):
    """The definition, in O(n^2)."""
    lengths, longest, end, start = [1] * len(losses), 1, 0, 0
    for i in range(1, len(losses)):
        before = [lengths[j] for j in range(i) if losses[j] > losses[i]]
        lengths[i] = 1 + max(before, default=0)
        if lengths[i] > longest:
            longest, end = lengths[i], i
            start = end - longest
    third = (end - start) / 3
    return start + int(third) + int(third / 2)


@given(st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats()), min_size=1, max_size=60))
def test_valley_by_patience_sorting_finds_the_same_index(losses):
    assert valley_index(np.array(losses)) == slow_valley_index(losses)


@pytest.fixture(scope="module")
def golden(repo):
    return json.loads((repo / "tests/golden/peer_rules.json").read_text(encoding="utf8"))


@pytest.mark.parametrize("name", PEERS)
def test_rules_equal_the_peers_to_the_last_bit(golden, name):
    for row in golden["curves"]:
        if name in row["lr"]:
            found = LossCurve.from_dict(row["curve"]).suggest(method=name)
            assert found.lr == row["lr"][name], row["name"]


def check_answers(yardstick, tasks, sweep, name, answers):
    """On every stored task; the learning rates of a sweep are a percent or more apart."""
    for task in (*tasks["new kinds"], *tasks["fresh tasks"]):
        lr, loss = task.curves[sweep][0]
        found = suggest(lr, loss, method=name, num_steps=len(yardstick.SWEEPS[sweep])).lr
        theirs = answers[task.name][name]
        if theirs is None:
            assert found is None, task.name
        else:
            assert found == pytest.approx(theirs, rel=1e-9, abs=0), task.name


@pytest.mark.parametrize("sweep", ["e7_100", "e7_300", "e8_100", "kt_1852"])
@pytest.mark.parametrize("name", PEERS)
def test_rules_equal_the_peers_on_every_stored_task(golden, yardstick, tasks, name, sweep):
    """On every sweep, not only on that which the peer makes by default."""
    check_answers(yardstick, tasks, sweep, name, golden["tasks"][sweep])


def test_a_wrong_answer_is_seen(golden, yardstick, tasks):
    answers = copy.deepcopy(golden["tasks"]["kt_1852"])
    answers[tasks["fresh tasks"][-1].name]["ktrain_valley"] *= 1.01
    with pytest.raises(AssertionError):
        check_answers(yardstick, tasks, "kt_1852", "ktrain_valley", answers)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_plateau_is_smoothed_to_the_last_bit_as_the_owners_do(extra):
    """Where the mean of equal losses differs by its rounding alone decides their rules."""
    smooth, mean = debiased_mean(np.full(300, 2.3), extra), 0.0
    for i in range(300):
        mean = 0.98 * mean + (1 - 0.98) * 2.3
        assert smooth[i] == mean / (1 - 0.98 ** (i + 1 + extra))


def test_an_empty_curve_has_no_suggestions_and_raises_nothing():
    found = LossCurve([], []).suggestions()
    assert list(found) == ["plateau", *PEERS]
    assert all(one.lr is None for one in found.values())


@pytest.mark.parametrize("name", ["fastai_valley", "ignite", "ktrain_min10"])
def test_a_sweep_of_two_speeds_is_resampled_for_peers(name):
    """They take points to be equally far apart in log lr."""
    two = two_speed_sweep(1e-7, 10, 300).values()
    even = np.geomspace(1e-7, 10, 300)
    losses = [np.interp(np.log10(lr), [-7, -4, -2, -1, 1], [2, 2, 1, 0.5, 6]) for lr in (two, even)]
    found, plain = suggest(two, losses[0], method=name), suggest(even, losses[1], method=name)
    assert found.lr == pytest.approx(plain.lr, rel=0.07)  # a point, of 37 a decade
    assert found.reason.endswith("resampled to even steps of log lr")
    assert "resampled" not in plain.reason


@pytest.mark.parametrize("num_steps", [120, 150, 300])
@pytest.mark.parametrize("own_lr", [2e-5, 1e-3, 0.1])
def test_every_rule_says_that_the_default_sweep_is_not_even(num_steps, own_lr):
    test = RangeTest(num_steps=num_steps)
    test.place_knee(own_lr)
    drive(test)
    assert test.curve.stop_reason == "diverged"
    for name in PEERS:
        assert "resampled to even steps of log lr" in test.curve.suggest(method=name).reason


@pytest.mark.parametrize("digits", [2, 3])
def test_a_sweep_whose_lrs_a_logger_has_rounded_is_even(digits):
    lr = np.array([float(f"{each:.{digits}g}") for each in np.geomspace(1e-7, 10, 300)])
    assert evenly_spaced(lr, lr)[0] is lr


@pytest.mark.parametrize("sweep", ["e7_100", "e7_300", "e8_100", "kt_1852"])
def test_the_peers_own_sweeps_and_linear_ones_are_read_as_they_are(yardstick, sweep):
    for lr in (yardstick.SWEEPS[sweep], np.linspace(1e-5, 1, 100)):
        assert evenly_spaced(lr, lr)[0] is lr


def test_an_answer_outside_the_sweep_is_kept_and_said_to_be():
    lr = np.geomspace(1e-3, 1, 100)
    found = suggest(lr, np.linspace(1, 2, 100), method="ktrain_min10")
    assert found.lr == lr[0] / 10
    assert "lies outside the sweep, which went from 0.001 to 1" in found.reason
    inside = suggest(np.geomspace(1e-7, 10, 100), np.linspace(2, 1, 100), method="ktrain_min10")
    assert "outside" not in inside.reason


def test_a_plan_too_long_to_continue_is_no_memory_error():
    losses = np.append(np.linspace(2, 1, 50), np.nan)
    found = suggest(np.geomspace(1e-7, 1, 51), losses, method="fastai_valley", num_steps=10**12)
    assert found.lr is None
    assert "too long to continue" in found.reason


def test_the_stored_answers_tell_rules_and_curves_apart(golden):
    for name in PEERS:
        assert len({row["lr"].get(name) for row in golden["curves"]}) > 1
    for row in golden["curves"]:
        assert len(set(row["lr"].values())) > 5


def test_a_rule_that_fails_says_so_or_gives_way_to_the_fallback():
    curve = np.geomspace(1e-5, 1, 12), np.linspace(2, 1, 12)
    found = suggest(*curve, method="torch_lr_finder")
    assert found.lr is None
    assert "it needs 17 points, got 12" in str(found)
    assert not found.confident
    found = suggest(*curve, method="slide", fallback=0.01)
    assert (found.lr, found.method) == (0.01, "fallback")


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_short_names_are_the_same_rules(golden, alias, name):
    curve = LossCurve.from_dict(golden["curves"][0]["curve"])
    assert curve.suggest(method=alias) == curve.suggest(method=name)


def test_suggestions_hold_every_rule_by_name_ours_first(golden):
    curve = LossCurve.from_dict(golden["curves"][0]["curve"])
    found = curve.suggestions()
    assert list(found) == ["plateau", *PEERS]
    assert found["plateau"] == curve.suggest()
    assert all(found[name].method == name for name in PEERS)
    assert "ignite suggests lr" in str(found["ignite"])


def test_the_page_lists_the_rules_by_name(repo):
    page = (repo / "docs" / "api" / "core.md").read_text(encoding="utf8")
    table = page.partition("### Other packages' rules")[2].partition("| --- | --- |")[2]
    assert set(re.findall(r"`(\w+)`", table)) == {*PEERS, *ALIASES}


@given(
    losses=st.lists(st.one_of(st.floats(0, 5), st.floats()), min_size=10, max_size=60),
    planned=st.integers(60, 100),
)
def test_no_rule_raises_on_any_curve(losses, planned):
    curve = LossCurve(np.geomspace(1e-7, 10, len(losses)), losses, num_steps=planned)
    for name, found in curve.suggestions().items():
        assert found.lr is None or found.lr > 0, name
