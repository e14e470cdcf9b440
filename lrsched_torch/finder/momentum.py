"""The momentum of a range test: that of the optimizer itself, not that of a scheduler's step 0."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from lrsched_torch.param_groups import MOMENTUM, Group
from lrsched_torch.update_counter import counters_of


def own_momenta(optimizer: Optimizer) -> list[float | None]:
    """Return what each group had for momentum, or beta_1, before a scheduler drove it.

    A one-cycle scheduler sets its high momentum when it is built, with which no training meets the
    learning rates that are looked for. Where the optimizer has it off, it is the lowest momentum of
    the schedule. None stands for a group whose momentum is left alone.
    """
    found = [counter.momenta for counter in counters_of(optimizer)]
    defaults: Group = getattr(optimizer, "defaults", {})
    return [
        next(
            (momenta[i] for momenta in found if i < len(momenta) and momenta[i] is not None),
            _own(group, defaults),
        )
        for i, group in enumerate(optimizer.param_groups)
    ]


def _own(group: Group, defaults: Group) -> float | None:
    """Return the same for a group whose momentum a OneCycleLR or CyclicLR of torch has set.

    They keep their bounds in the group, and not what was there before.
    """
    if "base_momentum" not in group or not MOMENTUM.fits(defaults):
        return None
    return MOMENTUM.read(defaults) or float(group["base_momentum"])


def momentum_note(groups: list[Group], momenta: list[Any]) -> str | None:
    """Return a sentence on the momentum of a range test, if it is not the one of before."""
    pairs = [
        (own, present)
        for group, own in zip(groups, momenta, strict=True)
        if own is not None and own != (present := MOMENTUM.read(group))
    ]
    if not pairs:
        return None
    had, other = (_listed(values) for values in zip(*pairs, strict=True))
    return (
        f"The range test had momentum {had}, that of the optimizer itself, where a scheduler has "
        f"set {other}."
    )


def _listed(values: Any) -> str:
    return " and ".join(f"{value:.3g}" for value in dict.fromkeys(values))
