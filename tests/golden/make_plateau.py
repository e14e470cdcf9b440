"""Write range tests of a deep tanh net with tiny weights, whose loss is flat for five decades.

    python tests/golden/make_plateau.py tests/golden/plateau.json

Digits of scikit-learn, six layers, weights of deviation 0.01, Adam, batches of 64; to the end of
each sweep, whatever happens.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from lrsched import RangeTest

SWEEPS = ("exponential", "two_speed")
SIZES = (64, 48, 48, 48, 48, 48, 10)


def curve(lrs):
    torch.manual_seed(1)
    images, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(classes)
    layers = [part for a, b in pairwise(SIZES) for part in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers[:-1])
    for p in model.parameters():
        nn.init.normal_(p, std=0.01) if p.dim() > 1 else nn.init.zeros_(p)
    optimizer, losses = torch.optim.Adam(model.parameters()), []
    for lr in lrs:
        at = torch.randint(len(x), (64,))
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[at]), y[at])
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return {"format": 1, "lr": lrs, "loss": losses, "num_steps": len(lrs)}


def main(out):
    torch.set_num_threads(1)
    curves = {sweep: curve(RangeTest(sweep=sweep).planned_lr.tolist()) for sweep in SWEEPS}
    Path(out).write_text(json.dumps({"torch": torch.__version__, "curves": curves}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
