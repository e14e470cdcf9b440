"""A second look at a suggestion: three short trainings around it, undone like the range test.

Costs as many updates again as the sweep, and is worth it where the training is long. The curve
keeps the probes, so what they say can be stored with it and looked at later.

python examples/torch_second_look.py
"""

import torch
from torch.utils.data import DataLoader, TensorDataset

import lrsched_torch


def main() -> tuple[float | None, float | None]:
    torch.manual_seed(0)
    x = torch.randn(2000, 20)
    y = x.relu().sum(1, keepdim=True)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters())

    curve = lrsched_torch.lr_find(
        model, optimizer, torch.nn.MSELoss(), loader, refine=True, schedule="one_cycle"
    )
    for probe in curve.probes:
        print(f"probe with peak lr {probe.lr:.3g}: loss at its end {probe.level:.3f}")
    plain, refined = curve.suggest(method="plateau"), curve.suggest()
    print(plain, refined, sep="\n")
    return plain.lr, refined.lr


if __name__ == "__main__":
    main()
