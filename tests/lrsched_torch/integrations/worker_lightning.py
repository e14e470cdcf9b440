"""A training with Lightning in one of two processes, with LearningRateFinder and without."""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrsched_torch import OneCycleLR
from lrsched_torch.lightning import LearningRateFinder, lr_find

EPOCHS, BATCHES, BATCH = 2, 12, 32
# One that is the same whatever lr the optimizer has.
SWEEP = {"start_lr": 1e-5, "end_lr": 10.0, "num_steps": 60, "sweep": "exponential"}


class Regression(lightning.LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr, self.losses = lr, []
        self.layers = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
        )

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from torch.distributed.fsdp import FSDPModule, fully_shard

            if isinstance(self.layers, FSDPModule):  # it is called for each fit
                return
            for part in (self.layers[0], self.layers):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        loss = nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("loss", loss, sync_dist=True)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        scheduler = OneCycleLR(optimizer, max_lr=self.lr, total_steps=EPOCHS * BATCHES)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def fit(
    strategy: Any, lr: float, callbacks: list[Any], curves: list[Any] | None = None
) -> tuple[float, dict[str, Any]]:
    """The lr that the training used, and all that is left of it; a list takes a curve before."""
    lightning.seed_everything(1, verbose=False)
    module = Regression(lr)
    x = torch.randn(2 * BATCH * BATCHES, 8)
    torch.manual_seed(int(os.environ["RANK"]))
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = TensorDataset(x, x.sum(1, keepdim=True))
    loader = DataLoader(data, BATCH, shuffle=True)
    if curves is not None:
        curves.append(lr_find(trainer, module, loader, **SWEEP))
        module.losses.clear()
    trainer.fit(module, loader)
    weights = [getattr(p, "to_local", lambda p=p: p)().tolist() for p in module.parameters()]
    left = {"losses": module.losses, "weights": weights, "random": torch.get_rng_state().tolist()}
    return module.lr, left


STRATEGIES = {
    "ddp": DDPStrategy,
    "fsdp": partial(ModelParallelStrategy, data_parallel_size=2, tensor_parallel_size=1),
}


def report(kind: str) -> dict[str, Any]:
    """Both trainings, and what was found."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    finder = LearningRateFinder(**SWEEP, on_doubt="use")
    lr, found = fit(STRATEGIES[kind](), 0.001, [finder])
    _, by_hand = fit(STRATEGIES[kind](), lr, [])
    curves: list[Any] = []
    _, after = fit(STRATEGIES[kind](), lr, [], curves)
    said = {
        "lr": lr,
        "curve": list(finder.curve.loss),
        "notes": finder.curve.notes,
        "curve without a fit": list(curves[0].loss),
    }
    return {"said": said, "found": found, "by hand": by_hand, "after lr_find": after}
