"""A small training with Lightning that has something of everything, and all that is to be seen."""

import random
from pathlib import Path

import lightning
import numpy as np
import torch
import torchmetrics
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lrsched_torch import OneCycleLR
from lrsched_torch.lightning import LearningRateFinder

EPOCHS, BATCHES = 2, 12
STEPS = EPOCHS * BATCHES


class Classifier(lightning.LightningModule):
    """Something of everything that a training moves: statistics, dropout, a metric, logs."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.lr = lr
        self.seen, self.losses = 0, []
        self.layers = nn.Sequential(
            nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)
        )
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=2)

    def on_train_epoch_start(self):
        self.scale = 1.0

    def training_step(self, batch, index):
        x, y = batch["a"] if isinstance(batch, dict) else batch
        self.seen += len(x)
        scores = self.layers(x)
        loss = self.scale * nn.functional.cross_entropy(scores, y)
        self.accuracy(scores, y)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)
        self.log_dict({"loss": loss.detach()}, on_step=True)
        self.logger.log_metrics({"x": x.sum().item()}, self.global_step)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer):
        self.log("norm", next(self.parameters()).grad.norm())

    def configure_optimizers(self):
        return one_cycle(self, self.lr)


class Planned(Classifier):
    """Has its loaders set up before the fit starts, since it asks for their number of batches."""

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches == STEPS
        return super().configure_optimizers()


def one_cycle(module, lr):
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    scheduler = OneCycleLR(optimizer, max_lr=lr, total_steps=STEPS)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Recorder(Callback):
    """The hooks that the trainer calls, and the lr of every update."""

    def __init__(self):
        self.hooks, self.lrs = [], []

    def on_train_batch_start(self, *arguments):
        self.hooks.append("batch")

    def on_before_backward(self, *arguments):
        self.hooks.append("backward")

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.hooks.append("step")
        self.lrs.append(optimizer.param_groups[0]["lr"])


def samples():
    x = torch.randn(16 * BATCHES, 8, generator=torch.Generator().manual_seed(5))
    return TensorDataset(x, (x.sum(1) + x[:, 0] > 0).long())


def loader(seed=None, **options):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(samples(), 16, **{"shuffle": True, "generator": generator, **options})


def working_loader(seed):
    return loader(seed, num_workers=1, persistent_workers=True)


def float16():
    """Overflows at first."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**22))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([samples()[int(i)] for i in torch.randperm(16 * BATCHES)])


def finder(**options):
    settings = {"start_lr": 1e-5, "end_lr": 10.0, "num_steps": 80, "on_doubt": "use", **options}
    return LearningRateFinder(**settings)


def fit(folder, make=Classifier, callbacks=(), batches=loader, plugins=(), **options):
    """A training; gives the module, the trainer, and all that is to be seen of it."""
    lightning.seed_everything(1, verbose=False)
    module, recorder, train_loader = make(), Recorder(), batches()
    resume_from = options.pop("resume_from", None)
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, recorder],
        plugins=[plugin() for plugin in plugins],
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        **{"max_epochs": EPOCHS, "enable_checkpointing": False, **options},
    )
    trainer.fit(module, train_loader, loader(shuffle=False), ckpt_path=resume_from)
    trace = {
        "lrs": recorder.lrs,
        "hooks": recorder.hooks,
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "losses": module.losses,
        "seen": module.seen,
        "random": random_state(),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "steps": trainer.fit_loop.state_dict(),
        "logged": logged(trainer.logger),
        "scaler": trainer.precision_plugin.state_dict(),
    }
    if isinstance(train_loader, DataLoader) and train_loader.generator is not None:
        trace["order"] = train_loader.generator.get_state().tolist()
    return module, trainer, trace


def logged(logger):
    if not isinstance(logger, CSVLogger):
        return None
    logger.save()
    written = Path(logger.experiment.metrics_file_path)
    return written.read_text() if written.exists() else None


def random_state():
    numbers = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    return random.getstate(), numbers


class State(Callback):
    """What there is at two moments, before the finder and after it or at an exception."""

    def __init__(self):
        self.seen = []

    def on_fit_start(self, trainer, module):
        self.look(trainer, module)

    def on_exception(self, trainer, module, error):
        self.look(trainer, module)

    def look(self, trainer, module):
        tensors = [*module.parameters(), *module.buffers()]
        optimizer = trainer.optimizers[0]
        profiled = getattr(trainer.profiler, "recorded_durations", {})
        # The name of the present hook, of Lightning's own.
        attributes = {k: id(v) for k, v in vars(module).items() if k != "_current_fx_name"}
        self.seen.append(
            {
                "trainer": {name: id(value) for name, value in vars(trainer).items()},
                "fit loop": {name: id(value) for name, value in vars(trainer.fit_loop).items()},
                "progress": trainer.fit_loop.state_dict(),
                "profiled": [name for name in profiled if "step" in name],
                "metrics": (dict(trainer.callback_metrics), sorted(trainer._results)),
                "tensors": [(id(tensor), tensor.tolist()) for tensor in tensors],
                "gradients": [parameter.grad for parameter in module.parameters()],
                "modes": [part.training for part in module.modules()],
                "attributes": attributes,
                "counted": (module.seen, list(module.losses)),
                "optimizer": (len(optimizer.state), repr(optimizer)),
                "random": random_state(),
                "order": trainer.fit_loop._data_source.instance.generator.get_state().tolist(),
            }
        )
