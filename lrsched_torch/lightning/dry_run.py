"""A dry run of the training of a Lightning trainer: the same updates, and no mark on it."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from numbers import Number
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lrsched.rewind.objects import restore_attributes
from lrsched.rewind.restore_on_exit import DeferredInterrupt
from lrsched.rewind.snapshot import Snapshot
from lrsched_torch.rewind.process import random_sources
from lrsched_torch.rewind.registry import registry_for

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
# Attributes of every callback that are no hooks.
CALLBACK_STATE = ("state_key", "state_dict", "_legacy_state_key", "_generate_state_key")
# Attributes of a logger that say where it writes.
PLACES = ("log_dir", "name", "root_dir", "save_dir", "sub_dir", "version")
# Updates in a row without a loss, after which there will be none.
MAX_SKIPPED = 100


def find_lightning() -> ModuleType:
    """Return Lightning, under either of its names; of both, the one that is in use.

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


class DryRun:
    """Batches and updates of a trainer that is about to fit; made by `dry_run`.

    The updates are made by Lightning itself, so precision, gradient clipping, accumulation,
    strategy and the hooks of the LightningModule are those of the training. `trainer.global_step`
    counts them.

    Iterating gives the batches of an epoch: for each update a list of pairs (number of the batch
    in the epoch, batch).

    Attributes:
        skipped: Number of batches without a loss, since `training_step` returned None.
        in_vain: Number of updates in a row that the last one took without a loss.
    """

    def __init__(
        self, trainer: Any, module: Any, loop: Any, optimization: Any, loaders: ExitStack
    ) -> None:
        self._trainer, self._module = trainer, module
        self._loop, self._optimization = loop, optimization
        self._loaders = loaders
        loop._should_accumulate = self._should_accumulate
        self._more_to_come = False
        self._epoch: Iterator[list[tuple[int, Any]]] = iter(())
        self.skipped = self.in_vain = 0

    def __iter__(self) -> Iterator[list[tuple[int, Any]]]:
        self._epoch = self._updates()
        # Read one by one, since an update that is skipped takes the next from it, too.
        while together := next(self._epoch, None):
            yield together

    def __len__(self) -> int:
        """Return the number of updates in an epoch; an error where nobody knows."""
        batches, together = int(self._loop.max_batches), int(self._trainer.accumulate_grad_batches)
        return -(-batches // together)

    def _updates(self) -> Iterator[list[tuple[int, Any]]]:
        limit = self._loop.max_batches
        epoch = islice(self._loop._data_fetcher, None if limit == float("inf") else int(limit))
        numbered = ((number, batch) for number, (batch, *_) in enumerate(epoch))
        while together := list(islice(numbered, self._trainer.accumulate_grad_batches)):
            yield together

    def close(self) -> None:
        """Restore what decides the order of batches, which the trainer and its data lead to."""
        with DeferredInterrupt():
            self._loaders.close()

    def begin(self) -> None:
        """Run what the module does before the first batch."""
        self._module.on_train_start()
        self._module.on_train_epoch_start()

    def update(self, together: list[tuple[int, Any]]) -> Tensor | None:
        """Make one update; the mean loss of its batches.

        Where `training_step` returns None for all of them, which skips the update, the next
        batches make it. None if there are still no losses after many of them, or no batches.
        """
        following: list[tuple[int, Any]] | None = together
        self.in_vain = 0
        while following is not None and self.in_vain < MAX_SKIPPED:
            loss = self._try(following)
            if loss is not None:
                return loss
            self.in_vain += 1
            following = next(self._epoch, None) or self._begin_again()
        return None

    def _begin_again(self) -> list[tuple[int, Any]] | None:
        self._epoch = self._updates()
        return next(self._epoch, None)

    def _try(self, together: list[tuple[int, Any]]) -> Tensor | None:
        losses = []
        for place, (number, batch) in enumerate(together, 1):
            self._more_to_come = place < len(together)
            losses.append(self._run(number, batch))
        given = [loss for loss in losses if loss is not None]
        self.skipped += len(losses) - len(given)
        # Lightning has divided each of them.
        return (
            torch.stack(given).mean() * float(self._trainer.accumulate_grad_batches)
            if given
            else None
        )

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
def dry_run(trainer: Any, module: Any) -> Iterator[DryRun | None]:
    """Context manager that gives a dry run, or None if the trainer has no batches to train on.

    Callbacks, loggers and the profiler do nothing meanwhile, and what is logged goes nowhere; but
    they can be looked at, as a training that asks for the folder of its logs does. At the end, the
    attributes of the trainer, the random number generators and what decides the order of batches
    are restored.
    """
    end = ExitStack()
    try:
        yield _begin(trainer, module, end)
    finally:
        with DeferredInterrupt():
            end.close()


def _begin(trainer: Any, module: Any, end: ExitStack) -> DryRun | None:
    for source in random_sources():
        end.callback(source.write, source.read())
    loop = copy.copy(trainer.fit_loop)
    end.enter_context(restored_attributes(trainer))
    _schedule_accumulation(trainer)
    _mute(trainer, module, end)
    trainer.fit_loop = loop
    loaders = end.enter_context(ExitStack())
    if not _load_data(loop, loaders):
        return None
    optimization = _part("loops.optimization.automatic")._AutomaticOptimization(trainer)
    # The updates of the dry run are counted as those of the training are, on a copy.
    counted = loop.epoch_loop.automatic_optimization.optim_progress
    optimization.optim_progress = copy.deepcopy(counted)
    loop.epoch_loop = copy.copy(loop.epoch_loop)
    loop.epoch_loop.automatic_optimization = optimization
    return DryRun(trainer, module, loop, optimization, loaders)


@contextmanager
def restored_attributes(*owners: Any) -> Iterator[None]:
    """Context manager that restores which objects are the attributes of some owners."""
    before = [dict(vars(owner)) for owner in owners]
    try:
        yield
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            restore_attributes(owner, vars, attributes)


def _part(name: str) -> Any:
    """Return a part of Lightning."""
    return import_module(f"{find_lightning().__name__}.{name}")


def _schedule_accumulation(trainer: Any) -> None:
    """Accumulate as the training will at its start, where a callback says how much."""
    scheduler = _part("callbacks").GradientAccumulationScheduler
    for callback in trainer.callbacks:
        if isinstance(callback, scheduler):
            batches = callback.get_accumulate_grad_batches(trainer.current_epoch)
            trainer.accumulate_grad_batches = batches


def muted(trainer: Any) -> tuple[list[Any], list[Any]]:
    """Return what stands for the callbacks and the loggers of a trainer, and does nothing."""
    bar = _part("callbacks").ProgressBar
    # Without a progress bar, what a module prints goes straight to the screen.
    others = [callback for callback in trainer.callbacks if not isinstance(callback, bar)]
    callbacks = [MutedProxy(callback, _of_callback) for callback in others]
    return callbacks, [MutedProxy(logger, _of_logger) for logger in trainer.loggers]


def _mute(trainer: Any, module: Any, end: ExitStack) -> None:
    trainer.callbacks, trainer.loggers = muted(trainer)
    trainer.profiler = _part("profilers").PassThroughProfiler()
    trainer._logger_connector = connector = copy.copy(trainer._logger_connector)
    logged: dict[str, Tensor] = {}
    connector._callback_metrics = connector._logged_metrics = logged
    connector._progress_bar_metrics = logged
    for part in module.modules():
        if isinstance(part, find_lightning().LightningModule):
            end.enter_context(restored_attributes(part))
            # Lightning's own needs a running loop.
            part.log, part.log_dict = partial(_log, logged), partial(_log_all, logged)


class MutedProxy:
    """Something of the trainer that takes no part in the dry run, to be looked at.

    Args:
        original: What it is taken for.
        find: `find(original, name)` gives an attribute.
    """

    def __init__(self, original: Any, find: Callable[[Any, str], Any]) -> None:
        self._original, self._find = original, find

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # The trainer tells its callbacks and loggers apart by their type.
        return type(self._original)

    def __getattr__(self, name: str) -> Any:
        return self._find(self._original, name)


def _of_callback(callback: Any, name: str) -> Any:
    """Return what a callback holds, and in place of its hooks a function that does nothing."""
    is_hook = hasattr(find_lightning().Callback, name) and name not in CALLBACK_STATE
    return _ignore if is_hook else getattr(callback, name)


def _of_logger(logger: Any, name: str) -> Any:
    """Return where a logger writes, and for anything else what does nothing."""
    return getattr(logger if name in PLACES else _part("loggers.logger").DummyLogger(), name)


def _ignore(*arguments: Any, **options: Any) -> None:
    """Do nothing, in place of a hook."""


def _log(logged: dict[str, Tensor], name: str, value: Any, **options: Any) -> None:
    """Keep the last number of each name, in place of `LightningModule.log`."""
    if isinstance(value, (Number, Tensor)):
        logged[name] = torch.as_tensor(value).detach().clone()


def _log_all(logged: dict[str, Tensor], values: Mapping[str, Any], **options: Any) -> None:
    """Keep several, in place of `LightningModule.log_dict`."""
    for name, value in values.items():
        _log(logged, name, value)


def _load_data(loop: Any, end: ExitStack) -> bool:
    """Have a copy of the fit loop set up copies of the loaders; whether there are batches."""
    data, combined = _part("trainer.connectors.data_connector"), _part("utilities.combined_loader")
    if not loop._data_source.is_defined() or loop.trainer.limit_train_batches == 0:
        return False
    loaders = data._request_dataloader(loop._data_source)
    if not isinstance(loaders, combined.CombinedLoader):
        loaders = combined.CombinedLoader(loaders, "max_size_cycle")
    for loader in loaders.flattened:
        snapshot = Snapshot([("loader", loader)], registry_for(None), verify=False)
        end.callback(snapshot.restore)
        snapshot.suspend()
    loop._data_source = data._DataLoaderSource(copy.copy(loaders), "train_dataloader")
    loop._combined_loader = None
    with warnings.catch_warnings():
        # The trainer says the same when it sets up its own.
        warnings.simplefilter("ignore")
        loop.setup_data()
    end.callback(loop._data_fetcher.teardown)
    return bool(loop.max_batches)
