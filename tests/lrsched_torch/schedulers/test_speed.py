"""Bytecodes per step, which are the same in every run; times are in benchmarks/torch_step.py."""

import runpy
import sys

import pytest

pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


# As many steps as share the cost of a block of values where that shows, and fewer where not.
@pytest.mark.parametrize(("width", "calls"), [(1, 2048), (10, 512), (100, 128)])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_step_executes_few_bytecodes(width, calls, repo, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    benchmark = runpy.run_path(str(repo / "benchmarks" / "torch_step.py"))
    for kind, bounds in benchmark["OPCODE_BOUNDS"].items():
        if width in bounds:
            assert benchmark["opcode_ratio"](width, kind, calls) <= bounds[width], kind
