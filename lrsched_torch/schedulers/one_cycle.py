"""OneCycleLR with the arguments of torch's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch.optim import Optimizer

from lrsched.compat import torch_one_cycle
from lrsched_torch.schedulers.group_schedules import pair_per_group
from lrsched_torch.schedulers.schedule_lr import ScheduleLR


class OneCycleLR(ScheduleLR):
    """1cycle policy: rise to `max_lr`, then anneal far below the start, momentum opposite.

    The arguments and, on valid input, the values of torch's OneCycleLR. What differs, on
    purpose: it holds after the end; short schedules work; `param_groups` hold no state of it;
    groups added later join; momentum stays off where an optimizer has it at 0; and the step
    counts updates, not calls. See `ScheduleLR` for that and for the last three arguments.

    Args:
        optimizer: The optimizer to drive.
        max_lr: Peak lr, > 0, or a list of one per parameter group.
        total_steps: Number of optimizer updates, int >= 2; `steps_for` counts them.
        epochs: With `steps_per_epoch`, another way to give `total_steps`.
        steps_per_epoch: Optimizer updates in an epoch.
        pct_start: Fraction of the steps spent rising, in [0, 1].
        anneal_strategy: "cos" or "linear".
        cycle_momentum: Cycle the momentum, or beta_1, of every group that has it > 0.
        base_momentum: Momentum at the peak lr, in [0, 1), or a list of one per group.
        max_momentum: Momentum at the start and the end, in [0, 1), or a list.
        div_factor: The first lr is `max_lr / div_factor`; >= 1.
        final_div_factor: The last lr is the first one divided by this; > 0.
        three_phase: Fall back to the first lr as long as it took to rise, then to the last one.
        last_epoch: The step before the one to start at; -1 starts at step 0.
        after_end: As for `ScheduleLR`.
        count: As for `ScheduleLR`.
        on_mismatch: As for `ScheduleLR`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a value outside its range, `total_steps` other than
            `epochs * steps_per_epoch`, a list that is not one per group, or `cycle_momentum` for
            an optimizer without momentum. The optimizer is left as it was.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1, momentum=0.9)
        >>> scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=100)
        >>> scheduler.get_last_lr(), scheduler.get_last_momentum()
        ([0.004], [0.95])

    Source: Smith & Topin 2017, arXiv:1708.07120; form and defaults as torch OneCycleLR.
    """

    _only_in_use = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
        *,
        after_end: str = "hold",
        count: str = "auto",
        on_mismatch: str = "raise",
    ) -> None:
        make = partial(
            torch_one_cycle,
            total_steps=total_steps,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )
        lr, momentum = pair_per_group(
            optimizer,
            make,
            max_lr=max_lr,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
        )
        super().__init__(
            optimizer,
            lr,
            momentum,
            last_epoch,
            after_end=after_end,
            count=count,
            on_mismatch=on_mismatch,
        )
        if last_epoch == -1:
            # As torch does, so a scheduler before this one in a SequentialLR starts from there.
            self._binding.mark_first(self.base_lrs, replace=True)
