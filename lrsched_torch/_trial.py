"""A short training whose lr a state machine sets, and that never waits for the device."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrsched.range_test import RangeTest
from lrsched_torch._accelerate import accumulated_gradients, scaler_of
from lrsched_torch._groups import Group, Writer, unalias, writer_for
from lrsched_torch._updates import UpdateCounter

# Losses are read from the device this many at a time: reading one makes the host wait for it.
READ_EVERY = 16
# From its usual 65536, a GradScaler is then at 2**-16: no scale will do.
MAX_SKIPS = 32


class Trial:
    """Hands out batches, sets the lr for each, and takes one loss for each.

    The losses that are read late are judged one by one, so the curve is the one of a loop that
    reads every loss at once; the updates after its end are in vain.

    Args:
        optimizer: Its lr is set, in all groups.
        test: Says which lr the next update uses and whether to go on, and takes the losses.
        groups: "ratio" keeps the ratios between the lrs of the groups, the highest following the
            sweep; "equal" gives all groups the same.
        scaler: A GradScaler of the loop, whose skipped updates do not count; None for that of an
            optimizer that Accelerate has prepared.

    Attributes:
        overruled: Something else has set the lr too.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        test: RangeTest,
        groups: str = "ratio",
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._optimizer, self._test = optimizer, test
        parts = shares(optimizer.param_groups, groups)
        self._uniform = len(set(parts)) == 1
        self._lrs: list[Any] = test.planned_lr.tolist()
        if not self._uniform:
            self._lrs = [[lr * part for part in parts] for lr in self._lrs]
        self._losses: list[Tensor] = []
        self._skips = 0
        self._processes = _processes()
        scaler = scaler or scaler_of(optimizer)
        self._counter = UpdateCounter() if scaler is not None else None
        self._gradients = accumulated_gradients(optimizer)
        self.overruled = False

    def batches(self, source: Iterable[Any]) -> Generator[Any]:
        """Entries of `source`, as long as the test runs.

        Each is to be used for one update; where Accelerate accumulates gradients, as many are as it
        says, with one lr, and their mean loss counts.

        Raises:
            RuntimeError: no loss, or more than one, was recorded for the last entry.
        """
        if self._counter is None and self._gradients is None:
            return self._in_blocks(source)
        return self._by_update(source)

    def _in_blocks(self, source: Iterable[Any]) -> Generator[Any]:
        write, groups, losses, stream = self._begin(source)
        while self._test.running:
            done, given = self._test.recorded, 0
            block = self._lrs[done : done + READ_EVERY]
            # The stream last, of which nothing must be taken in vain.
            for given, lr, entry in zip(count(1), block, stream):
                write(groups, lr)
                yield entry
                if len(losses) != given:
                    _complain(len(losses), given)
            if not given:
                return
            self._watch(lr)
            self.read()

    def _by_update(self, source: Iterable[Any]) -> Generator[Any]:
        write, groups, losses, stream = self._begin(source)
        with self._counting():
            while self._test.running:
                first = len(losses)
                lr = self._lrs[self._test.recorded + first]
                try:
                    for given, entry in enumerate(stream, 1):
                        write(groups, lr)
                        yield entry
                        if len(losses) != first + given:
                            _complain(len(losses) - first, given)
                        if self._is_update():
                            break
                        self._check_accumulating(given)
                    else:
                        return
                finally:
                    self._join(first)
                self._watch(lr)
                if self._counter is not None:
                    self._judge_skip(self._counter.take())
                # A scaler waits for the device at every step, so its verdict costs no wait.
                left = len(self._lrs) - self._test.recorded - len(losses)
                if self._counter is not None or len(losses) == READ_EVERY or not left:
                    self.read()

    def _begin(
        self, source: Iterable[Any]
    ) -> tuple[Writer, list[Group], list[Tensor], Iterator[Any]]:
        self.read()
        groups = self._optimizer.param_groups
        unalias(groups, momentum=False)
        write = writer_for(groups, self._uniform, has_momentum=False)
        return write, groups, self._losses, iter(source)

    def _is_update(self) -> bool:
        """Whether the last batch was the last one of an update."""
        return self._gradients is None or bool(self._gradients.sync_gradients)

    def _check_accumulating(self, batches: int) -> None:
        """Without the Accelerator's `accumulate`, no batch would be the last one of an update."""
        if self._gradients is not None and batches >= self._gradients.num_steps:
            raise RuntimeError(
                "the loop must use `with accelerator.accumulate(model):`, got "
                f"{batches} batches without an update"
            )

    def _join(self, first: int) -> None:
        """Put the mean in the place of the losses of an update; drop those of half of one."""
        losses = self._losses[first:]
        self._losses[first:] = [_flat(losses).mean()] if losses and self._is_update() else []

    def _watch(self, lr: Any) -> None:
        """See whether somebody else sets the lr; on another device, that would be to wait."""
        now = self._optimizer.param_groups[0]["lr"]
        if isinstance(now, float):
            self.overruled |= now != (lr if self._uniform else lr[0])

    def record(self, loss: Tensor) -> None:
        """Take the loss of the entry handed out last, a tensor of one element; it is read later."""
        # A copy, since a captured graph writes the next loss over this one.
        self._losses.append(loss.detach().clone())

    def read(self) -> bool:
        """Judge the losses that have been recorded so far; whether the test goes on."""
        if self._losses:
            values = _flat(self._losses)
            self._losses.clear()
            if self._processes > 1:
                values = self._averaged(values)
            self._test.record_all(values.tolist())
        return self._test.running

    def _averaged(self, losses: Tensor) -> Tensor:
        """The mean over the processes that train together, so that all of them stop together."""
        device = self._optimizer.param_groups[0]["params"][0].device
        total = losses.to(device, torch.float32)
        torch.distributed.all_reduce(total)
        return total / self._processes

    @contextmanager
    def _counting(self) -> Iterator[None]:
        if self._counter is None:
            yield
            return
        self._counter.width = len(self._optimizer.param_groups)
        self._counter.attach(self._optimizer, self._no_group)
        try:
            yield
        finally:
            self._counter.detach()

    def _no_group(self) -> None:
        """Groups that are added in the middle have no lr of the sweep."""

    def _judge_skip(self, updates: int) -> None:
        """Forget the loss of an update that the scaler has skipped; its lr is used again.

        A loss that is not finite stays, and after too many skips the loss is called so: both end
        the test.
        """
        self._skips = 0 if updates else self._skips + 1
        if self._skips == MAX_SKIPS:
            self._losses[-1].fill_(torch.nan)
        elif self._skips and bool(self._losses[-1].isfinite()):
            self._losses.clear()


