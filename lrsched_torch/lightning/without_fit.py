"""A range test with a Lightning trainer that does not train yet, as that of its `Tuner`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from lrsched._names import TUNER, answers_to
from lrsched._validate import check_type, shown
from lrsched.curve.loss_curve import LossCurve
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED
from lrsched.rewind.restore_on_exit import DeferredInterrupt
from lrsched_torch.finder.batches import check_loader
from lrsched_torch.lightning.dry_run import muted, restored_attributes
from lrsched_torch.lightning.finder import LearningRateFinder, check_supported, pl
from lrsched_torch.rewind.process import random_sources

# What the trainer leads to, whose attributes a fit sets.
PARTS = ("state", "fit_loop", "strategy", "_data_connector", "_logger_connector")


class _Measuring(LearningRateFinder):
    """Takes the curve at the start of a fit, and ends the fit there."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Run the range test alone; called by the trainer."""
        check_supported(trainer, pl_module)
        self.curve = self._run(trainer, pl_module)
        raise import_module(f"{pl.__name__}.utilities.exceptions")._TunerExitException


@answers_to(TUNER)
def lr_find(
    trainer: Any,
    module: Any,
    train_dataloaders: Any = None,
    *,
    datamodule: Any = None,
    start_lr: float = DEFAULT_SWEEP[0],
    end_lr: float = DEFAULT_SWEEP[1],
    num_steps: int = DEFAULT_SWEEP[2],
    sweep: str | Schedule = TWO_SPEED,
    stop_factor: float | None = 2.0,
    groups: str = "ratio",
    stateful: Iterable[Any] = (),
    snapshot_device: Any = None,
    verify: bool = True,
) -> LossCurve:
    """Run a range test with a Lightning trainer, without a fit, and set nothing.

    Trains as `trainer.fit` would, with its precision, gradient clipping, accumulation and strategy,
    and with the optimizer that `configure_optimizers` gives; its schedulers do not run. The hooks
    that prepare data and module for a fit run, those of callbacks and loggers do not. Afterwards,
    also after an exception, trainer, module, data and random number generators are as they were;
    as after a fit, the module is on the CPU.

    Args:
        trainer: The Trainer.
        module: The LightningModule; keeps its learning rate.
        train_dataloaders: As for `trainer.fit`; None takes those of the module.
        datamodule: As for `trainer.fit`, in the place of `train_dataloaders`.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        groups: As for `lrsched_torch.range_test`.
        stateful: As for `lrsched_torch.range_test`, beside the trainer's GradScaler.
        snapshot_device: As for `lrsched_torch.range_test`.
        verify: As for `lrsched_torch.range_test`.

    Returns:
        The curve; `curve.suggest()` reads a learning rate from it.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range, no batches, a trainer with `fast_dev_run` or a
            strategy that spawns processes, manual optimization, or several optimizers.
    """
    check_type("trainer", trainer, pl.Trainer, "of the Lightning that is imported")
    check_type("module", module, pl.LightningModule, "of the Lightning that is imported")
    if isinstance(train_dataloaders, pl.LightningDataModule):
        train_dataloaders, datamodule = None, train_dataloaders
    if train_dataloaders is not None and datamodule is not None:
        raise ValueError(
            "train_dataloaders must be None where datamodule is given, got both (pass one of them)"
        )
    if train_dataloaders is not None:
        check_loader("train_dataloaders", train_dataloaders)
    if trainer.fast_dev_run:
        raise ValueError(
            "trainer must train for more than a rehearsal, got one with "
            f"fast_dev_run={shown(trainer.fast_dev_run)} (leave it out)"
        )
    launchers = import_module(f"{pl.__name__}.strategies.launchers")
    if isinstance(trainer.strategy.launcher, launchers._MultiProcessingLauncher):
        # The curve would stay in the processes that a fit starts.
        raise ValueError(
            "trainer must not start processes for its fit alone, got a strategy that does "
            "(use one like 'ddp', or the callback LearningRateFinder)"
        )
    finder = _Measuring(
        None,
        start_lr=start_lr,
        end_lr=end_lr,
        num_steps=num_steps,
        sweep=sweep,
        stop_factor=stop_factor,
        groups=groups,
        stateful=stateful,
        snapshot_device=snapshot_device,
        verify=verify,
    )
    with _left_alone(trainer, module, datamodule), warnings.catch_warnings():
        # Nothing is to be validated.
        warnings.filterwarnings("ignore", ".*but have no `val_dataloader`")
        trainer.callbacks.insert(0, finder)
        trainer.fit(module, train_dataloaders, datamodule=datamodule)
    if finder.curve is None:
        raise ValueError(
            "train_dataloaders must give batches, got none (pass a loader or a datamodule, or give "
            "the module a train_dataloader)"
        )
    return finder.curve


@contextmanager
def _left_alone(trainer: Any, module: Any, datamodule: Any) -> Iterator[None]:
    """Context manager in which callbacks and loggers do nothing, and that restores the rest."""
    parts = [getattr(trainer, name) for name in PARTS]
    owners = [trainer, *parts, trainer.fit_loop.epoch_loop, *module.modules()]
    end = ExitStack()
    try:
        end.enter_context(restored_attributes(*owners, *([datamodule] if datamodule else [])))
        for source in random_sources():
            end.callback(source.write, source.read())
        trainer.callbacks, trainer.loggers = muted(trainer)
        yield
    finally:
        with DeferredInterrupt():
            end.close()
