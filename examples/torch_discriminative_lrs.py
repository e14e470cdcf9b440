"""Several parameter groups: lower layers learn more slowly, and the lowest joins later.

python examples/torch_discriminative_lrs.py
"""

import torch

import lrsched
import lrsched_torch

STEPS, UNFREEZE_AT = 60, 20
# A peak per layer, the head first.
PEAKS = [0.01, 0.003, 0.001]


def main() -> list[float]:
    torch.manual_seed(0)
    bottom, middle, head = torch.nn.Linear(16, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 1)
    model = torch.nn.Sequential(bottom, torch.nn.ReLU(), middle, torch.nn.ReLU(), head)
    bottom.requires_grad_(False)

    curves = [lrsched.one_cycle(peak, STEPS) for peak in PEAKS]
    momentum = lrsched.one_cycle_momentum(STEPS)
    optimizer = torch.optim.AdamW([{"params": layer.parameters()} for layer in (head, middle)])
    scheduler = lrsched_torch.ScheduleLR(optimizer, curves[:2], momentum)

    for step in range(STEPS):
        if step == UNFREEZE_AT:
            bottom.requires_grad_(True)
            optimizer.add_param_group({"params": bottom.parameters()})
            # With one schedule for all, a new group joins by itself; with a list, it needs one.
            scheduler.reschedule(curves, momentum)
        x = torch.randn(64, 16)
        loss = (model(x).squeeze(1) - x.sin().sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            lrs = "  ".join(f"{group['lr']:.6f}" for group in optimizer.param_groups)
            print(f"step {step:2}  loss {loss:.3f}  lr {lrs}")
        scheduler.step()
    return [group["lr"] for group in optimizer.param_groups]


if __name__ == "__main__":
    main()
