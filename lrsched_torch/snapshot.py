"""Everything that a short training changes, put back in place.

Tensors are copied back into the objects they came from, so compiled functions, captured graphs
and views that the caller holds stay valid; what was born in between is dropped.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from lrsched_torch._updates import counters_of

Restore = Callable[[], Any]


class Snapshot:
    """State of a model, its optimizer and the random number generators, at construction.

    Held: parameters, all buffers (also those not in the state dict), gradients (None stays
    None), `requires_grad`, the train/eval mode of every submodule, optimizer state and
    hyper-parameters, what our schedulers have counted, and the generators of `random`, NumPy,
    torch and every CUDA device.

    Args:
        model: The model.
        optimizer: Its optimizer.
        generators: Further torch generators to put back, for example a loader's.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generators: Iterable[torch.Generator] = (),
    ) -> None:
        memo: dict[int, Restore] = {}
        parameters = list(_parameters(model, optimizer))
        self._restores = [
            *(_hold(table, memo) for m in model.modules() for table in (m._parameters, m._buffers)),
            *(_hold(parameter, memo) for parameter in parameters),
            _hold(optimizer.state, memo),
            _hold(optimizer.param_groups, memo),
            *(_hold_gradient(parameter, memo) for parameter in parameters),
            *(_hold_mode(module) for module in model.modules()),
            # the updates of the test are none of the schedule's
            *(counter.hold() for counter in counters_of(optimizer)),
            *_hold_generators(generators),
        ]

    def restore(self) -> None:
        """Put everything back; may be called again."""
        with torch.no_grad():
            for restore in self._restores:
                restore()


def _parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    """The parameters of the model, and those that only the optimizer knows."""
    seen = set()
    owned = (p for group in optimizer.param_groups for p in group["params"])
    for parameter in (*model.parameters(), *owned):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield parameter


def _hold(value: Any, memo: dict[int, Restore]) -> Restore:
    """A function that gives `value` its present content back and returns it.

    Each tensor and container is held once, whatever holds it; `memo` knows them.
    """
    if id(value) not in memo:
        memo[id(value)] = _hold_new(value, memo)
    return memo[id(value)]


def _hold_new(value: Any, memo: dict[int, Restore]) -> Restore:
    if isinstance(value, torch.Tensor):
        return partial(_refill_tensor, value, value.detach().clone())
    if isinstance(value, dict):
        items = {key: _hold(item, memo) for key, item in value.items()}
        return partial(_refill_dict, value, items)
    if isinstance(value, list):
        entries = [_hold(entry, memo) for entry in value]
        return partial(_refill_list, value, entries)
    if isinstance(value, tuple):
        parts = [_hold(part, memo) for part in value]
        return lambda: tuple(part() for part in parts)
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return lambda: value
    duplicate = copy.deepcopy(value)
    return lambda: copy.deepcopy(duplicate)


def _refill_tensor(tensor: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    tensor.detach().copy_(content)
    return tensor


def _refill_dict(table: dict[Any, Any], items: dict[Any, Restore]) -> dict[Any, Any]:
    content = {key: restore() for key, restore in items.items()}
    table.clear()
    table.update(content)
    return table


def _refill_list(entries: list[Any], restores: list[Restore]) -> list[Any]:
    entries[:] = [restore() for restore in restores]
    return entries


def _hold_gradient(parameter: torch.Tensor, memo: dict[int, Restore]) -> Restore:
    gradient, needed = _hold(parameter.grad, memo), parameter.requires_grad

    def restore() -> None:
        parameter.grad = gradient()
        parameter.requires_grad_(needed)

    return restore


def _hold_mode(module: nn.Module) -> Restore:
    training = module.training

    def restore() -> None:
        # not module.train(): that would set the submodules too
        module.training = training

    return restore


def _hold_generators(generators: Iterable[torch.Generator]) -> Iterator[Restore]:
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    for generator in generators:
        yield partial(generator.set_state, generator.get_state())
