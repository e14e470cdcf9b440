"""Results as JSON lines: a run goes on from what is finished, and never from another run's."""

import numpy as np
import pytest

from lrsched import LossCurve
from lrsched.experiments.record import Record
from lrsched.experiments.training import Training

HEADER = {"experiment": "any", "images": 100}
WHOLE = {**HEADER, "software": "Any 1.0"}
CURVE = LossCurve(np.geomspace(1e-5, 1, 20), np.r_[np.linspace(2, 1, 19), np.nan])
TRAINING = Training([2.0, 1.0], [(1.5, 0.5), (1.0, 0.75)], 0.1)


def never():
    raise AssertionError("this is in the file")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "any.jsonl"
    record = Record(path, WHOLE)
    record.find("sweep", 0, lambda: CURVE)
    record.train("a", 0, lambda: TRAINING)
    record.train("a", 1, lambda: TRAINING)
    return path


@pytest.mark.parametrize("header", [HEADER, WHOLE])
def test_what_is_finished_is_read_and_not_made_again(path, header):
    record = Record(path, header)
    assert record.find("sweep", 0, never) == CURVE
    record.train("a", 1, never)
    assert record.results.software == "Any 1.0"
    assert record.results.trainings["a"][0].accuracies == [0.5, 0.75]
    assert record.results.seconds["train", "a", 1] >= 0
    assert list(record.results.of(1).trainings["a"]) == [0]


def test_an_interrupt_leaves_what_was_finished(path):
    def interrupted():
        raise KeyboardInterrupt

    before = path.read_text()
    record = Record(path, WHOLE)
    with pytest.raises(KeyboardInterrupt):
        record.train("b", 0, interrupted)
    assert path.read_text() == before
    Record(path, WHOLE).train("b", 0, lambda: TRAINING)
    assert set(Record(path, WHOLE).results.trainings) == {"a", "b"}


def test_a_line_that_was_cut_off_is_made_again(path):
    path.write_text(path.read_text()[:-10])
    record = Record(path, WHOLE)
    assert list(record.results.trainings["a"]) == [0]
    record.train("a", 1, lambda: TRAINING)
    assert list(Record(path, WHOLE).results.trainings["a"]) == [0, 1]


def test_a_look_at_a_file_changes_nothing(tmp_path, path):
    before = path.read_text()
    Record(path, HEADER)
    assert path.read_text() == before
    Record(tmp_path / "none.jsonl", HEADER)
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize(
    "changes", [{"images": 200}, {"experiment": "other"}, {"software": "Any 2.0"}, {"epochs": 3}]
)
def test_results_of_another_run_are_refused_and_stay(path, changes):
    before = path.read_text()
    name = next(iter(changes))
    message = rf"{name} .* where this has .*\(pass another --out, or move it away\)"
    with pytest.raises(ValueError, match=message):
        Record(path, {**WHOLE, **changes})
    assert path.read_text() == before


@pytest.mark.parametrize("text", ["a,b\n", "{}\n", "[1]\n", "3\n", '{"format": 2}\n'])
def test_a_file_of_something_else_is_refused_and_stays(tmp_path, text):
    path = tmp_path / "any.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="must hold results of"):
        Record(path, WHOLE)
    assert path.read_text() == text
