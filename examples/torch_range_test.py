"""A range test in the middle of a loop of your own, which goes on as if nothing had happened.

The loop has what a one-line finder cannot know: a penalty on the weights and an average of them.
Training is run with and without the test, and both end with the same numbers.

python examples/torch_range_test.py
"""

import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import lrsched
import lrsched_torch


def train(find_at: int | None = None) -> tuple[list[float], lrsched.LossCurve | None]:
    """Losses of 60 updates, and the curve of a range test before the update `find_at`."""
    torch.manual_seed(0)
    x = torch.randn(480, 8)
    loader = DataLoader(TensorDataset(x, x.relu().sum(1, keepdim=True)), 32, shuffle=True)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(32, 1)
    )
    average = AveragedModel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def update(inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(model(inputs), target)
        penalty = sum(p.abs().sum() for p in model.parameters())
        optimizer.zero_grad()
        (loss + 1e-4 * penalty).backward()
        optimizer.step()
        average.update_parameters(model)
        return loss

    losses: list[float] = []
    curve = None
    for _ in range(4):
        for inputs, target in loader:
            if len(losses) == find_at:
                with lrsched_torch.range_test(model, optimizer, stateful=[average]) as test:
                    for batch in test.batches(loader):
                        test.record(update(*batch))
                curve = test.curve
            losses.append(update(inputs, target).item())
    return losses, curve


def main() -> bool:
    losses, curve = train(find_at=25)
    print(curve)
    same = losses == train()[0]
    print(f"60 losses, with and without the range test before the 26th: {same and 'the same'}")
    return same


if __name__ == "__main__":
    main()
