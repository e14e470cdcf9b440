"""The models of the experiments in PyTorch, from their layers."""

from __future__ import annotations

import torch
from torch import nn

from lrsched.experiments.training import (
    BOX_WEIGHT,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Pool,
    Residual,
    Setting,
    heads,
)

Outputs = dict[str, torch.Tensor]


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution with zero padding and BatchNorm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(torch.relu(self.first(x)))
        return torch.relu(y + self.shortcut(x))


def module(layer: Layer, shape: torch.Size) -> nn.Module:
    """A layer for inputs of this shape, [1, channels, ...]."""
    channels = shape[1]
    match layer:
        case Convolution(filters, kernel, norm=True):
            return nn.Sequential(convolution(channels, filters, kernel), nn.ReLU())
        case Convolution(filters, kernel):
            plain = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
            return nn.Sequential(plain, nn.ReLU())
        case Residual(filters, stride):
            return ResidualBlock(channels, filters, stride)
        case Pool():
            return nn.MaxPool2d(2)
        case GlobalPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case Flatten():
            return nn.Flatten()
        case Dropout(rate):
            return nn.Dropout(rate)
        case Dense(units):
            return nn.Sequential(nn.Linear(channels, units), nn.ReLU())


class Network(nn.Module):
    """The layers of a setting and its heads; images [n, height, width, channels] to a dict."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        height, width, channels = setting.data.image_shape
        example = torch.zeros(1, channels, height, width)
        layers: list[nn.Module] = []
        for layer in setting.layers:
            layers.append(module(layer, example.shape).eval())
            with torch.no_grad():
                example = layers[-1](example)
        self.body = nn.Sequential(*layers)
        outputs = heads(setting.data).items()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(example.shape[1], size) for name, size in outputs}
        )
        self.train()

    @property
    def device_type(self) -> str:
        """Kind of the device that it is on."""
        return next(self.parameters()).device.type

    def forward(self, images: torch.Tensor) -> Outputs:
        features = self.body(images.permute(0, 3, 1, 2))
        outputs = {name: head(features) for name, head in self.heads.items()}
        if "box" in outputs:
            outputs["box"] = torch.sigmoid(outputs["box"])
        return outputs


def loss_of(outputs: Outputs, targets: Outputs) -> torch.Tensor:
    """Cross entropy of the labels and, where there are boxes, their L1 loss."""
    loss = nn.functional.cross_entropy(outputs["label"], targets["label"])
    if "box" in outputs:
        loss = loss + BOX_WEIGHT * nn.functional.l1_loss(outputs["box"], targets["box"])
    return loss
