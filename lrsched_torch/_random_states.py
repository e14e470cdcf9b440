"""Where the random number generators of the process are."""

from __future__ import annotations

import random

import numpy as np
import torch


class RandomStates:
    """States of the generators of `random`, NumPy, torch and every CUDA device, at construction."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state()
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        """Put them back; may be called again."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
