"""From a batch to its loss, whatever the batch is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Names under which dicts and objects hold the target.
TARGETS = ("labels", "label", "targets", "target", "y")
PAIRS = (tuple, list)
REMEDY = "pass forward= and loss=, or use range_test around a loop of your own"

Objective = Callable[[Any], Tensor]


def objective(
    model: nn.Module,
    criterion: Callable[[Any, Any], Tensor] | None,
    forward: Callable[[Any, Any], Any] | None,
    loss: Callable[[Any, Any], Tensor] | None,
) -> Objective:
    """Return a function from a batch to its loss.

    Args:
        model: The model.
        criterion: Called with the outputs and the target; None where the outputs hold the loss.
        forward: Called with model and batch; None calls the model with what is not the target.
        loss: Called with outputs and batch, in the place of `criterion`.

    Raises:
        TypeError: something that cannot be called, or both a criterion and a loss.
    """
    for name, hook in (("criterion", criterion), ("forward", forward), ("loss", loss)):
        if hook is not None and not callable(hook):
            raise TypeError(f"{name} must be a function or None, got {hook!r}")
    if criterion is not None and loss is not None:
        raise TypeError("criterion must be None where loss is given, got both")
    if forward is None and loss is None and criterion is not None:

        def measure(batch: Any) -> Tensor:
            if batch.__class__ in PAIRS and len(batch) == 2:
                # by far the most batches, without the search for what is in them
                inputs, target = batch
                try:
                    return criterion(model(inputs), target)
                except TypeError as error:
                    if not isinstance(inputs, (Mapping, *PAIRS)):
                        raise
                    raise TypeError(
                        f"{error} (the inputs of a batch are {_described(inputs)}, and the model "
                        "is called with that; pass forward=lambda model, batch: ...)"
                    ) from error
            some, named, target = split(batch)
            return criterion(_call(model, batch, some, named), target)

        return measure

    def hooked(batch: Any) -> Tensor:
        if forward is not None:
            outputs = forward(model, batch)
        elif loss is None:
            # a model that computes its loss needs the target too
            outputs = _call(model, batch, *_whole(batch))
        else:
            inputs, named, _ = split(batch)
            outputs = _call(model, batch, inputs, named)
        if loss is not None:
            return loss(outputs, batch)
        return own_loss(outputs) if criterion is None else criterion(outputs, split(batch)[2])

    return hooked


def _whole(batch: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return positional inputs, and inputs by name, that are the whole batch."""
    if isinstance(batch, Mapping):
        return (), batch
    return (batch if isinstance(batch, (tuple, list)) else (batch,)), {}


def _call(model: nn.Module, batch: Any, inputs: Any, named: Mapping[str, Any]) -> Any:
    try:
        return model(*inputs, **named)
    except TypeError as error:
        count = len(inputs) + len(named)
        if count == 1:
            raise
        raise TypeError(
            f"{error} (a batch is {_described(batch)}, and the model is called with {count} of its "
            "entries; pass forward=lambda model, batch: ...)"
        ) from error


def split(batch: Any) -> tuple[Any, Mapping[str, Any], Any]:
    """Return positional inputs, inputs by name, and the target.

    The last entry of a tuple or list is the target. A dict, and an object with attributes, has
    it under one of the usual names; a dict's other entries are inputs by their names, unless
    there is only one.
    """
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[:-1], {}, batch[-1]
    if isinstance(batch, Mapping):
        names = [name for name in TARGETS if name in batch]
        if len(names) == 1 and len(batch) > 1:
            inputs = {name: value for name, value in batch.items() if name != names[0]}
            if len(inputs) == 1:
                return tuple(inputs.values()), {}, batch[names[0]]
            return (), inputs, batch[names[0]]
    elif not isinstance(batch, Tensor):
        names = [name for name in TARGETS if hasattr(batch, name)]
        if len(names) == 1:
            return (batch,), {}, getattr(batch, names[0])
    raise TypeError(
        "a batch of loader must hold inputs and a target, as a pair or under a name such as "
        f"{TARGETS[0]!r}, got {_described(batch)} ({REMEDY})"
    )


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a {type(batch).__name__} of {sorted(map(str, batch))}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {len(batch)}"
    return type(batch).__name__


def own_loss(outputs: Any) -> Tensor:
    """Return the loss that a model has computed: its output, or what that holds as `loss`."""
    if isinstance(outputs, Tensor):
        return outputs
    held = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if isinstance(held, Tensor):
        return held
    raise TypeError(
        "criterion must be given, or the model must return its loss, "
        f"got outputs {_described(outputs)} without one ({REMEDY})"
    )


def one_number(loss: Any) -> Tensor:
    """Return the loss as a tensor of shape (), or raise an error that says what it is."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise TypeError(f"the loss must be a tensor with one element, got {shape}")
    return loss.reshape(())


def check_trainable(loss: Any) -> None:
    """Check that a loss is one number that gradients can flow from."""
    if not one_number(loss).requires_grad:
        raise ValueError(
            "the loss must depend on parameters that require a gradient, got one that does not "
            "(is the model frozen, or the loss detached?)"
        )


def mover(device: torch.device) -> Callable[[Any], Any]:
    """Return a function that moves the tensors of a batch to a device, whatever holds them."""

    def move(batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return batch.to(device, non_blocking=True)
        if hasattr(batch, "to"):
            return batch.to(device)
        if isinstance(batch, Mapping):
            return {key: move(value) for key, value in batch.items()}
        if isinstance(batch, tuple) and hasattr(batch, "_fields"):
            return type(batch)(*map(move, batch))
        if isinstance(batch, (list, tuple)):
            return type(batch)(map(move, batch))
        return batch

    return move
