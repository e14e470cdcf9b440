"""LR range test for PyTorch: in one call, or around any training loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim import Optimizer

from lrsched._progress import Progress
from lrsched._validate import check_bool, check_choice, check_int, check_loss
from lrsched.loss_curve import LossCurve, average
from lrsched.range_test import RangeTest
from lrsched.schedule import Schedule
from lrsched_torch._accelerate import accumulated_gradients, begin_updates
from lrsched_torch._arguments import (
    GROUPS,
    check_step,
    checked_device,
    checked_place,
    enabled_scaler,
    listed,
    validation_batches,
    with_scaler,
)
from lrsched_torch._batches import Batches
from lrsched_torch._loop import Loop
from lrsched_torch._objective import objective
from lrsched_torch._strangers import Strangers
from lrsched_torch._training_step import training_step
from lrsched_torch._trial import Trial
from lrsched_torch._undoing import Undoing
from lrsched_torch._warning import warn
from lrsched_torch.snapshot import Snapshot

if TYPE_CHECKING:
    from typing_extensions import Self

OVERRULED_INSIDE = (
    "Something else sets the lr too, such as the optimizer itself or a hook: the learning rates of "
    "the curve may not be those that were used."
)
LEFT_EARLY = "left before the end of the sweep"
LOADER_ENDED = "the loader ended"
OVERRULED = (
    "Something in the loop sets the lr too, such as a scheduler: it is put back only if it is in "
    "stateful=[...]."
)


class range_test:  # noqa: N801 - used as a function: `with range_test(...) as test`
    """Run an LR range test in your own loop, and have everything back at its end.

    On entry the state of the model, the optimizer and the random number generators is kept; on
    exit, also after an exception or Ctrl-C, it is put back in place, and a hash of everything is
    compared with that of before. `batches` sets the lr before it hands out a batch.

    The losses stay on the device and are read 16 at a time, so the loop never waits for it. In a
    process group the curve is the mean over all processes, and all of them stop together. In one
    process, an exception in an update after the end of the sweep, which the late reading makes
    possible, ends the `with` block alone, and is noted in the curve.

    Args:
        model: The model that trains; left as it was.
        optimizer: The optimizer of its parameters; left as it was.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10.
        accumulate: Batches of an update, int >= 1, where the loop accumulates gradients: they have
            one lr and are one point of the curve, the mean of their losses. An update that the
            loop does not finish is left out.
        groups: "ratio" keeps the ratios between the lrs of the parameter groups, and the highest
            follows the sweep; "equal" gives all groups the same.
        stateful: What else the loop changes: further modules and optimizers, schedulers, an EMA,
            a StatefulDataLoader, anything with a state dict. With a GradScaler among them, updates
            that it skips are not recorded, and their lr is used again.
        snapshot_device: Where the copies of tensors live; "cpu" spares the memory of a GPU.
        verify: Compare the hashes; what differs is named by a UserWarning and in `curve.notes`.
        options: `sweep` and `stop_factor` of `lrsched.RangeTest`.

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

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_steps: int = 300,
        *,
        accumulate: int = 1,
        groups: str = "ratio",
        stateful: Iterable[Any] = (),
        snapshot_device: Any = None,
        verify: bool = True,
        **options: Any,
    ) -> None:
        self._test = RangeTest(start_lr, end_lr, num_steps, **options)
        self._model, self._optimizer = model, optimizer
        self._accumulate = check_int("accumulate", accumulate, 1)
        self._groups = check_choice("groups", groups, GROUPS)
        self._stateful = listed(stateful)
        self._kept = {
            "device": checked_device("snapshot_device", snapshot_device),
            "verify": check_bool("verify", verify),
        }
        checked_place(model, optimizer, None)
        if accumulate > 1 and accumulated_gradients(optimizer) is not None:
            raise ValueError(
                "accumulate must be 1 where Accelerate accumulates gradients, which says itself "
                f"how many batches an update has, got {accumulate}"
            )
        self._loop: Loop | None = None
        self._undoing: Undoing | None = None
        self._left = False
        self._sources: list[Batches | Strangers] = []
        self._streams: WeakSet[Generator[Any]] = WeakSet()

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a range test must be entered once, got a second time (make a new)")
        snapshot = Snapshot(self._model, self._optimizer, stateful=self._stateful, **self._kept)
        trial = Trial(self._optimizer, self._test, self._groups, enabled_scaler(self._stateful))
        strangers = Strangers(snapshot.optimizers, snapshot.others)
        self._sources.append(strangers)
        self._loop = Loop(self._optimizer, trial, strangers, self._accumulate)
        self._undoing = Undoing(snapshot, self._sources, owner=self)
        self._undoing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        assert self._loop is not None
        assert self._undoing is not None
        self._left, in_vain = True, False
        try:
            in_vain = self._end(self._loop, error)
        finally:
            # Not kept, for the copies in it.
            undoing, self._undoing = self._undoing, None
            undoing.__exit__(kind, error, trace)
            self._sources.clear()
        for note in (*undoing.notes, *self._remarks(self._loop)):
            self._test.note(note)
        return in_vain

    def _remarks(self, loop: Loop) -> Iterator[str]:
        if loop.trial.overruled and not any(hasattr(p, "get_last_lr") for p in self._stateful):
            yield OVERRULED
        missed = loop.missed_updates()
        if missed is not None:
            warn(missed)
            yield missed

    def _end(self, loop: Loop, error: BaseException | None) -> bool:
        """Judge what is left; whether the error is that of an update after the end of the test."""
        loop.close()
        for stream in [*self._streams]:
            # The loop may have been left in the middle, and somebody still hold it.
            stream.close()
        if error is None:
            # Not after an error: the other processes do not come here.
            loop.trial.read()
        if isinstance(error, Exception) and loop.was_in_vain():
            self._test.note(_in_vain(error))
            return True
        self._test.stop(LEFT_EARLY if error is None else f"interrupted by {type(error).__name__}")
        return False

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Batches of `loader`, from its start again where it ends, as long as the test runs.

        Sets the lr that the update with each batch must use. What decides the order of the batches
        is put back at the end of the test: generators, and counters of samplers.

        Raises:
            RuntimeError: outside of `with`, or not exactly one loss was recorded for each batch.
            ValueError: `loader` has no batches.
        """
        loop = self._inside("batches")
        source = Batches(loader, verify=self._kept["verify"])
        self._sources.append(source)
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

    def _inside(self, name: str) -> Loop:
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


def lr_find(
    model: nn.Module,
    optimizer: Optimizer,
    criterion: Callable[[Any, Any], torch.Tensor] | None,
    loader: Iterable[Any],
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 300,
    sweep: str | Schedule = "exponential",
    stop_factor: float | None = 2.0,
    forward: Callable[[Any, Any], Any] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    accumulate: int = 1,
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
        num_steps: Number of updates, int >= 10.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        forward: `forward(model, batch)` gives the outputs, where the above does not fit.
        loss: `loss(outputs, batch)` gives a scalar tensor, in the place of `criterion`.
        accumulate: Batches per update, int >= 1; their mean loss is recorded.
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
            *(model, optimizer, objective(model, criterion, forward, loss), place),
            accumulate=accumulate,
            amp=amp,
            scaler=scaler,
            validation=validation,
        ),
        Progress(len(sweeps) * len(sweeps[0].planned_lr), "LR range test", progress),
        Snapshot(
            *(model, optimizer),
            stateful=stateful,
            device=checked_device("snapshot_device", snapshot_device),
            verify=verify,
            # With a state of their own, such as a running mean.
            functions={"criterion": criterion, "forward": forward, "loss": loss},
        ),
    )
    with Undoing(finder.snapshot, sources) as undoing, finder.bar:
        curve = finder.sweep(sweeps)
    notes = (*curve.notes, *undoing.notes)
    return dataclasses.replace(curve, notes=notes) if undoing.notes else curve


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
    snapshot: Snapshot

    def sweep(self, tests: Sequence[RangeTest]) -> LossCurve:
        """The mean curve of the tests, which read the loader one after the other."""
        stream = iter(self.source)
        for index, test in enumerate(tests):
            if index:
                # with the random numbers of before, it would be the same sweep again
                self.snapshot.restore(random=False)
            self._train(test, stream)
            test.stop(LOADER_ENDED)
        return _mean(tests)

    def _train(self, test: RangeTest, stream: Iterator[Any]) -> None:
        if not self.model.training:
            self.model.train()
        begin_updates(self.optimizer)
        # as many batches as an update takes
        batches = zip(*[stream] * self.accumulate)  # noqa: B905
        with closing(Trial(self.optimizer, test, self.groups, self.scaler)) as trial:
            record, step = trial.record, self.step
            try:
                for update in self.bar.follow(trial.updates(batches)):
                    record(step(update))
            except Exception as error:
                if not trial.had_ended():
                    raise
                test.note(_in_vain(error))
            trial.read()
        if trial.overruled:
            warn(OVERRULED_INSIDE)
            test.note(OVERRULED_INSIDE)


def _in_vain(error: Exception) -> str:
    """Of an error that a loop without lag would not have met: a loss that refuses NaN, mostly."""
    return f"An update after the end of the sweep has raised {type(error).__name__}."


def _mean(tests: Sequence[RangeTest]) -> LossCurve:
    """The mean curve, without the sweeps that the end of the loader has cut short, if one is whole.

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
