"""The range test in DDP, FSDP2, Accelerate and Lightning: one curve for all, and no trace."""

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from tests.lrsched_torch.integrations.processes import run

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("needs a PyTorch with gloo", allow_module_level=True)

KINDS = ["ddp", "fsdp", "accelerate"]
if find_spec("accelerate") is None:
    KINDS.remove("accelerate")

# What happens in the middle of a training, beside that in which nothing does.
BETWEEN = {
    "twice": "nothing",
    "at the start": "nothing at the start",
    "not_a_number_on_one": "nothing",
    "evaluation_and_test": "evaluation",
    "error_in_loss": "nothing",
    "error_before_backward": "nothing",
    "error_in_forward": "nothing",
}


@pytest.fixture(scope="module")
def reports():
    """By kind, what two processes say of everything that happened in them."""
    first, second = run("range_worker.py", *KINDS)
    return {kind: (first[kind], second[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def alone():
    """The same from one process with Accelerate."""
    if "accelerate" not in KINDS:
        pytest.skip("needs accelerate, of the integrations extra")
    return run("range_worker.py", "accelerate", processes=1)[0]["accelerate"]


def assert_no_trace(report, between, baseline):
    # The evaluation itself counts a call of the model, and opens shards.
    if baseline != "evaluation":
        assert report[between]["changed"] == []
    assert report[between]["losses"] == report[baseline]["losses"]
    assert report[between]["end"] == report[baseline]["end"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("between", BETWEEN)
def test_training_after_it_is_bitwise_training_without_it(kind, between, reports):
    for report in reports[kind]:
        assert_no_trace(report, between, BETWEEN[between])


@pytest.mark.parametrize("between", BETWEEN)
def test_accelerate_in_one_process_goes_on_bitwise_too(between, alone):
    assert_no_trace(alone, between, BETWEEN[between])


def test_shards_survive_an_error_in_the_middle_of_the_backward_pass(reports):
    for report in reports["fsdp"]:
        assert report["error_in_backward"]["said"] is True
        assert_no_trace(report, "error_in_backward", "nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_all_processes_have_the_curve_of_the_mean_loss(kind, reports):
    first, second = (report["twice"]["said"] for report in reports[kind])
    assert first["curve"] == second["curve"]
    assert first["lr"] == second["lr"]
    assert 20 < len(first["curve"]) <= 40
    assert first["own"][0] != second["own"][0]
    mean = np.mean([first["own"], second["own"]], axis=0)[: len(first["curve"])]
    np.testing.assert_allclose(first["curve"], mean, rtol=1e-6)
    assert not any("could not put back" in note for note in first["notes"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_in_one_process_stops_all_at_the_same_step(kind, reports):
    for report in reports[kind]:
        said = report["not_a_number_on_one"]["said"]
        assert said["length"] == 14
        assert "non-finite" in said["reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_errors_did_happen(kind, reports):
    for report in reports[kind]:
        said = [value["said"] for name, value in report.items() if name.startswith("error")]
        assert said == [True] * (4 if kind == "fsdp" else 3)


def test_lightning_finds_one_lr_for_all_processes_and_trains_as_with_it_by_hand():
    pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")
    first, second = run("lightning_worker.py")
    for kind in ("ddp", "fsdp"):
        assert first[kind]["said"] == second[kind]["said"]
        assert first[kind]["said"]["lr"] != 0.001
        assert len(first[kind]["said"]["curve"]) > 20
        for report in (first[kind], second[kind]):
            assert report["found"] == report["by hand"]
        assert first[kind]["found"]["losses"] != second[kind]["found"]["losses"]
