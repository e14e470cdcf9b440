"""Write a range test of a deep tanh net with tiny weights, whose loss is flat for five decades.

    python tests/golden/make_plateau.py tests/golden/plateau.json

Digits of scikit-learn, six layers, weights of deviation 0.01, Adam, batches of 64; to the end of
the sweep, whatever happens.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

SIZES = (64, 48, 48, 48, 48, 48, 10)


def main(out):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    images, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(classes)
    layers = [part for a, b in pairwise(SIZES) for part in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers[:-1])
    for p in model.parameters():
        nn.init.normal_(p, std=0.01) if p.dim() > 1 else nn.init.zeros_(p)
    optimizer, losses = torch.optim.Adam(model.parameters()), []
    lrs = np.geomspace(1e-7, 10.0, 300)
    for lr in lrs.tolist():
        at = torch.randint(len(x), (64,))
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[at]), y[at])
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    curve = {"format": 1, "lr": lrs.tolist(), "loss": losses, "num_steps": len(lrs)}
    Path(out).write_text(json.dumps({"torch": torch.__version__, "curve": curve}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
