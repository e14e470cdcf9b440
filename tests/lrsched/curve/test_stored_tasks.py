"""The default rule on the range tests that are stored with the benchmarks."""

import numpy as np
import pytest

from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import suggest
from lrsched.range_test import RangeTest
from tests.lrsched.helpers import stopped

NUMBERS = {"public tasks": 22, "new kinds": 16, "fresh tasks": 10}
STEPS = {100: "two_100", 300: "two_300", 600: "two_600"}


CHECKED = ("e7_100", "e8_100", "kt_1852", "two_300")


def test_ours_is_scored_on_the_sweep_that_a_range_test_makes(yardstick):
    for steps, sweep in yardstick.TWO_SPEED.items():
        planned = RangeTest(num_steps=steps).planned_lr
        assert yardstick.SWEEPS[sweep].tolist() == planned.tolist()


@pytest.mark.parametrize("kind", NUMBERS)
def test_stopping_changes_no_answer(tasks, yardstick, kind):
    shortened = 0
    for task in tasks[kind]:
        for sweep, curves in ((name, task.curves[name]) for name in CHECKED):
            planned = yardstick.SWEEPS[sweep]
            for lr, loss in curves:
                curve, _ = stopped(lr, loss, planned)
                if len(curve) < len(lr):  # else there is nothing to compare
                    whole = LossCurve(lr, loss, num_steps=len(planned))
                    assert curve.suggest() == whole.suggest(), task.name
                    assert curve.cyclical_range() == whole.cyclical_range(), task.name
                    shortened += 1
    assert shortened > 80


@pytest.fixture(scope="module")
def suggestions(tasks):
    """{(kind, steps): (task, truth, suggestion) of every sweep and schedule}."""
    return {
        (kind, steps): [
            (task, truth, suggest(lr, loss, schedule=schedule, num_steps=steps))
            for task in members
            for lr, loss in task.curves[sweep]
            for schedule, truth in task.truths.items()
        ]
        for kind, members in tasks.items()
        for steps, sweep in STEPS.items()
    }


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_the_page_shows_what_suggestions_are_worth(suggestions, repo, kind, steps):
    regrets = [
        truth.regret(found.lr or task.habit) for task, truth, found in suggestions[kind, steps]
    ]
    assert len(regrets) == NUMBERS[kind] * 3 * 2
    page = (repo / "docs" / "suggestion.md").read_text(encoding="utf8").splitlines()
    title = next(line for line in page if line.startswith("| mean regret [95% interval]"))
    row = next(line for line in page if line.startswith(f"| **ours@{steps}** |"))
    shown = row.split(" | ")[title.split(" | ").index(kind)]
    assert shown.startswith(f"{np.mean(regrets):.3f} ")


SWEPT = (
    ("public tasks", "equal ratios", "e7_300"),
    ("fresh tasks", "two speeds", "two_400"),
    ("held back", "two speeds", "two_300"),
)


@pytest.mark.parametrize(("kind", "pace", "sweep"), SWEPT)
def test_the_page_shows_what_sweeps_are_worth(tasks, yardstick, repo, kind, pace, sweep):
    steps = len(yardstick.SWEEPS[sweep])
    regrets = [
        truth.regret(suggest(lr, loss, schedule=schedule, num_steps=steps).lr or task.habit)
        for task in tasks[kind]
        for lr, loss in task.curves[sweep]
        for schedule, truth in task.truths.items()
    ]
    page = (repo / "docs" / "suggestion.md").read_text(encoding="utf8").splitlines()
    at = next(i for i, line in enumerate(page) if line.startswith("| updates |"))
    row = next(line for line in page[at:] if line.startswith(f"| {steps} |"))
    shown = row.strip("| ").split(" | ")[page[at].strip("| ").split(" | ").index(f"{kind}, {pace}")]
    assert shown == f"{np.mean(regrets):.3f}"


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_the_page_shows_how_far_confidence_is_deserved(suggestions, repo, kind, steps):
    answers = [(found, truth) for _, truth, found in suggestions[kind, steps] if found.lr]
    sure = np.array([truth.regret(found.lr) for found, truth in answers if found.confident])
    doubts = [truth.regret(found.lr) for found, truth in answers if not found.confident]
    ends = [truth.regret(end) < 0.25 for found, truth in answers for end in found.band]
    silent = len(suggestions[kind, steps]) - len(answers)
    row = (
        f"| {kind}, {steps} | {np.mean(sure < 0.25):.0%} of {len(sure)} | {sure.mean():.3f} | "
        f"{len(doubts)} | {f'{np.mean(doubts):.3f}' if doubts else ''} | {silent} | "
        f"{np.mean(ends):.0%} |"
    )
    assert row in (repo / "docs" / "suggestion.md").read_text(encoding="utf8")
