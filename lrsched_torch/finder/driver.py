"""A short training whose lr a state machine sets, and that never waits for the device."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrsched._validate import check_non_negative
from lrsched.range_test import RangeTest
from lrsched_torch.finder.accelerate import scaler_of
from lrsched_torch.finder.momentum import momentum_note, own_momenta
from lrsched_torch.group_writer import Column, Row, is_shared, writer_for
from lrsched_torch.param_groups import Group, unalias
from lrsched_torch.update_counter import UpdateCounter

# Losses are read from the device this many at a time: reading one makes the host wait for it.
READ_EVERY = 16
# From its usual 65536, a GradScaler is then at 2**-16: no scale will do.
MAX_SKIPS = 32
NUMBERS = {bool, int, float}


class SweepDriver:
    """Sets the lr for each update, and takes one loss for each.

    The losses that are read late are judged one by one, so the curve is the one of a loop that
    reads every loss at once; the updates after its end are in vain.

    Args:
        optimizer: Its lr is set, in all groups.
        test: Says which lr the next update uses and whether to go on, and takes the losses; its
            knee goes where the lr of the optimizer says.
        groups: "ratio" keeps the ratios between the lrs of the groups, the highest following the
            sweep; "equal" gives all groups the same.
        scaler: A GradScaler of the loop, whose skipped updates do not count; None for that of an
            optimizer that Accelerate has prepared.

    Attributes:
        first_alone: Read the first loss by itself: its update tells of a scaler.
        overruled: Something else has set the lr too.
        scaled: There is a GradScaler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        test: RangeTest,
        groups: str = "ratio",
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._optimizer, self._test = optimizer, test
        test.place_knee(max(own_lrs(optimizer.param_groups)))
        parts = shares(optimizer.param_groups, groups)
        self._uniform = len(set(parts)) == 1
        lrs: list[Any] = test.planned_lr.tolist()
        if not self._uniform:
            lrs = [[lr * part for part in parts] for lr in lrs]
        self._columns: dict[str, Column] = {"lr": parts}
        self._rows: list[Row] = list(zip(lrs))
        self._keep_momentum()
        self._write = writer_for(optimizer.param_groups, self._columns)
        self._losses: list[Any] = []  # numbers, and tensors that are read later
        self._skips = 0
        self._processes = _processes()
        scaler = scaler or scaler_of(optimizer)
        self.scaled = scaler is not None
        self._counter = UpdateCounter() if self.scaled else None
        # A scaler waits for the device at every step, so that its verdict costs no further wait.
        self._read_every = 1 if self.scaled else READ_EVERY
        self.first_alone = self.overruled = False

    def _keep_momentum(self) -> None:
        """Plan the optimizer's own momentum for each update, where a scheduler has set another."""
        momenta = own_momenta(self._optimizer)
        if set(momenta) == {None}:
            return
        entry = momenta[0] if is_shared(momenta) else momenta
        self._columns["momentum"] = momenta
        self._rows = [(lr, entry) for (lr,) in self._rows]
        note = momentum_note(self._optimizer.param_groups, momenta)
        if note is not None:
            self._test.note(note)

    def updates(self, source: Iterable[Any]) -> Generator[Any]:
        """Yield entries of `source`, as long as the test runs: what one update is made from.

        Before the next, one loss must have been recorded.
        """
        self.read()
        if self._counter is not None and not self._counter.hooked:
            self._counter.attach(self._optimizer)
        groups, stream = self._optimizer.param_groups, iter(source)
        unalias(groups, self._columns)
        write = partial(self._write, groups)
        most = 1 if self.first_alone and not self._test.recorded else self._read_every
        while self._test.running:
            done, row = self._test.recorded, None
            # The stream last, of which nothing must be taken in vain.
            for row, entry in zip(self._rows[done : done + most], stream):  # noqa: B905
                write(row)
                yield entry
            if row is None:
                return
            self._watch(row)
            if self._counter is not None:
                self._judge_skip(self._counter.take())
            self.read()
            most = self._read_every

    def count_skips(self, counter: UpdateCounter) -> None:
        """Leave out updates that a scaler skips, from the one with the first batch on.

        Args:
            counter: Has counted since before that batch.
        """
        self.scaled, self._counter, self._read_every = True, counter, 1

    def write_lr(self) -> None:
        """Set the lr of the update that is under way again, which something may have changed."""
        row = self._rows[self._test.recorded + len(self._losses)]
        self._write(self._optimizer.param_groups, row)

    def close(self) -> None:
        """Let go of the optimizer."""
        if self._counter is not None:
            self._counter.detach()

    def _watch(self, row: Row) -> None:
        """See whether somebody else sets the lr; on another device, that would be to wait."""
        now = self._optimizer.param_groups[0]["lr"]
        if isinstance(now, float):
            self.overruled |= now != (row[0] if self._uniform else row[0][0])

    def record(self, loss: Tensor) -> None:
        """Take the loss of the update, a tensor of one element; on a device it is read later."""
        if loss.__class__ is Tensor and loss.is_cpu and not loss.ndim:
            # Nothing to wait for; unlike item(), this calls no operator.
            self._losses.append(loss.tolist())
        else:
            # A copy, since a captured graph writes the next loss over this one.
            self._losses.append(loss.detach().clone())

    def read(self) -> bool:
        """Judge the losses that have been recorded so far; whether the test goes on."""
        if self._losses:
            several = self._processes > 1
            values = self._averaged(self._losses) if several else _numbers(self._losses)
            self._losses = []
            self._test.record_all(values)
        return self._test.running

    def had_ended(self) -> bool:
        """Return whether the losses before an update that has raised an error end the test.

        That update is in vain then: a loop that reads every loss at once does not make it. In
        several processes nobody can tell, since the others do not come here.
        """
        if self._processes > 1 or not self._test.running:
            return False
        try:
            return not self.read()
        except RuntimeError:  # of a device that gives nothing any more
            return False

    def _averaged(self, losses: Sequence[Any]) -> list[float]:
        """Return the mean over the processes that train together, so that all stop together."""
        device = self._optimizer.param_groups[0]["params"][0].device
        total = flat(list(map(torch.as_tensor, losses))).to(device, torch.float32)
        torch.distributed.all_reduce(total)
        mean: list[float] = (total / self._processes).tolist()
        return mean

    def _judge_skip(self, updates: int) -> None:
        """Forget the loss of an update that the scaler has skipped; its lr is used again.

        A loss that is not finite stays, and after too many skips the loss is called so: both end
        the test.
        """
        self._skips = 0 if updates else self._skips + 1
        if self._skips == MAX_SKIPS:
            self._losses[-1] = math.nan
        elif self._skips and math.isfinite(self._losses[-1]):
            self._losses.clear()


