"""The PyTorch part of `lrsched demo`."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrsched.curve.loss_curve import LossCurve
from lrsched.demo import BATCH_SIZE, SWEEP_STEPS, Data, Report, measure, run_module
from lrsched_torch.finder.lr_find import lr_find
from lrsched_torch.schedulers.one_cycle import OneCycleLR


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


class Training:
    """A seeded model, its optimizer and its data, on the GPU where there is one."""

    def __init__(self, data: Data, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.data, (height, width) = data, data.x_train.shape[1:3]
        self.model = nn.Sequential(
            *_convolution(1, 16),
            nn.MaxPool2d(2),
            *_convolution(16, 32),
            nn.Flatten(),
            nn.Linear(32 * (height // 2) * (width // 2), 10),
        ).to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()
        images = torch.from_numpy(data.x_train).permute(0, 3, 1, 2)
        pairs = TensorDataset(images, torch.from_numpy(data.y_train))
        self.loader = DataLoader(pairs, batch_size=BATCH_SIZE, shuffle=True)

    def sweep(self) -> LossCurve:
        return lr_find(
            self.model,
            self.optimizer,
            self.criterion,
            self.loader,
            num_steps=SWEEP_STEPS,
            progress=True,
        )

    def run(self, schedule: str, lr: float) -> tuple[float, float, float]:
        scheduler = None
        if schedule == "one_cycle":
            scheduler = OneCycleLR(self.optimizer, max_lr=lr, total_steps=self.data.total_steps)
        else:
            self.optimizer.param_groups[0]["lr"] = lr
        for _ in range(self.data.epochs):
            for x, y in self.loader:
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(x.to(self.device)), y.to(self.device))
                loss.backward()
                self.optimizer.step()
                if scheduler is not None:
                    scheduler.step()
        train_loss, _ = self.evaluate(self.data.x_train, self.data.y_train)
        return train_loss, *self.evaluate(self.data.x_val, self.data.y_val)

    @torch.no_grad()
    def evaluate(self, x: object, y: object) -> tuple[float, float]:
        """Return loss and accuracy over a whole data set."""
        self.model.eval()
        images = torch.as_tensor(x, device=self.device).permute(0, 3, 1, 2)
        labels = torch.as_tensor(y, device=self.device)
        logits = self.model(images)
        accuracy = (logits.argmax(1) == labels).float().mean()
        return self.criterion(logits, labels).item(), accuracy.item()


def measure_all(data: Data) -> Report:
    return measure(
        f"PyTorch {torch.__version__.split('+')[0]}",
        data,
        sweep=lambda: Training(data, seed=0).sweep(),
        train=lambda schedule, lr, seed: Training(data, seed).run(schedule, lr),
    )


if __name__ == "__main__":
    # Threads cost more than they bring on images this small.
    torch.set_num_threads(1)
    run_module(measure_all)
