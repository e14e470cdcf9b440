"""A training of the experiments in Lightning, whose callback finds the lr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch

from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import lr_of
from lrsched.experiments.training import Setting, Training
from lrsched_torch.experiments.network import Network, loss_of
from lrsched_torch.lightning.finder import LearningRateFinder
from lrsched_torch.schedulers.one_cycle import OneCycleLR

Validate = Callable[[Network, Dataset], tuple[float, float]]


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A network that is trained by 1cycle with the peak `lr`."""

    def __init__(
        self,
        model: Network,
        optimizer: torch.optim.Optimizer,
        setting: Setting,
        validate: Validate,
    ) -> None:
        super().__init__()
        self.model, self.lr = model, 0.01
        self._optimizer, self._setting, self._validate = optimizer, setting, validate
        self._total, self._batches = 0.0, 0
        self.losses: list[float] = []
        self.validations: list[tuple[float, float]] = []

    def configure_optimizers(self) -> Any:
        steps = self._setting.total_steps
        scheduler = OneCycleLR(self._optimizer, max_lr=self.lr, total_steps=steps)
        config = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": self._optimizer, "lr_scheduler": config}

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, targets = batch
        loss = loss_of(self.model(images), targets)
        self._total, self._batches = self._total + loss.item(), self._batches + 1
        return loss

    def on_train_epoch_start(self) -> None:
        self._total, self._batches = 0.0, 0

    def on_train_epoch_end(self) -> None:
        self.losses.append(self._total / self._batches)
        self.validations.append(self._validate(self.model, self._setting.data))


def fit(
    model: Network,
    optimizer: torch.optim.Optimizer,
    setting: Setting,
    loader: Iterable[Any],
    validate: Validate,
) -> Training:
    """Train with the lr that `LearningRateFinder` sets at the start of the fit."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = Module(model, optimizer, setting, validate)
    finder = LearningRateFinder(
        num_steps=setting.sweep_steps,
        sweep=setting.sweep,
        on_doubt="use",
        fallback=1e-3,  # where the range test finds none, `lr_of` says so below
    )
    trainer = lightning.Trainer(
        max_epochs=setting.epochs,
        accelerator=model.device_type,
        devices=1,
        callbacks=[finder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(module, loader)
    assert finder.curve is not None
    return Training(module.losses, module.validations, lr_of(finder.curve, "one_cycle"))
