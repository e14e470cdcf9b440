"""Lightning drives the schedulers: interval "step", checkpoint and resume, LearningRateMonitor."""

import csv

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")

import lightning
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import lrsched
from lrsched_torch import OneCycleLR, steps_for

EPOCHS, BATCHES, ACCUMULATE = 4, 10, 2
STEPS = steps_for(EPOCHS, BATCHES, accumulate=ACCUMULATE)


class Regression(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
        }


class Applied(Callback):
    """lr and momentum that every update used."""

    def __init__(self):
        self.lrs, self.momenta = [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])
        self.momenta.append(optimizer.param_groups[0]["momentum"])


def fit(folder, epochs=EPOCHS, resume_from=None, **arguments):
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(10 * BATCHES, 4, generator=generator)
    loader = DataLoader(TensorDataset(data, data.sum(1, keepdim=True)), batch_size=10)
    model, applied = Regression(), Applied()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=ACCUMULATE,
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            applied,
            LearningRateMonitor("step", log_momentum=True),
            ModelCheckpoint(folder, filename="last"),
        ],
        logger=CSVLogger(folder, flush_logs_every_n_steps=1),
        log_every_n_steps=1,
        **arguments,
    )
    trainer.fit(model, loader, ckpt_path=resume_from)
    return model, applied, trainer


def test_every_update_uses_the_scheduled_values_and_the_monitor_logs_them(tmp_path):
    _, applied, trainer = fit(tmp_path)
    assert applied.lrs == list(lrsched.one_cycle(0.1, STEPS).values())
    assert applied.momenta == list(lrsched.one_cycle_momentum(STEPS).values())
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == STEPS
    trainer.logger.save()
    with open(trainer.logger.experiment.metrics_file_path) as file:
        rows = list(csv.DictReader(file))
    # Logged for every batch, two of which make an update.
    for key, used in (("lr", applied.lrs), ("lr-momentum", applied.momenta)):
        logged = [float(row[key]) for row in rows if row[key]]
        assert logged[::ACCUMULATE] == used


def test_a_resumed_run_equals_the_unbroken_one(tmp_path):
    whole, applied, _ = fit(tmp_path / "whole")
    fit(tmp_path / "broken", epochs=2)
    resumed, rest, _ = fit(tmp_path / "broken", resume_from=tmp_path / "broken" / "last.ckpt")
    assert rest.lrs == applied.lrs[STEPS // 2 :]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
