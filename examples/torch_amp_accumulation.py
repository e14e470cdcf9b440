"""Mixed precision and gradient accumulation: step() after every batch is still right.

GradScaler skips the updates whose gradients overflow, and three of four batches make no update.
The schedule moves on with the updates that are made, and reaches its end with the last of them.

python examples/torch_amp_accumulation.py
"""

import torch

import lrsched_torch

EPOCHS, BATCHES, ACCUMULATE = 3, 40, 4


def main() -> tuple[int, int]:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = torch.nn.Linear(16, 1).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    # A scale that overflows float16, as the scale of a real training does at first.
    scaler = torch.amp.GradScaler(device, init_scale=2.0**18)
    total_steps = lrsched_torch.steps_for(EPOCHS, BATCHES, accumulate=ACCUMULATE)
    scheduler = lrsched_torch.OneCycleLR(optimizer, max_lr=0.03, total_steps=total_steps)

    for epoch in range(EPOCHS):
        for batch in range(1, BATCHES + 1):
            x = torch.randn(32, 16, device=device)
            with torch.autocast(device, torch.float16):
                loss = (model(x).squeeze(1) - x.sum(1)).square().mean() / ACCUMULATE
            scaler.scale(loss).backward()
            if batch % ACCUMULATE == 0:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            scheduler.step()
        print(f"epoch {epoch + 1}  loss {loss * ACCUMULATE:.3f}  step {scheduler.last_epoch}")
    skipped = total_steps - scheduler.last_epoch
    print(f"{total_steps} updates planned, {scheduler.last_epoch} made, {skipped} skipped")
    return scheduler.last_epoch, skipped


if __name__ == "__main__":
    main()
