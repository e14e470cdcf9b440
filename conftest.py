"""Leaves out scripts, and the doctests of modules that need packages which are not installed."""

from importlib.util import find_spec

# Without it, pytest would pass over a test module that cannot be imported for any other reason.
NEEDS = {
    "lrsched/cli.py": "typer",
    "lrsched/experiments/command.py": "typer",
    "*lrsched_torch/*": "torch",
    "lrsched_torch/lightning/*": "lightning",
    "lrsched_torch/experiments/lightning_fit.py": "lightning",
}
MISSING = [path for path, package in NEEDS.items() if find_spec(package) is None]
# The scripts have no doctests, and load every peer.
collect_ignore_glob = ["tests/golden/make_*", *MISSING]
