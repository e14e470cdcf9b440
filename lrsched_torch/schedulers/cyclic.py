"""CyclicLR with the arguments of torch's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer

from lrsched._validate import check_bool, check_choice
from lrsched.compat import torch_cyclic
from lrsched_torch.schedulers.group_schedules import ScaledByFunction, pair_per_group, per_group
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
        max_lr: Upper bound, >= `base_lr`, or a list of one per group.
        step_size_up: Steps of the way up, int >= 1.
        step_size_down: Steps of the way down, int >= 0; None stands for `step_size_up`.
        mode: "triangular", "triangular2" (half the height after each cycle) or "exp_range"
            (`gamma ** step` of the height).
        gamma: Factor of "exp_range", > 0.
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

    Attributes:
        max_lrs, base_momentums, max_momentums: Bounds, one per group of the construction; the lower
            bounds of the lr are `base_lrs`.
        mode, gamma, scale_mode, cycle_momentum, total_size, step_ratio: As torch's has them.

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
        width = len(optimizer.param_groups)
        self.max_lrs = per_group(max_lr, width)
        self.mode, self.gamma, self._scale_fn = mode, gamma, scale_fn
        by_step = scale_fn is None and mode == "exp_range"
        self.scale_mode = "iterations" if by_step else scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums = per_group(base_momentum, width)
            self.max_momentums = per_group(max_momentum, width)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size

    def scale_fn(self, x: float) -> float:
        """Return the factor of the height at a cycle, counted from 1, or at a step."""
        if self._scale_fn is not None:
            return self._scale_fn(x)
        if self.mode == "triangular2":
            return float(0.5 ** (x - 1))
        return float(self.gamma**x) if self.mode == "exp_range" else 1.0


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
    lr, momentum = torch_cyclic(
        **rates,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        cycle_momentum=cycle_momentum,
    )
    by_cycle = check_choice("scale_mode", scale_mode, ("cycle", "iterations")) == "cycle"
    if scale_fn is None:
        return lr, momentum
    if not callable(scale_fn):
        raise TypeError(f"scale_fn must be a function of one number, or None, got {scale_fn!r}")
    scaled = ScaledByFunction(lr, scale_fn, by_cycle)
    return scaled, momentum and ScaledByFunction(momentum, scale_fn, by_cycle)
