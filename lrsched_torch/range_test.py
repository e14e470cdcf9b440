"""LR range test for PyTorch: in one call, or around any training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lrsched._progress import Progress
from lrsched._validate import check_bool, check_choice, check_type
from lrsched.loss_curve import LossCurve
from lrsched.range_test import RangeTest
from lrsched.refine import REFINE_STEPS, ProbeRun, check_refine_steps
from lrsched.refine import refine as refine_curve
from lrsched.schedule import Schedule
from lrsched.suggestion import SCHEDULE_FACTORS
from lrsched_torch._groups import write_lr
from lrsched_torch.snapshot import Snapshot

if TYPE_CHECKING:
    from typing_extensions import Self


class _Trial:
    """A training whose lr a state machine sets, with everything put back at its end.

    Args:
        test: Says which lr the next update uses and whether to go on, and takes the losses.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, test: RangeTest | ProbeRun
    ) -> None:
        self._test = test
        self._model, self._optimizer = model, optimizer
        self._snapshot: Snapshot | None = None
        self._recorded = 0

    def __enter__(self) -> Self:
        if self._snapshot is not None:
            raise RuntimeError("a range test must be entered once, got a second time (make a new)")
        self._snapshot = Snapshot(self._model, self._optimizer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._snapshot is not None
        self._snapshot.restore()

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Batches of `loader`, from its start again where it ends, as long as the test runs.

        Sets the lr that the update with each batch must use. The generator of a `DataLoader` is
        put back when the iteration ends, so its shuffling order later is that of a run without
        the test.

        Raises:
            RuntimeError: outside of `with`, or no loss was recorded for the last batch.
            ValueError: `loader` has no batches.
        """
        if self._snapshot is None:
            raise RuntimeError("batches must be used inside `with range_test(...) as test:`")
        states = [(g, g.get_state()) for g in _generators(loader)]
        try:
            for batch in _endless(loader):
                recorded = self._recorded
                for group in self._optimizer.param_groups:
                    write_lr(group, self._test.lr)
                yield batch
                if self._recorded == recorded:
                    raise RuntimeError(
                        "record(loss) must be called once for every batch, got no loss "
                        f"for batch {recorded}"
                    )
                if not self._test.running:
                    return
        finally:
            for generator, state in states:
                generator.set_state(state)

    def record(self, loss: Any) -> bool:
        """Keep the loss of the update just made; whether the test goes on.

        Raises:
            TypeError: `loss` is not one real number.
            RuntimeError: the test has ended.
        """
        running = self._test.record(loss.detach() if isinstance(loss, torch.Tensor) else loss)
        self._recorded += 1
        return running


class range_test(_Trial):  # noqa: N801 - used as a function: `with range_test(...) as test`
    """Run an LR range test in your own loop, and have everything back at its end.

    On entry the state of the model, the optimizer and the random number generators is kept; on
    exit, also after an exception or Ctrl-C, it is put back in place. `batches` sets the lr of
    every parameter group before it hands out a batch.

    Args:
        model: The model that trains; left as it was.
        optimizer: The optimizer of its parameters; left as it was.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10.
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
        ...         _ = test.record(loss)
        >>> len(test.curve)
        20

    Source: Smith 2015, arXiv:1506.01186.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_steps: int = 300,
        **options: Any,
    ) -> None:
        check_type("model", model, nn.Module)
        check_type("optimizer", optimizer, torch.optim.Optimizer)
        self._test: RangeTest
        super().__init__(model, optimizer, RangeTest(start_lr, end_lr, num_steps, **options))
        _check_ownership(model, optimizer)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is not None:
            self._test.stop(f"interrupted by {type(error).__name__}")

    @property
    def num_steps(self) -> int:
        """Number of updates planned."""
        return len(self._test.planned_lr)

    @property
    def lr(self) -> float:
        """The learning rate that the next update uses."""
        return self._test.lr

    @property
    def running(self) -> bool:
        """Whether the test wants another update."""
        return self._test.running

    @property
    def curve(self) -> LossCurve:
        """The losses recorded so far, with the lr that each update used."""
        return self._test.curve


def lr_find(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    criterion: Callable[[Any, Any], torch.Tensor],
    loader: Iterable[Any],
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 300,
    sweep: str | Schedule = "exponential",
    stop_factor: float | None = 2.0,
    refine: bool = False,
    refine_steps: int = REFINE_STEPS,
    schedule: str = "one_cycle",
    progress: bool = False,
) -> LossCurve:
    """Find a learning rate: train for `num_steps` updates with a growing one, then undo it all.

    With `refine=True`, three short trainings follow, around the suggestion and with the schedule
    that it is for, each from the state of before and on the same batches; then
    `curve.suggest(schedule=schedule)` goes by them. They are undone too.

    The model trains in train mode, on the device that its first parameter is on. Afterwards the
    model, the optimizer and the random number generators are as they were, also after an
    exception or Ctrl-C.

    Args:
        model: The model; called as `model(inputs)`.
        optimizer: The optimizer of its parameters.
        criterion: Called as `criterion(model(inputs), target)`; gives a scalar tensor.
        loader: Iterable of `(inputs, target)` pairs of tensors, such as a DataLoader; it starts
            again where it ends.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 10.
        sweep: "exponential", "linear", or a rising Schedule (with the three above left out).
        stop_factor: As for `lrsched.RangeTest`.
        refine: Check the suggestion with short trainings.
        refine_steps: Updates of all of them together, int >= 60.
        schedule: What the lr is for, where `refine` is set: "one_cycle" or "constant".
        progress: Show a progress bar over all updates (needs tqdm).

    Returns:
        The curve; `curve.suggest()` reads a learning rate from it.

    Raises:
        TypeError: an argument of the wrong kind, or a batch that is not a pair.
        ValueError: an argument out of range, or a `loader` without batches.

    Source: Smith 2015, arXiv:1506.01186.
    """
    test = range_test(
        model, optimizer, start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor
    )
    check_choice("schedule", schedule, SCHEDULE_FACTORS)
    probed = check_refine_steps(refine_steps) if check_bool("refine", refine) else 0
    device = next(model.parameters()).device

    def train(trial: _Trial) -> None:
        with trial:
            model.train()
            for batch in trial.batches(loader):
                inputs, target = _pair(batch)
                optimizer.zero_grad()
                loss = criterion(model(inputs.to(device)), target.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                trial.record(loss)
                bar.update()

    with Progress(test.num_steps + probed, "LR range test", progress) as bar:
        train(test)
        if not refine:
            return test.curve
        return refine_curve(
            test.curve,
            lambda run: train(_Trial(model, optimizer, run)),
            schedule=schedule,
            num_steps=probed,
        )


def _check_ownership(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    parameters = {id(parameter) for parameter in model.parameters()}
    owned = (id(p) for group in optimizer.param_groups for p in group["params"])
    if parameters.isdisjoint(owned):
        raise ValueError(
            "optimizer must hold parameters of model, got none of them "
            "(was the model rebuilt after the optimizer was made?)"
        )


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "loader must give batches, got none (a generator can be read only once)"
            )


def _generators(loader: Any) -> Iterator[torch.Generator]:
    """The random number generators that a DataLoader draws its order from."""
    for source in (
        loader,
        getattr(loader, "sampler", None),
        getattr(loader, "batch_sampler", None),
    ):
        generator = getattr(source, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            "a batch of loader must be a pair (inputs, target), "
            f"got {type(batch).__name__} (use range_test around a loop of your own)"
        )
    return batch[0], batch[1]
