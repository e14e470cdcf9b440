"""One YAML policy for lr, momentum and weight decay; and a cooldown that is decided in mid-run.

python examples/torch_policy.py
"""

import torch
import yaml

import lrsched
import lrsched_torch

POLICY = """
lr:
  warmup_stable_decay: {max_lr: 0.05, warmup_steps: 1ep, decay_steps: 0.2, total_steps: 1dur}
momentum:
  - linear: {start: 0.8, end: 0.9, total_steps: 1ep}
  - constant: {value: 0.9}
weight_decay:
  cosine: {start: 0.1, end: 0.0, total_steps: 1dur}
"""
BATCHES, EPOCHS, GOOD_ENOUGH = 20, 50, 0.02


def main() -> tuple[int, float]:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    policy = lrsched.Policy.from_config(
        yaml.safe_load(POLICY), steps_per_epoch=BATCHES, epochs=EPOCHS
    )
    scheduler = lrsched_torch.ScheduleLR(optimizer, policy)
    cooling_down = False
    while scheduler.last_epoch < scheduler.total_steps:
        x = torch.randn(32, 8)
        loss = (model(x).squeeze(1) - x.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if loss < GOOD_ENOUGH and not cooling_down:
            scheduler.cooldown(2 * BATCHES)
            cooling_down = True
            print(f"good enough after {scheduler.last_epoch} of {policy.total_steps} updates")
    (group,) = optimizer.param_groups
    print(
        f"ended after {scheduler.last_epoch} with an lr of {group['lr']} and a loss of {loss:.1e}"
    )
    return scheduler.last_epoch, group["lr"]


if __name__ == "__main__":
    main()
