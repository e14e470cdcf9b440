"""The update that `lr_find` makes: forward, loss, backward and step, for any batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsched_torch.finder.batches import Batches
from lrsched_torch.finder.objective import Objective, check_trainable, mover, one_number


def training_step(
    model: nn.Module,
    optimizer: Optimizer,
    objective: Objective,
    device: torch.device,
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    amp: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    validation: Batches | None = None,
) -> Callable[[Sequence[Any]], Tensor]:
    """Return a function that makes one update and returns its loss, still on the device.

    Args:
        model: The model.
        optimizer: The optimizer.
        objective: From a batch to its loss.
        device: Where the batches are moved to.
        accumulate: Batches of an update; the mean of their losses counts.
        clip_norm: Highest norm of the gradients of an update; None leaves them as they are.
        amp: dtype of autocast; None trains without it.
        scaler: For float16; its factor is applied, and it decides whether a step is made.
        validation: Read after each update, for its mean loss in the place of the training loss.
    """
    measure = objective
    if device.type != "cpu":
        move = mover(device)
        measure = lambda batch: objective(move(batch))  # noqa: E731
    if amp is not None:
        measure = torch.autocast(device.type, amp)(measure)

    several, plain = accumulate > 1, scaler is None and clip_norm is None
    backward: Callable[[Tensor], None] = Tensor.backward
    if several or scaler is not None:
        backward = lambda loss: _backward(loss / accumulate, scaler)  # noqa: E731

    def step(batches: Sequence[Any]) -> Tensor:
        optimizer.zero_grad()
        losses = []
        for batch in batches:
            loss = measure(batch)
            try:
                backward(loss)
            except (AssertionError, AttributeError, RuntimeError, TypeError):
                check_trainable(loss)
                raise
            if several:
                losses.append(loss.detach())
        if plain:
            optimizer.step()
        else:
            _update(optimizer, clip_norm, scaler)
        return torch.stack(losses).mean() if several else loss

    if validation is None:
        return step

    def validated(batches: Sequence[Any]) -> Tensor:
        step(batches)
        return _validation_loss(model, measure, validation)

    return validated


def _update(
    optimizer: Optimizer, clip_norm: float | None, scaler: torch.amp.GradScaler | None
) -> None:
    if clip_norm is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()


def _backward(loss: Tensor, scaler: torch.amp.GradScaler | None) -> None:
    scaled = loss if scaler is None else scaler.scale(loss)
    scaled.backward()  # type: ignore[no-untyped-call]


def _validation_loss(model: nn.Module, measure: Objective, batches: Batches) -> Tensor:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            losses = [one_number(measure(batch)) for batch in batches.one_pass()]
    finally:
        _set_modes(modes)
    return torch.stack(losses).mean()


def _set_modes(modes: Sequence[tuple[nn.Module, bool]]) -> None:
    """Give each module its mode, the outer ones first."""
    for module, training in modes:
        if module.training != training:
            # Not the flag alone: some do something in it, such as taking merged weights apart.
            module.train(training)
    for module, training in modes:
        # where `train` has set something else
        module.training = training
