"""Leaves out the doctests of modules that need packages which are not installed."""

from importlib.util import find_spec

# Without it, pytest would pass over a test module that cannot be imported for any other reason.
NEEDS = {
    "lrsched/cli.py": "typer",
    "*lrsched_torch/*": "torch",
    "lrsched_torch/lightning/*": "lightning",
    "tests/golden/make_*": "optax",
}
collect_ignore_glob = [path for path, package in NEEDS.items() if find_spec(package) is None]
