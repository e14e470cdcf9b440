"""A training loop that somebody else has written, held to one loss for each of its batches."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from itertools import chain
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lrsched_torch.finder.accelerate import accumulated_gradients
from lrsched_torch.finder.bystanders import Bystanders
from lrsched_torch.finder.driver import SweepDriver, flat
from lrsched_torch.update_counter import UpdateCounter


class UserLoop:
    """Hands out batches, sets the lr for each, takes one loss for each, and counts the updates.

    The batches of an update have one lr, and the mean of their losses is its loss.

    Args:
        optimizer: Makes the updates.
        driver: Gets the losses.
        bystanders: Hears of what else is trained.
        accumulate: Batches of an update; where Accelerate accumulates gradients, it says how many.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        driver: SweepDriver,
        bystanders: Bystanders,
        accumulate: int = 1,
    ) -> None:
        self._optimizer, self._accumulate, self.driver = optimizer, accumulate, driver
        self._bystanders = bystanders
        self._gradients = accumulated_gradients(optimizer)
        self._counter = UpdateCounter()
        self._versions, self._moved = versions_of(optimizer), False
        self._reader: object = None
        self._batches = self._losses = self._points = 0
        # of the update under way
        self._parts: list[Tensor] = []

    def batches(self, source: Iterable[Any]) -> Generator[Any]:
        """Yield batches of `source`, as long as the test runs.

        Raises:
            RuntimeError: no loss was recorded for the last batch, or somebody else has begun to
                read batches.
        """
        self._reader = reader = object()
        if not self._counter.hooked:
            self._counter.attach(self._optimizer)
        self._bystanders.watch(partial(self.driver.count_skips, self._counter))
        # What was left in the middle is forgotten.
        self._parts.clear()
        self._losses = self._batches
        stream = iter(source)
        for first in self.driver.updates(stream):
            for batch in chain((first,), stream):
                if self._parts:
                    self.driver.write_lr()
                self._batches += 1
                self._bystanders.next_batch()
                yield batch
                if self._reader is not reader:
                    raise RuntimeError(
                        "batches must be read by one loop at a time, got another that has begun"
                    )
                if self._losses != self._batches:
                    self._complain()
                if not self._parts:
                    break
                self._check_accumulating()

    def record(self, loss: Tensor) -> None:
        """Take the loss of the batch handed out last, a tensor of one element.

        Raises:
            RuntimeError: there is no such batch, or it has its loss.
        """
        if self._losses == self._batches:
            self._complain(1, " (loop over test.batches(loader), which sets the lr)")
        self._losses += 1
        if self._accumulate == 1 and self._gradients is None:
            self._finish(loss)
            return
        self._parts.append(loss.detach().clone())
        if self._is_update():
            self._finish(flat(self._parts).mean())
            self._parts.clear()

    def _finish(self, loss: Tensor) -> None:
        self._points += 1
        self.driver.record(loss)

    def _is_update(self) -> bool:
        """Return whether the batch handed out last is the last one of an update."""
        if self._gradients is not None:
            return bool(self._gradients.sync_gradients)
        return len(self._parts) == self._accumulate

    def _check_accumulating(self) -> None:
        """Check that the loop uses the `accumulate` of the Accelerator, which ends updates."""
        if self._gradients is not None and len(self._parts) >= self._gradients.num_steps:
            raise RuntimeError(
                "the loop must use `with accelerator.accumulate(model):`, got "
                f"{len(self._parts)} batches without an update"
            )

    def _complain(self, more: int = 0, remedy: str = "") -> None:
        raise RuntimeError(
            "record(loss) must be called once for every batch, got "
            f"{self._losses + more} losses for {self._batches} batches{remedy}"
        )

    def was_in_vain(self) -> bool:
        """Return whether the update that has raised an error is one after the end of the test."""
        return self._losses < self._batches and self.driver.had_ended()

    def close(self) -> None:
        """Let go of the optimizer, before its parameters are restored."""
        self._moved = self._versions != versions_of(self._optimizer)
        self.driver.close()
        self._counter.detach()

    def missed_updates(self) -> str | None:
        """Return a sentence if the loop has made by far fewer updates than points, or in vain.

        One may be missing, of a loop that was left before its last, and a few more, which a
        GradScaler has skipped that nobody has told of; where one is known, its skips are no points.
        Replays of a captured graph, and updates in compiled code, cannot be counted.
        """
        made, counter = self._counter.take(), self._counter
        if not made and self._points > 1 and counter.hooked and not counter.captured:
            return self._no_update()
        if not made or counter.captured or counter.compiled:
            return None
        if not (self._moved or self._bystanders.has_gradients):
            return (
                "The updates of the loop had no gradients, so the curve shows no learning rate at "
                "work (call loss.backward() before the optimizer's step(), of a model that trains)."
            )
        few = made < self._points - 1 and 2 * made <= self._points + 1
        if self.driver.scaled or not few:
            return None
        return (
            f"The loop made {made} updates for the {self._points} points of the curve, so not all "
            "of its learning rates were used (with gradient accumulation, pass accumulate=, the "
            "number of batches of an update)."
        )

    def _no_update(self) -> str | None:
        """Return a sentence if the loop has made no update of the optimizer; by hand, it may."""
        by_hand = self._moved and not self._bystanders.others_step
        if self.driver.scaled or by_hand:
            return None
        return (
            f"The optimizer of the range test made no update with {self._batches} batches, so the "
            "curve shows none of its learning rates at work (pass the optimizer that the loop "
            "steps, and call its step() for every batch)."
        )


def versions_of(optimizer: Optimizer) -> int:
    """Return a number that grows with every change of a parameter in place."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return sum(0 if p.is_inference() else p._version for p in parameters)
