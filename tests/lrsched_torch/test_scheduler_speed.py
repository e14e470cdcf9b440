"""Bytecodes per step, which are the same in every run; times are in benchmarks/torch_step.py."""

import runpy
import sys

import pytest

pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")


@pytest.mark.parametrize("width", [1, 10, 100])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_step_executes_few_bytecodes(width, repo, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    benchmark = runpy.run_path(str(repo / "benchmarks" / "torch_step.py"))
    for kind in ("lr", "lr and momentum", "lr and beta_1"):
        ratio = benchmark["opcode_ratio"](width, kind, calls=256)
        assert ratio <= benchmark["OPCODE_BOUNDS"][width]
