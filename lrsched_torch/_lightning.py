"""The training of a Lightning trainer, rehearsed: the same updates, and no mark on the trainer."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lrsched_torch._batches import Batches
from lrsched_torch._random_states import RandomStates

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def find_lightning() -> ModuleType:
    """Lightning, under either of its names; the one that is in use where both are installed.

    Raises:
        ImportError: it is not installed.
    """
    for name in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
    raise ImportError(
        'lrsched_torch.lightning needs Lightning: pip install "onecycle-lr[integrations]"'
    )


class Rehearsal:
    """Batches and updates of a trainer that is about to fit; made by `rehearse`.

    The updates are made by Lightning itself, so precision, gradient clipping, accumulation,
    strategy and the hooks of the LightningModule are those of the training.

    Iterating gives the batches of an epoch: for each update a list of pairs (number of the batch
    in the epoch, batch).
    """

    def __init__(self, trainer: Any, module: Any, loop: Any, optimization: Any) -> None:
        self._trainer, self._module = trainer, module
        self._loop, self._optimization = loop, optimization
        loop._should_accumulate = self._should_accumulate
        self._more_to_come = False

    def __iter__(self) -> Iterator[list[tuple[int, Any]]]:
        limit = self._loop.max_batches
        epoch = islice(self._loop._data_fetcher, None if limit == float("inf") else int(limit))
        numbered = ((number, batch) for number, (batch, *_) in enumerate(epoch))
        while together := list(islice(numbered, self._trainer.accumulate_grad_batches)):
            yield together

    def begin(self) -> None:
        """Run what the module does before the first batch."""
        self._module.on_train_start()
        self._module.on_train_epoch_start()

    def update(self, together: list[tuple[int, Any]]) -> Tensor:
        """Make one update; the mean loss of its batches, NaN if training_step gave none."""
        losses = []
        for place, (number, batch) in enumerate(together, 1):
            self._more_to_come = place < len(together)
            losses.append(self._run(number, batch))
        given = [loss for loss in losses if loss is not None]
        mean = torch.stack(given).mean() if given else torch.tensor(torch.nan)
        # Lightning has divided each of them.
        return mean * float(self._trainer.accumulate_grad_batches)

    def _run(self, number: int, batch: Any) -> Any:
        trainer, module = self._trainer, self._module
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        module.on_train_batch_start(batch, number)
        arguments = self._loop.epoch_loop._build_kwargs(OrderedDict(), batch, number)
        outputs = self._optimization.run(trainer.optimizers[0], number, arguments)
        module.on_train_batch_end(outputs, batch, number)
        return outputs.get("loss")

    def _should_accumulate(self) -> bool:
        return self._more_to_come


@contextmanager
def rehearse(trainer: Any, module: Any) -> Iterator[Rehearsal | None]:
    """A rehearsal of the training, or None if the trainer has no batches to train on.

    Logging, callbacks and the profiler are off meanwhile. At the end, the attributes of the
    trainer, the random number generators and what decides the order of batches are put back.
    """
    with ExitStack() as end:
        end.callback(RandomStates().restore)
        loop = copy.copy(trainer.fit_loop)
        end.enter_context(kept(trainer))
        _mute(trainer, module, end)
        trainer.fit_loop = loop
        if not _load_data(loop, end):
            yield None
            return
        optimization = _part("loops.optimization.automatic")._AutomaticOptimization(trainer)
        yield Rehearsal(trainer, module, loop, optimization)


@contextmanager
def kept(*owners: Any) -> Iterator[None]:
    """Put back which objects are the attributes of `owners`."""
    before = [dict(vars(owner)) for owner in owners]
    try:
        yield
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            # In this order nothing is missing if Ctrl-C comes in between.
            vars(owner).update(attributes)
            for name in vars(owner).keys() - attributes.keys():
                del vars(owner)[name]


def _part(name: str) -> Any:
    """A part of Lightning."""
    return import_module(f"{find_lightning().__name__}.{name}")


def _mute(trainer: Any, module: Any, end: ExitStack) -> None:
    trainer.callbacks = []
    trainer.loggers = [_part("loggers.logger").DummyLogger() for _ in trainer.loggers]
    trainer.profiler = _part("profilers").PassThroughProfiler()
    for part in module.modules():
        if isinstance(part, find_lightning().LightningModule):
            end.enter_context(kept(part))
            part.log = part.log_dict = _log_nothing


def _log_nothing(*arguments: Any, **options: Any) -> None:
    """In the place of `LightningModule.log`, which needs a running loop."""


def _load_data(loop: Any, end: ExitStack) -> bool:
    """Have a copy of the fit loop set up copies of the loaders; whether there are batches."""
    data, combined = _part("trainer.connectors.data_connector"), _part("utilities.combined_loader")
    if not loop._data_source.is_defined() or loop.trainer.limit_train_batches == 0:
        return False
    loaders = data._request_dataloader(loop._data_source)
    if not isinstance(loaders, combined.CombinedLoader):
        loaders = combined.CombinedLoader(loaders, "max_size_cycle")
    for loader in loaders.flattened:
        batches = Batches(loader, verify=False)
        end.callback(batches.restore)
        batches.set_aside()
    loop._data_source = data._DataLoaderSource(copy.copy(loaders), "train_dataloader")
    loop._combined_loader = None
    with warnings.catch_warnings():
        # The trainer says the same when it sets up its own.
        warnings.simplefilter("ignore")
        loop.setup_data()
    end.callback(loop._data_fetcher.teardown)
    return bool(loop.max_batches)
