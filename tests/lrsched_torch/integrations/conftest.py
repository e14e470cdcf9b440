"""What tests here import is no module of tests; and the warnings of trainers are theirs."""

import pytest

collect_ignore_glob = ["lightning_training.py", "processes.py", "worker*.py"]

OF_TRAINERS = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    *(f"ignore::UserWarning:{name}" for name in ("accelerate", "lightning", "transformers")),
    "ignore:.*does not have many workers",
    # of JAX, where other tests have imported it
    "ignore:os.fork",
)


def pytest_itemcollected(item):
    item.add_marker(OF_TRAINERS)
