"""What the tests of the rewind engine share."""

from lrsched.rewind.registry import new_registry
from lrsched.rewind.snapshot import Snapshot

REGISTRY = new_registry()


class Bag:
    """An object of the user's, with attributes of any kind."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def snapshot(value, **options):
    """A snapshot of an object that has a value in its attribute `kept`."""
    return Snapshot([("model", Bag(kept=value))], REGISTRY, **options)
