"""From a batch to its loss, whatever the batch is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrsched._validate import shown

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
        if isinstance(hook, type):
            raise TypeError(
                f"{name} must be a function or None, got the class {hook.__name__} "
                f"(make one of it: {hook.__name__}())"
            )
        if hook is not None and not callable(hook):
            raise TypeError(f"{name} must be a function or None, got {shown(hook)}")
    if criterion is not None and loss is not None:
        raise TypeError("criterion must be None where loss is given, got both")
    if forward is None and loss is None and criterion is not None:

        def measure(batch: Any) -> Tensor:
            if batch.__class__ in PAIRS and len(batch) == 2:
                # by far the most batches, without the search for what is in them
                inputs, target = batch
                try:
                    return criterion(model(inputs), target)
                except (AttributeError, TypeError) as error:
                    unfit = _unfit(error, model, inputs)
                    if unfit is None:
                        raise
                    raise unfit from error
            some, named, target = split(batch)
            return _judged(criterion, _call(model, batch, some, named), target)

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
        if criterion is None:
            return own_loss(outputs)
        return _judged(criterion, outputs, split(batch)[2])

    return hooked


def _unfit(error: Exception, model: nn.Module, inputs: Any) -> TypeError | None:
    """Return the error of inputs or outputs that are no tensors; None where they are."""
    if not isinstance(inputs, Tensor):
        return TypeError(
            f"{error} (the inputs of a batch are {_described(inputs)}, and the model is called "
            "with that; pass forward=lambda model, batch: ...)"
        )
    try:
        # Once more, since the way of most batches keeps no outputs.
        return _no_tensor(error, model(inputs))
    except Exception:
        return None


def _judged(criterion: Callable[[Any, Any], Tensor], outputs: Any, target: Any) -> Tensor:
    try:
        return criterion(outputs, target)
    except (AttributeError, TypeError) as error:
        unfit = _no_tensor(error, outputs)
        if unfit is None:
            raise
        raise unfit from error


def _no_tensor(error: Exception, outputs: Any) -> TypeError | None:
    """Return the error of outputs that a plain criterion cannot take; None for a tensor."""
    if isinstance(outputs, Tensor):
        return None
    return TypeError(
        f"criterion must take what the model gives, got {_described(outputs)} (pass "
        f"forward=lambda model, batch: model(...){_place_in(outputs)}, for example): {error}"
    )


def _place_in(outputs: Any) -> str:
    """Return where outputs may hold the tensor that a criterion is for."""
    if isinstance(outputs, PAIRS):
        return "[0]"
    names = list(outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", ()))
    others = [name for name in names if name != "loss"]
    name = "logits" if "logits" in others else next(iter(others), "...")
    return f"[{name!r}]" if isinstance(outputs, Mapping) else f".{name}"


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
        _check_single(names, batch)
        if len(names) == 1 and len(batch) > 1:
            inputs = {name: value for name, value in batch.items() if name != names[0]}
            if len(inputs) == 1:
                return tuple(inputs.values()), {}, batch[names[0]]
            return (), inputs, batch[names[0]]
    elif not isinstance(batch, Tensor):
        names = [name for name in TARGETS if hasattr(batch, name)]
        _check_single(names, batch)
        if len(names) == 1:
            return (batch,), {}, getattr(batch, names[0])
    raise TypeError(
        "a batch of loader must hold inputs and a target, as a pair or under a name such as "
        f"{TARGETS[0]!r}, got {_described(batch)} ({REMEDY})"
    )


def _check_single(names: list[str], batch: Any) -> None:
    if len(names) > 1:
        one = f"batch[{names[0]!r}]" if isinstance(batch, Mapping) else f"batch.{names[0]}"
        raise TypeError(
            f"a batch of loader must hold one target, got {' and '.join(map(repr, names))} in "
            f"{_described(batch)} (say which: criterion=None, forward=lambda model, batch: ..., "
            f"loss=lambda outputs, batch: criterion(outputs, {one}), for example)"
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
        shape = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else shown(loss)
        remedy = " (reduce it, for example with .mean())" if isinstance(loss, Tensor) else ""
        raise TypeError(f"the loss must be a tensor with one element, got {shape}{remedy}")
    return loss.reshape(())


def check_trainable(loss: Any) -> None:
    """Check that a loss is one number that gradients can flow from."""
    if not one_number(loss).requires_grad:
        around = not torch.is_grad_enabled()
        raise ValueError(
            "the loss must depend on parameters that require a gradient, got one that does not "
            + (
                "(gradients are switched off here: call it outside of torch.no_grad())"
                if around
                else "(is the model frozen, then model.requires_grad_(); or is the loss detached, "
                "or computed under torch.no_grad()?)"
            )
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