def _numbers(losses: list[Any]) -> list[float]:
    """Return losses as numbers, those on a device with one wait for all of them."""
    kinds = set(map(type, losses))
    if kinds.isdisjoint(NUMBERS):
        numbers: list[float] = flat(losses).tolist()
        return numbers
    # A loop that has both kinds waits for each.
    return losses if kinds <= NUMBERS else list(map(float, losses))


def flat(losses: list[Tensor]) -> Tensor:
    """Return losses of shape () and (1,), and of several dtypes, in one tensor."""
    try:
        return torch.stack(losses).flatten()
    except RuntimeError:  # of several shapes
        return torch.cat(list(map(torch.flatten, losses)))


def own_lrs(groups: Iterable[Group]) -> list[float]:
    """Return the lr that each group came with, >= 0."""
    lrs, initial = [], []
    for index, group in enumerate(groups):
        if group["lr"] is None:
            raise ValueError(
                f"optimizer must have a lr in each group, got None in group {index} "
                "(an optimizer that chooses its own needs no range test)"
            )
        lrs.append(check_non_negative(f"lr of group {index}", float(group["lr"])))
        initial.append(float(group.get("initial_lr", 0.0)))
    # At the very start of a warmup; schedulers leave as initial_lr what it leads to.
    return lrs if max(lrs) else initial


def shares(groups: Iterable[Group], how: str) -> list[float]:
    """Return the lr of each group as a part of the highest, in [0, 1]."""
    lrs = own_lrs(groups)
    if how == "equal" or not max(lrs):
        return [1.0] * len(lrs)
    return [lr / max(lrs) for lr in lrs]


def _processes() -> int:
    """Return the number of processes that train together."""
    distributed = torch.distributed
    training = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if training else 1


def failed_in_vain(error: Exception) -> str:
    """Return a note of an error that a loop without lag would not have met, mostly of a NaN."""
    return f"An update after the end of the sweep has raised {type(error).__name__}."
