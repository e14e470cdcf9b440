"""Range tests and trainings of the experiments in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from lrsched.curve.loss_curve import LossCurve
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import find_and_train
from lrsched.experiments.training import Batches, Setting, Training, Variant, Ways, validate
from lrsched_torch.experiments.network import Network, Outputs, loss_of
from lrsched_torch.finder.lr_find import lr_find
from lrsched_torch.schedulers.schedule_lr import ScheduleLR

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
}


class Tensors:
    """The batches of a training as tensors."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._batches = Batches(setting, seed)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Outputs]]:
        for images, targets in self._batches:
            yield (
                torch.from_numpy(images),
                {name: torch.from_numpy(each) for name, each in targets.items()},
            )


class TorchLoop:
    """Plain PyTorch: trains on the GPU where there is one."""

    def __init__(self) -> None:
        self.software = f"PyTorch {torch.__version__.split('+')[0]}"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.ways: Ways = {"lr_find, then OneCycleLR": partial(find_and_train, self)}
        if find_spec("lightning"):
            self.ways["Lightning callback"] = self._fit_in_lightning
        self._pretrained = cache(self._pretrain)

    def find(self, setting: Setting, seed: int) -> LossCurve:
        model, optimizer = self._prepared(setting, seed)
        return lr_find(
            model,
            optimizer,
            loss_of,
            Tensors(setting, seed),
            num_steps=setting.sweep_steps,
            sweep=setting.sweep,
        )

    def train(self, variant: Variant, seed: int) -> Training:
        model, optimizer = self._prepared(variant.setting, seed)
        return self._run(variant, seed, model, optimizer)

    def _fit_in_lightning(self, setting: Setting, seed: int) -> Training:
        from lrsched_torch.experiments.lightning_fit import fit

        model, optimizer = self._prepared(setting, seed)
        return fit(model, optimizer, setting, Tensors(setting, seed), self.validate)

    def _run(
        self, variant: Variant, seed: int, model: Network, optimizer: torch.optim.Optimizer
    ) -> Training:
        assert variant.lr is not None  # else the way that finds it is called
        setting = variant.setting
        scheduler = ScheduleLR(optimizer, variant.lr, variant.momentum)
        batches = Tensors(setting, seed)
        losses, validations = [], []
        for _ in range(setting.epochs):
            total = torch.zeros((), device=self.device)
            for images, targets in batches:
                optimizer.zero_grad()
                outputs = model(images.to(self.device))
                loss = loss_of(outputs, {n: t.to(self.device) for n, t in targets.items()})
                torch.autograd.backward(loss)
                optimizer.step()
                scheduler.step()
                total += loss.detach()
            losses.append(total.item() / len(batches))
            validations.append(self.validate(model, setting.data))
        return Training(losses, validations, max(variant.lr.values(setting.total_steps).tolist()))

    def _prepared(self, setting: Setting, seed: int) -> tuple[Network, torch.optim.Optimizer]:
        """A seeded model, trained before where the setting asks, and its optimizer."""
        torch.manual_seed(seed)
        model = Network(setting).to(self.device)
        if setting.pretraining is not None:
            model.load_state_dict(self._pretrained(setting.pretraining, seed))
        name, momentum, decay = setting.optimizer
        options = {"momentum": momentum} if name == "sgd" else {}
        optimizer = OPTIMIZERS[name](model.parameters(), lr=0.01, weight_decay=decay, **options)
        return model, optimizer

    def _pretrain(self, variant: Variant, seed: int) -> dict[str, Any]:
        model, optimizer = self._prepared(variant.setting, seed)
        self._run(variant, seed, model, optimizer)
        return model.state_dict()

    @torch.no_grad()
    def validate(self, model: Network, data: Dataset) -> tuple[float, float]:
        """Validation loss and accuracy of a model."""
        model.eval()
        batches = torch.split(torch.from_numpy(data.x_val), 500)
        parts = [model(images.to(self.device)) for images in batches]
        model.train()
        names = parts[0]
        outputs = {name: np.concatenate([part[name].cpu() for part in parts]) for name in names}
        return validate(outputs, data)
