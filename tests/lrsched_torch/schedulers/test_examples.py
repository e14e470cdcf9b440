"""The PyTorch examples run and do what they say."""

import runpy

import pytest

pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


@pytest.fixture
def example(repo):
    """The `main` of an example."""
    return lambda name: runpy.run_path(str(repo / "examples" / f"torch_{name}.py"))["main"]


def test_the_plain_loop_learns_the_digits(example):
    pytest.importorskip("sklearn", reason="needs scikit-learn and its digits, of the all extra")
    assert example("plain_loop")() > 0.9


def test_amp_and_accumulation_count_the_updates_made(example):
    made, skipped = example("amp_accumulation")()
    assert skipped > 0
    assert made + skipped == 30


def test_discriminative_lrs_end_together(example):
    lrs = example("discriminative_lrs")()
    assert lrs == pytest.approx([peak / 25 / 1e4 for peak in (0.01, 0.003, 0.001)])


def test_resuming_changes_nothing(example, capsys):
    assert example("resume")() is True
    assert "kept the new schedule: step 37 of 200" in capsys.readouterr().out


def test_a_policy_in_yaml_is_cooled_down_in_mid_run(example):
    pytest.importorskip("yaml", reason="needs PyYAML, of the cli extra")
    updates, lr = example("policy")()
    assert updates < 200
    assert lr == 0.0


def test_a_range_test_in_the_middle_changes_nothing(example, capsys):
    assert example("range_test")() is True
    assert "Suggested lr" in capsys.readouterr().out
