"""The range tests and trainings that are stored with the benchmarks, read once."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="session")
def stored(repo):
    """The benchmarks' reader of the stored tasks."""
    path = repo / "benchmarks" / "suggestion_data.py"
    spec = importlib.util.spec_from_file_location("suggestion_data", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tasks(stored):
    """{name of the set on the page: its tasks}, each with the curves of three sweeps a protocol."""
    return {"new kinds": stored.new_tasks(), "fresh tasks": stored.fresh_tasks()}