def _complain(losses: int, batches: int) -> None:
    raise RuntimeError(
        "record(loss) must be called once for every batch, got "
        f"{losses} losses for {batches} batches"
    )


def _flat(losses: list[Tensor]) -> Tensor:
    """Losses of shape () and (1,), and of several dtypes, in one tensor."""
    try:
        return torch.stack(losses).flatten()
    except RuntimeError:  # of several shapes
        return torch.cat(list(map(torch.flatten, losses)))


def shares(groups: Iterable[Group], how: str) -> list[float]:
    """The lr of each group as a part of the highest, in [0, 1]."""
    groups = list(groups)
    for index, group in enumerate(groups):
        if group["lr"] is None:
            raise ValueError(
                f"optimizer must have a lr in each group, got None in group {index} "
                "(an optimizer that chooses its own needs no range test)"
            )
    lrs = [float(group["lr"]) for group in groups]
    if not max(lrs):
        # At the very start of a warmup; schedulers leave here what it leads to.
        lrs = [float(group.get("initial_lr", 0.0)) for group in groups]
    if how == "equal" or not max(lrs):
        return [1.0] * len(lrs)
    return [lr / max(lrs) for lr in lrs]


def _processes() -> int:
    """Number of processes that train together."""
    distributed = torch.distributed
    training = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if training else 1
