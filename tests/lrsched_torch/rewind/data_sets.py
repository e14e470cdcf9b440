"""Data sets that draw random numbers."""

import random

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset


class Noise:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return x + float(self.rng.random())


class Augmented(Dataset):
    def __init__(self, transform):
        self.transform, self.x = transform, torch.randn(64, 4)

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.transform(self.x[index]), torch.ones(1)


class Generators(Dataset):
    def __init__(self):
        self.rngs = [random.Random(0), random.Random(1)]

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.full((4,), self.rngs[index % 2].random()), torch.ones(1)


def samples():
    return TensorDataset(torch.randn(64, 4), torch.randn(64, 1))
