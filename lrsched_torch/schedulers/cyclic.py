"""CyclicLR with the arguments of torch's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer

from lrsched import Schedule, constant
from lrsched._validate import check_bool, check_choice, check_momentum
from lrsched.compat import torch_cyclic
from lrsched_torch.schedulers.group_schedules import ScaledByFunction, pair_per_group
from lrsched_torch.schedulers.schedule_lr import ScheduleLR


class CyclicLR(ScheduleLR):
    """Cyclical learning rates: between `base_lr` and `max_lr` and back, momentum opposite.

    The arguments and, on valid input, the values of torch's CyclicLR. What differs, on purpose:
    "triangular2" does not overflow; `param_groups` hold no state of it; groups added later join;
    momentum stays off where an optimizer has it at 0; and the step counts updates, not calls.
    See `ScheduleLR` for that and for the last two arguments.

    Args:
        optimizer: The optimizer to drive.
        base_lr: Lower bound, >= 0, or a list of one per parameter group.
        max_lr: Upper bound, > `base_lr`, or a list of one per group.
        step_size_up: Steps of the way up, int >= 1.
        step_size_down: Steps of the way down, int >= 0; None stands for `step_size_up`.
        mode: "triangular", "triangular2" (half the height after each cycle) or "exp_range"
            (`gamma ** step` of the height).
        gamma: Factor of "exp_range", in (0, 1].
        scale_fn: A function for the height, in place of `mode`. It is called when a step comes,
            never ahead. It is code, not data: a state holds its name only, so a run is resumed
            by building the scheduler with it again.
        scale_mode: What `scale_fn` takes: "cycle", the number of the cycle, counted from 1, or
            "iterations", the step.
        cycle_momentum: Cycle the momentum, or beta_1, of every group that has it > 0.
        base_momentum: Momentum at the top of a cycle, in [0, 1), or a list of one per group.
        max_momentum: Momentum at the start of a cycle, in [0, 1), or a list of one per group.
        last_epoch: The step before the one to start at; -1 starts at step 0.
        count: As for `ScheduleLR`.
        on_mismatch: As for `ScheduleLR`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, a list that is not one per group, or
            `cycle_momentum` for an optimizer without momentum. The optimizer is left as it was.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1, momentum=0.9)
        >>> scheduler = CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, step_size_up=10)
        >>> scheduler.get_last_lr(), scheduler.get_last_momentum()
        ([0.01], [0.9])

    Source: Smith 2015, arXiv:1506.01186; modes and defaults as torch CyclicLR.
    """

    _only_in_use = True

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
        *,
        count: str = "auto",
        on_mismatch: str = "raise",
    ) -> None:
        make = partial(
            _cyclic,
            step_size_up=step_size_up,
            step_size_down=step_size_down,
            mode=mode if scale_fn is None else "triangular",
            gamma=gamma,
            scale_fn=scale_fn,
            scale_mode=scale_mode,
            cycle_momentum=check_bool("cycle_momentum", cycle_momentum),
        )
        lr, momentum = pair_per_group(
            optimizer,
            make,
            base_lr=base_lr,
            max_lr=max_lr,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
        )
        super().__init__(optimizer, lr, momentum, last_epoch, count=count, on_mismatch=on_mismatch)
        if last_epoch == -1:
            self._binding.mark_first(self.base_lrs, replace=False)


def _cyclic(
    *,
    base_momentum: float,
    max_momentum: float,
    cycle_momentum: bool,
    scale_fn: Any,
    scale_mode: str,
    **rates: Any,
) -> tuple[Any, Any]:
    """Return the lr and the momentum of a group."""
    if cycle_momentum and base_momentum == max_momentum:
        # Equal bounds, which torch allows, are no cycle.
        lr, _ = torch_cyclic(**rates, cycle_momentum=False)
        momentum: Schedule | None = constant(check_momentum("base_momentum", base_momentum))
    else:
        bounds: dict[str, Any] = {"base_momentum": base_momentum, "max_momentum": max_momentum}
        lr, momentum = torch_cyclic(**rates, **bounds, cycle_momentum=cycle_momentum)
    by_cycle = check_choice("scale_mode", scale_mode, ("cycle", "iterations")) == "cycle"
    if scale_fn is None:
        return lr, momentum
    if not callable(scale_fn):
        raise TypeError(f"scale_fn must be a function of one number, or None, got {scale_fn!r}")
    scaled = ScaledByFunction(lr, scale_fn, by_cycle)
    if momentum is None or not momentum.period:
        return scaled, momentum
    return scaled, ScaledByFunction(momentum, scale_fn, by_cycle)
