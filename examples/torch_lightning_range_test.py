"""A learning rate found at the start of `Trainer.fit`, which 1cycle then really uses.

The callback sets `module.lr` and has the trainer call `configure_optimizers` again, so the
scheduler that is built from it follows. The batches and dropout masks of the training are those
of a run that never had a range test.

python examples/torch_lightning_range_test.py
"""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import lrsched_torch
from lrsched_torch.lightning import LearningRateFinder

EPOCHS, BATCH = 5, 64


class Regression(lightning.LightningModule):
    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Dropout(0.05), torch.nn.Linear(64, 1)
        )

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        inputs, target = batch
        loss = torch.nn.functional.mse_loss(self.layers(inputs), target)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        total_steps = self.trainer.estimated_stepping_batches
        scheduler = lrsched_torch.OneCycleLR(optimizer, max_lr=self.lr, total_steps=total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def main() -> tuple[float | None, float, float]:
    lightning.seed_everything(0, verbose=False)
    x = torch.randn(6400, 20)
    y = x[:, :10].sum(1, keepdim=True) / 10**0.5
    module, finder = Regression(), LearningRateFinder("lr")
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[finder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(x, y), BATCH, shuffle=True))
    loss = float(trainer.callback_metrics["loss"])
    print(finder.suggestion)
    print(f"trained with lr {module.lr:.3g} at the peak to a loss of {loss:.4f}")
    return finder.suggestion.lr, module.lr, loss


if __name__ == "__main__":
    main()
