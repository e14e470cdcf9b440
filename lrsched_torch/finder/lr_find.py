"""LR range test for PyTorch, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched._names import FINDER, answers_to
from lrsched._progress import Progress
from lrsched._validate import check_bool, check_choice, check_int, check_positive
from lrsched._warn import warn_user
from lrsched.curve.comparison import average
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED, RangeTest
from lrsched.rewind.restore_on_exit import RestoreOnExit
from lrsched_torch.finder.accelerate import begin_updates
from lrsched_torch.finder.arguments import (
    GROUPS,
    REMEDY,
    check_step,
    checked_device,
    checked_place,
    listed,
    validation_batches,
    with_scaler,
)
from lrsched_torch.finder.batches import Batches
from lrsched_torch.finder.driver import SweepDriver, failed_in_vain
from lrsched_torch.finder.objective import objective
from lrsched_torch.finder.training_step import training_step
from lrsched_torch.rewind.snapshot import TrainingSnapshot

OVERRULED_INSIDE = (
    "Something else sets the lr too, such as the optimizer itself or a hook: the learning rates of "
    "the curve may not be those that were used."
)
LOADER_ENDED = "the loader ended"


@answers_to(FINDER)
def lr_find(
    model: nn.Module,
    optimizer: Optimizer,
    criterion: Callable[[Any, Any], torch.Tensor] | None,
    loader: Iterable[Any],
    *,
    start_lr: float = DEFAULT_SWEEP[0],
    end_lr: float = DEFAULT_SWEEP[1],
    num_steps: int = DEFAULT_SWEEP[2],
    sweep: str | Schedule = TWO_SPEED,
    stop_factor: float | None = 2.0,
    forward: Callable[[Any, Any], Any] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    amp: torch.dtype | None = None,
    val_loader: Iterable[Any] | None = None,
    groups: str = "ratio",
    stateful: Iterable[Any] = (),
    repeats: int = 1,
    device: Any = None,
    snapshot_device: Any = None,
    verify: bool = True,
    progress: bool = False,
) -> LossCurve:
    """Find a learning rate: train for `num_steps` updates with a growing one, then undo it all.

    The model trains on the device that its first parameter is on. Afterwards the model, the
    optimizer, the loader's order and the random number generators are as they were, also after an
    exception or Ctrl-C; `curve.notes` says what could not be put back.

    Args:
        model: The model; a model in evaluation mode is trained in train mode, any other as it is.
        optimizer: The optimizer of its parameters.
        criterion: Called as `criterion(outputs, target)`; gives a scalar tensor. None for a model
            that returns its loss, as itself or as `loss`.
        loader: Iterable of batches, such as a DataLoader or a list; starts again where it ends. A
            batch is a tuple of inputs with the target last, a dict with the target under "labels",
            "label", "targets", "target" or "y" and inputs by name, or an object with such an
            attribute.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        forward: `forward(model, batch)` gives the outputs, where the above does not fit.
        loss: `loss(outputs, batch)` gives a scalar tensor, in the place of `criterion`.
        accumulate: Batches per update, int >= 1; their mean loss is recorded.
        clip_norm: Norm that the gradients of an update, all of them together, are scaled down to
            where they exceed it, > 0; None leaves them as they are. As the training will do it.
        amp: torch.bfloat16 or torch.float16, for autocast. float16 uses the GradScaler in
            `stateful`, or one of its own; updates that it skips are not recorded.
        val_loader: Record the mean loss over its batches after each update instead.
        groups: As for `range_test`.
        stateful: As for `range_test`.
        repeats: Sweeps to average, each from the state of before, on the batches that follow. Of a
            loader that ends for good, those that it cut short are left out, if one is whole.
        device: Where the model must be; None takes it as it is.
        snapshot_device: As for `range_test`.
        verify: As for `range_test`.
        progress: Show a progress bar over all updates (needs tqdm).

    Returns:
        The curve; `curve.suggest()` reads a learning rate from it.

    Raises:
        TypeError: an argument of the wrong kind, or a batch or loss that is not as above.
        ValueError: an argument out of range, a model on another device, an optimizer with none of
            its parameters, a loss without a gradient, or a `loader` without batches.

    Source: Smith 2015, arXiv:1506.01186.
    """
    sweeps = [
        RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
        for _ in range(check_int("repeats", repeats, 1))
    ]
    place = checked_place(model, optimizer, device)
    check_step(optimizer)
    if clip_norm is not None:
        clip_norm = check_positive("clip_norm", clip_norm, "None leaves the gradients as they are")
    stateful, scaler = with_scaler(listed(stateful), amp, place)
    source = Batches(loader, verify=check_bool("verify", verify))
    validation = None if val_loader is None else validation_batches(val_loader, verify)
    sources = [source] if validation is None else [source, validation]
    finder = _Finder(
        model,
        optimizer,
        check_choice("groups", groups, GROUPS),
        check_int("accumulate", accumulate, 1),
        scaler,
        source,
        training_step(
            model,
            optimizer,
            objective(model, criterion, forward, loss),
            place,
            accumulate=accumulate,
            clip_norm=clip_norm,
            amp=amp,
            scaler=scaler,
            validation=validation,
        ),
        Progress(len(sweeps) * len(sweeps[0].planned_lr), "LR range test", progress),
        TrainingSnapshot(
            model,
            optimizer,
            stateful=stateful,
            device=checked_device("snapshot_device", snapshot_device),
            verify=verify,
            # With a state of their own, such as a running mean.
            functions=[("criterion", criterion), ("forward", forward), ("loss", loss)],
        ),
    )
    with RestoreOnExit(finder.snapshot, *sources, remedy=REMEDY) as end, finder.bar:
        curve = finder.sweep(sweeps)
    return dataclasses.replace(curve, notes=(*curve.notes, *end.notes)) if end.notes else curve


@dataclass(frozen=True)
class _Finder:
    """The trainings of one call of `lr_find`, each from the same state."""

    model: nn.Module
    optimizer: Optimizer
    groups: str
    accumulate: int
    scaler: torch.amp.GradScaler | None
    source: Batches
    step: Callable[[Sequence[Any]], torch.Tensor]
    bar: Progress
    snapshot: TrainingSnapshot

    def sweep(self, tests: Sequence[RangeTest]) -> LossCurve:
        """Return the mean curve of the tests, which read the loader one after the other."""
        stream = iter(self.source)
        for index, test in enumerate(tests):
            if index:
                # with the random numbers of before, it would be the same sweep again
                self.snapshot.restore(sources=False)
            self._train(test, stream)
            test.stop(LOADER_ENDED)
        return _mean(tests)

    def _train(self, test: RangeTest, stream: Iterator[Any]) -> None:
        if not self.model.training:
            self.model.train()
        begin_updates(self.optimizer)
        # as many batches as an update takes
        batches = zip(*[stream] * self.accumulate)  # noqa: B905
        with closing(SweepDriver(self.optimizer, test, self.groups, self.scaler)) as driver:
            record, step = driver.record, self.step
            try:
                for update in self.bar.follow(driver.updates(batches)):
                    record(step(update))
            except Exception as error:
                if not driver.had_ended():
                    raise
                test.note(failed_in_vain(error))
            driver.read()
        if driver.overruled:
            warn_user(OVERRULED_INSIDE)
            test.note(OVERRULED_INSIDE)


def _mean(tests: Sequence[RangeTest]) -> LossCurve:
    """Return the mean curve of the sweeps that the end of the loader has not cut short.

    They would shorten those that it has not. Without a whole one, those that have points count.
    """
    curves = [test.curve for test in tests]
    whole = [curve for curve in curves if curve.stop_reason != LOADER_ENDED]
    kept = whole or [curve for curve in curves if len(curve)] or curves[:1]
    mean = average(kept)
    if len(kept) == len(curves):
        return mean
    note = f"The loader ended before all sweeps had: {len(kept)} of {len(curves)} are in the curve."
    return dataclasses.replace(mean, notes=(*mean.notes, note))
