"""The plain loop: 1cycle on scikit-learn's digits.

python examples/torch_plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import lrsched_torch

EPOCHS = 5


def main() -> float:
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(images[:1500], labels[:1500]), batch_size=32, shuffle=True)

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    # The lr given here is not used: the schedule sets it. The momentum is cycled because it is on.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = lrsched_torch.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=lrsched_torch.steps_for(EPOCHS, loader)
    )
    for epoch in range(EPOCHS):
        for x, y in loader:
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        (lr,) = scheduler.get_last_lr()
        (momentum,) = scheduler.get_last_momentum()
        print(f"epoch {epoch + 1}  loss {loss:.3f}  lr {lr:.6f}  momentum {momentum:.3f}")
    with torch.no_grad():
        accuracy = (model(images[1500:]).argmax(1) == labels[1500:]).float().mean().item()
    print(f"accuracy on 297 images that were not trained on: {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
