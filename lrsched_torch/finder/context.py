"""LR range test around a training loop of the user's own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched._names import FINDER, answers_to
from lrsched._validate import check_bool, check_choice, check_int, check_loss
from lrsched._warn import warn_user
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED, RangeTest
from lrsched.rewind.restore_on_exit import RestoreOnExit
from lrsched_torch.finder.accelerate import accumulated_gradients
from lrsched_torch.finder.arguments import (
    GROUPS,
    REMEDY,
    checked_device,
    checked_place,
    enabled_scaler,
    listed,
)
from lrsched_torch.finder.batches import Batches
from lrsched_torch.finder.bystanders import Bystanders
from lrsched_torch.finder.driver import SweepDriver, failed_in_vain
from lrsched_torch.finder.user_loop import UserLoop
from lrsched_torch.rewind.snapshot import TrainingSnapshot

LEFT_EARLY = "left before the end of the sweep"
OVERRULED = (
    "Something in the loop sets the lr too, such as a scheduler: it is put back only if it is in "
    "stateful=[...]."
)


@answers_to(FINDER)
def range_test(
    model: nn.Module,
    optimizer: Optimizer,
    start_lr: float = DEFAULT_SWEEP[0],
    end_lr: float = DEFAULT_SWEEP[1],
    num_steps: int = DEFAULT_SWEEP[2],
    *,
    sweep: str | Schedule = TWO_SPEED,
    stop_factor: float | None = 2.0,
    accumulate: int = 1,
    groups: str = "ratio",
    stateful: Iterable[Any] = (),
    snapshot_device: Any = None,
    verify: bool = True,
) -> RangeTestRun:
    """Run an LR range test in your own loop, and have everything back at its end.

    On entry the state of the model, the optimizer and the random number generators is captured; on
    exit, also after an exception or Ctrl-C, it is restored in place. What has changed and cannot be
    is named. `batches` sets the lr before it hands out a batch.

    The losses stay on the device and are read 16 at a time, so the loop never waits for it. In a
    process group the curve is the mean over all processes, and all of them stop together. In one
    process, an exception in an update after the end of the sweep, which the late reading makes
    possible, ends the `with` block alone, and is noted in the curve.

    Args:
        model: The model that trains; left as it was.
        optimizer: The optimizer of its parameters; left as it was.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        accumulate: Batches of an update, int >= 1, where the loop accumulates gradients: they have
            one lr and are one point of the curve, the mean of their losses. An update that the
            loop does not finish is left out.
        groups: "ratio" keeps the ratios between the lrs of the parameter groups, and the highest
            follows the sweep; "equal" gives all groups the same.
        stateful: What else the loop changes: further modules and optimizers, schedulers, an EMA,
            a StatefulDataLoader, anything with a state dict. With a GradScaler among them, updates
            that it skips are not recorded, and their lr is used again.
        snapshot_device: Where the copies of tensors live; "cpu" spares the memory of a GPU.
        verify: Watch what cannot be restored, and name what of it has changed in a UserWarning and
            in `curve.notes`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range, or an optimizer with none of the model's parameters.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with range_test(model, optimizer, num_steps=20) as test:
        ...     for inputs, target in test.batches([(torch.ones(4, 2), torch.ones(4, 1))]):
        ...         loss = (model(inputs) - target).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...         test.record(loss)
        >>> len(test.curve)
        20

    Source: Smith 2015, arXiv:1506.01186.
    """
    test = RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
    check_int("accumulate", accumulate, 1)
    check_choice("groups", groups, GROUPS)
    stateful = listed(stateful)
    checked_device("snapshot_device", snapshot_device)
    check_bool("verify", verify)
    checked_place(model, optimizer, None)
    if accumulate > 1 and accumulated_gradients(optimizer) is not None:
        raise ValueError(
            "accumulate must be 1 where Accelerate accumulates gradients, which says itself "
            f"how many batches an update has, got {accumulate}"
        )
    return RangeTestRun(
        test,
        model,
        optimizer,
        accumulate=accumulate,
        groups=groups,
        stateful=stateful,
        snapshot_device=snapshot_device,
        verify=verify,
    )


class RangeTestRun:
    """Context manager of one range test in a loop of the user's; made by `range_test`.

    Args:
        test: Plans the lrs, and takes the losses.
        model: As for `range_test`.
        optimizer: As for `range_test`.
        accumulate: As for `range_test`.
        groups: As for `range_test`.
        stateful: As for `range_test`.
        snapshot_device: As for `range_test`.
        verify: As for `range_test`.
    """

    def __init__(
        self,
        test: RangeTest,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        accumulate: int,
        groups: str,
        stateful: tuple[Any, ...],
        snapshot_device: Any,
        verify: bool,
    ) -> None:
        self._test, self._model, self._optimizer = test, model, optimizer
        self._accumulate, self._groups, self._stateful = accumulate, groups, stateful
        self._device, self._verify = snapshot_device, verify
        self._loop: UserLoop | None = None
        self._left = False
        self._end = RestoreOnExit(remedy=REMEDY)
        self._streams: WeakSet[Generator[Any]] = WeakSet()

    def __enter__(self) -> RangeTestRun:
        if self._loop is not None:
            raise RuntimeError("a range test must be entered once, got a second time (make a new)")
        snapshot = TrainingSnapshot(
            self._model,
            self._optimizer,
            stateful=self._stateful,
            device=self._device,
            verify=self._verify,
        )
        bystanders = Bystanders(self._optimizer, snapshot, self._stateful)
        # The bystanders are looked at before anything is restored, the last part first.
        self._end.parts += [snapshot, bystanders]
        scaler = enabled_scaler(self._stateful)
        driver = SweepDriver(self._optimizer, self._test, self._groups, scaler)
        driver.first_alone = True
        self._loop = UserLoop(self._optimizer, driver, bystanders, self._accumulate)
        self._end.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        loop = self._inside("a range test")
        self._left = True
        try:
            in_vain = self._close(loop, error)
        finally:
            self._end.__exit__()
        for note in (*self._end.notes, *self._remarks(loop)):
            self._test.note(note)
        return in_vain

    def _close(self, loop: UserLoop, error: BaseException | None) -> bool:
        """Judge what is left; returns whether the error is that of an update after the end."""
        loop.close()
        for stream in [*self._streams]:
            # The loop may have been left in the middle, and somebody still hold it.
            stream.close()
        if error is None:
            # Not after an error: the other processes do not come here.
            loop.driver.read()
        if isinstance(error, Exception) and loop.was_in_vain():
            self._test.note(failed_in_vain(error))
            return True
        self._test.stop(LEFT_EARLY if error is None else f"interrupted by {type(error).__name__}")
        return False

    def _remarks(self, loop: UserLoop) -> Iterator[str]:
        if loop.driver.overruled and not any(hasattr(p, "get_last_lr") for p in self._stateful):
            yield OVERRULED
        missed = loop.missed_updates()
        if missed is not None:
            warn_user(missed)
            yield missed

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield batches of `loader`, from its start again where it ends, while the test runs.

        Sets the lr that the update with each batch must use. What decides the order of the batches
        is restored at the end of the test: generators, and counters of samplers.

        Raises:
            RuntimeError: outside of `with`, or not exactly one loss was recorded for each batch.
            ValueError: `loader` has no batches.
        """
        loop = self._inside("batches")
        source = Batches(loader, verify=self._verify)
        self._end.parts.append(source)
        batches = loop.batches(source)
        self._streams.add(batches)
        return batches

    def record(self, loss: Any) -> None:
        """Keep the loss of the batch that was handed out last; a tensor on a device is read later.

        Raises:
            TypeError: `loss` is not one real number.
            RuntimeError: outside of `with`, or there is no such batch, or it has its loss.
        """
        loop = self._inside("record")
        if not isinstance(loss, torch.Tensor):
            loss = torch.tensor(check_loss(loss), dtype=torch.float64)
        elif loss.numel() != 1 or loss.is_complex():
            check_loss(loss)
        loop.record(loss)

    def _inside(self, name: str) -> UserLoop:
        if self._loop is None or self._left:
            raise RuntimeError(f"{name} must be used inside `with range_test(...) as test:`")
        return self._loop

    @property
    def running(self) -> bool:
        """Whether the test wants another update, as far as losses have been read."""
        return self._test.running

    @property
    def curve(self) -> LossCurve:
        """The losses recorded, with the lr that each update used; complete after the test."""
        return self._test.curve
