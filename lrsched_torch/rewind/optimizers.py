"""Optimizers: their state, groups, attributes, hooks, and what our schedulers count on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer

from lrsched.rewind.kinds import Access, Child, Kind, Restore
from lrsched_torch.rewind.modules import capture_tables, hooks_in
from lrsched_torch.update_counter import counters_of

HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def _children(optimizer: Optimizer) -> Iterator[Child]:
    yield ".state", optimizer.state, Access.WHOLE
    yield ".param_groups", optimizer.param_groups, Access.WHOLE
    yield from hooks_in(optimizer, HOOKS)


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    """Return the attributes beside hooks; torch's schedulers leave marks there."""
    return {
        name: value for name, value in vars(optimizer).items() if not name.startswith("_optimizer_")
    }


def _capture(optimizer: Optimizer) -> Restore:
    hooks = capture_tables(optimizer, HOOKS)
    # The updates of the test are none of the schedule's.
    counts = [counter.hold() for counter in counters_of(optimizer)]

    def restore() -> None:
        hooks()
        for count in counts:
            count()

    return restore


OPTIMIZER = Kind(_children, attributes=_attributes, capture=_capture)
