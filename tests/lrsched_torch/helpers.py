"""A seeded training whose every trace can be compared bit for bit, and models to test with."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrsched_torch import lr_find

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "amsgrad with a tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(1e-3), amsgrad=True),
}


class Net(nn.Module):
    """Something of everything: dropout, running statistics, a buffer outside the state dict."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.body(x)


class Run:
    """The training: two classes of model state, a shuffling loader, and what is to be seen."""

    def __init__(self, optimizer="sgd", device="cpu"):
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        generator = torch.Generator().manual_seed(7)
        data = torch.randn(96, 4, generator=generator)
        labels = (data.sum(1) > 0).long() + (data[:, 0] > 1).long()
        self.loader = DataLoader(
            TensorDataset(data, labels), batch_size=8, shuffle=True, generator=generator
        )
        self.device = device
        self.model = Net().to(device)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.criterion = nn.CrossEntropyLoss()

    def train(self, epochs=2):
        losses = []
        for _ in range(epochs):
            for x, y in self.loader:
                loss = self.criterion(self.model(x.to(self.device)), y.to(self.device))
                loss.backward()
                self.optimizer.step()
                # last, so that gradients left behind by something else would show
                self.optimizer.zero_grad()
                losses.append(loss.item())
        return losses

    def find(self, **options):
        settings = {"num_steps": 40, "start_lr": 1e-5, "end_lr": 1.0, **options}
        return lr_find(self.model, self.optimizer, self.criterion, self.loader, **settings)

    def everything(self):
        state = self.optimizer.state_dict()
        tensors = [*self.model.parameters(), *self.model.buffers()]
        tensors += [v for s in state["state"].values() for v in s.values() if torch.is_tensor(v)]
        hyper = [{k: float(g["lr"])} for g in state["param_groups"] for k in ("lr",)]
        gradients = [p.grad for p in self.model.parameters()]
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return (
            [t.detach().cpu().numpy().tobytes() for t in tensors],
            [None if g is None else g.cpu().numpy().tobytes() for g in gradients],
            [m.training for m in self.model.modules()],
            hyper,
            [state.numpy().tobytes() for state in (torch.get_rng_state(), *devices)],
            np.random.get_state()[1].tobytes(),
            random.getstate(),
            self.loader.generator.get_state().numpy().tobytes(),
        )


def training_after(between, optimizer="sgd", epochs_before=1, device="cpu"):
    """Losses and end state of a training with `between(run)` somewhere in it."""
    run = Run(optimizer, device)
    run.train(epochs_before)
    before = run.everything()
    between(run)
    assert run.everything() == before
    losses = run.train()
    # Trainings that diverge to NaN would prove nothing, as NaN does not equal itself.
    assert np.isfinite(losses).all()
    return losses, run.everything()


MSE = nn.functional.mse_loss


def data(batches=8, width=4):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, width, generator=generator), torch.randn(8, 1, generator=generator))
        for _ in range(batches)
    ]


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def find(model, optimizer=None, criterion=MSE, loader=None, **options):
    settings = {"num_steps": 20, "stop_factor": None, **options}
    loader = data() if loader is None else loader
    return lr_find(model, optimizer or sgd(model), criterion, loader, **settings)


def left(curve):
    return [note for note in curve.notes if "could not put back" in note]


class Body(nn.Module):
    """A linear layer that does something else in each forward pass."""

    def __init__(self, before, **attributes):
        super().__init__()
        self.linear, self.before = nn.Linear(4, 1), before
        vars(self).update(attributes)

    def forward(self, x):
        self.before(self)
        return self.linear(x)


class Slots:
    __slots__ = ("count",)

    def __init__(self):
        self.count = 0


def nothing(body):
    pass
