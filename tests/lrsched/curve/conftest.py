"""The range tests and trainings that are stored with the benchmarks, read once."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="session")
def yardstick(repo):
    """The benchmarks' reader of the stored tasks."""
    path = repo / "benchmarks" / "lr_finders" / "yardstick.py"
    spec = importlib.util.spec_from_file_location("yardstick", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tasks(yardstick):
    """{name of the set on the page: its tasks}, each with the curves of three runs of a sweep."""
    return {title: yardstick.tasks(name) for name, title in yardstick.SETS.items()}
