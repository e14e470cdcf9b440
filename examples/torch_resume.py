"""Stop a training at any update and resume it: the weights come out bit for bit the same.

python examples/torch_resume.py
"""

import tempfile
from pathlib import Path

import torch

import lrsched_torch

STEPS, STOP_AT = 100, 37


def build() -> tuple[torch.nn.Module, torch.optim.Optimizer, lrsched_torch.OneCycleLR]:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    return model, optimizer, lrsched_torch.OneCycleLR(optimizer, max_lr=0.05, total_steps=STEPS)


def train(model, optimizer, scheduler, steps: range) -> None:
    for step in steps:
        x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        loss = (model(x).squeeze(1) - x.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def main() -> bool:
    whole = build()
    train(*whole, range(STEPS))

    stopped = build()
    train(*stopped, range(STOP_AT))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        torch.save([part.state_dict() for part in stopped], checkpoint)
        states = torch.load(checkpoint)

    resumed = build()
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    train(*resumed, range(STOP_AT, STEPS))

    same = torch.equal(whole[0].weight, resumed[0].weight)
    print(f"stopped at update {STOP_AT} of {STEPS} and resumed: weights equal: {same}")

    # With another schedule, say what is meant; here, to train for longer.
    _, optimizer, _ = build()
    longer = lrsched_torch.OneCycleLR(optimizer, max_lr=0.05, total_steps=2 * STEPS)
    optimizer.load_state_dict(states[1])
    try:
        longer.load_state_dict(states[2])
    except ValueError as error:
        print(f"refused: {str(error)[:68]}...")
    longer.load_state_dict(states[2], on_mismatch="keep")
    print(f"kept the new schedule: step {longer.last_epoch} of {longer.total_steps}")
    return same


if __name__ == "__main__":
    main()
