"""Processes that train together: DDP, FSDP2, Accelerate and Lightning."""

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from tests.lrsched_torch.integrations.processes import run

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("needs a PyTorch with gloo", allow_module_level=True)

# What is done in the two processes, as far as its packages are there.
PARTS = ["range_test:ddp", "range_test:fsdp"]
if find_spec("accelerate") is not None:
    PARTS.append("range_test:accelerate")
if find_spec("lightning") is not None:
    PARTS += ["lightning:ddp", "lightning:fsdp"]


def of_each_kind(part):
    kinds = [kind for name, kind in (each.split(":") for each in PARTS) if name == part]
    return pytest.mark.parametrize("kind", kinds)


# What happens in the middle of a training, beside that in which nothing does.
BETWEEN = {
    "twice": "nothing",
    "at the start": "nothing at the start",
    "not_a_number_on_one": "nothing",
    "evaluation_and_test": "evaluation",
    "error_in_forward": "nothing",
    "error_in_loss": "nothing",
}


@pytest.fixture(scope="module")
def reports():
    """By part, what two processes say of everything that happened in them."""
    first, second = run("worker.py", *PARTS)
    return {part: (first[part], second[part]) for part in PARTS}


@pytest.fixture(scope="module")
def alone():
    """The same from one process with Accelerate."""
    pytest.importorskip("accelerate", reason="needs accelerate, of the integrations extra")
    return run("worker.py", "range_test:accelerate", processes=1)[0]["range_test:accelerate"]


@of_each_kind("range_test")
def test_the_schedule_is_stepped_once_for_every_common_update(kind, reports):
    """Accelerate makes one with every second batch, and counts each process as a step."""
    first, second = (report["nothing"] for report in reports[f"range_test:{kind}"])
    updates = 8 if kind == "accelerate" else 16
    assert first["lrs"] == second["lrs"] == list(lrsched.one_cycle(0.05, 60).values(updates))
    assert first["losses"] != second["losses"]
    if kind != "fsdp":  # else each has a part of the weights
        assert first["end"]["first.weight"] == second["end"]["first.weight"]


def assert_no_trace(report, between, baseline):
    # The evaluation itself counts a call of the model, and opens shards.
    if baseline != "evaluation":
        assert report[between]["changed"] == []
    assert report[between]["losses"] == report[baseline]["losses"]
    assert report[between]["end"] == report[baseline]["end"]


@of_each_kind("range_test")
@pytest.mark.parametrize("between", BETWEEN)
def test_training_after_it_is_bitwise_training_without_it(kind, between, reports):
    for report in reports[f"range_test:{kind}"]:
        assert_no_trace(report, between, BETWEEN[between])


@pytest.mark.parametrize("between", BETWEEN)
def test_accelerate_in_one_process_goes_on_bitwise_too(between, alone):
    assert_no_trace(alone, between, BETWEEN[between])


def test_shards_survive_an_error_in_the_middle_of_the_backward_pass(reports):
    for report in reports["range_test:fsdp"]:
        assert report["error_in_backward"]["said"] is True
        assert_no_trace(report, "error_in_backward", "nothing")


@of_each_kind("range_test")
def test_all_processes_have_the_curve_of_the_mean_loss(kind, reports):
    first, second = (report["twice"]["said"] for report in reports[f"range_test:{kind}"])
    assert first["curve"] == second["curve"]
    assert first["lr"] == second["lr"]
    assert 20 < len(first["curve"]) <= 40
    assert first["own"][0] != second["own"][0]
    mean = np.mean([first["own"], second["own"]], axis=0)[: len(first["curve"])]
    np.testing.assert_allclose(first["curve"], mean, rtol=1e-6)
    assert not any("could not put back" in note for note in first["notes"])


@of_each_kind("range_test")
def test_a_nan_in_one_process_stops_all_at_the_same_step(kind, reports):
    for report in reports[f"range_test:{kind}"]:
        said = report["not_a_number_on_one"]["said"]
        assert said["length"] == 14
        assert "non-finite" in said["reason"]


@of_each_kind("range_test")
def test_the_errors_did_happen(kind, reports):
    for report in reports[f"range_test:{kind}"]:
        said = [value["said"] for name, value in report.items() if name.startswith("error")]
        assert said == [True] * (3 if kind == "fsdp" else 2)


@of_each_kind("lightning")
def test_lightning_finds_one_lr_for_all_and_trains_as_with_it_by_hand(kind, reports):
    first, second = reports[f"lightning:{kind}"]
    assert first["said"] == second["said"]
    assert first["said"]["lr"] != 0.001
    assert len(first["said"]["curve"]) > 20
    for report in (first, second):
        assert report["found"] == report["by hand"] == report["after lr_find"]
    assert first["said"]["curve without a fit"] == first["said"]["curve"]
    assert first["found"]["losses"] != second["found"]["losses"]
