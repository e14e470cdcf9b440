"""The default rule on the range tests that are stored with the benchmarks."""

import numpy as np
import pytest

from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import suggest
from tests.lrsched.helpers import stopped

TITLES = {
    "public tasks": "The 22 public tasks",
    "new kinds": "The 16 new kinds",
    "fresh tasks": "The ten fresh tasks",
}
NUMBERS = {"public tasks": 22, "new kinds": 16, "fresh tasks": 10}
STEPS = {100: "e7_100", 300: "e7_300", 1852: "kt_1852"}


@pytest.mark.parametrize("kind", TITLES)
def test_stopping_changes_no_answer(tasks, yardstick, kind):
    shortened = 0
    for task in tasks[kind]:
        for sweep, curves in task.curves.items():
            planned = yardstick.plan(sweep, task.family)
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
@pytest.mark.parametrize("kind", TITLES)
def test_the_page_shows_what_suggestions_are_worth(suggestions, repo, kind, steps):
    regrets = [
        truth.regret(found.lr or task.habit) for task, truth, found in suggestions[kind, steps]
    ]
    assert len(regrets) == NUMBERS[kind] * 3 * 2
    page = (repo / "docs" / "suggestion.md").read_text(encoding="utf8")
    table = page.partition(TITLES[kind])[2]
    row = table[table.index(f"| **ours@{steps}** |") :]
    assert row.startswith(f"| **ours@{steps}** | {np.mean(regrets):.3f} ")


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", TITLES)
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
