"""The suggestion benchmark beside the repository, for the tests that need its stored curves."""

import importlib.util
import io
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bench(shared):
    """The benchmark's score module; `bench.store` has its curves, `bench.peers` its rules."""
    folder = shared / "suggestion_bench"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("lrbench_score", folder / "score.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    # It leaves its files open, which is an error in this test run.
    module.store.open = lambda path: io.StringIO(Path(path).read_text(encoding="utf8"))
    return module
