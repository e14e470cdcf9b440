"""Counts that are the same in every run: bytecodes, and waits for the device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


def opcodes(call: Callable[[], object], calls: int = 1) -> float:
    """Bytecodes that one call executes, on average."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    call()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for _ in range(calls):
            call()
    finally:
        sys.settrace(before)
    return count / calls


class Elsewhere(Tensor):
    """A tensor on the CPU that the range test takes for one on another device, and reads late."""

    # What is computed from it is a plain tensor, with no further Python code.
    __torch_function__ = torch._C._disabled_torch_function_impl


class Waits:
    """A context that counts how often the host waits for the values of a tensor.

    Attributes:
        count: The operators that read one number, and the calls that read many.
    """

    def __init__(self) -> None:
        self._operators, self._calls = _Operators(), _Calls()

    @property
    def count(self) -> int:
        return self._operators.count + self._calls.count

    def __enter__(self) -> Waits:
        self._operators.__enter__()
        self._calls.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._calls.__exit__(*error)
        self._operators.__exit__(*error)


class _Operators(TorchDispatchMode):
    """Sees item(), float() and bool()."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """Sees what copies the values of a tensor to the host without such an operator."""

    count = 0
    WAITING = (Tensor.tolist, Tensor.numpy, Tensor.cpu)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in self.WAITING
        return func(*args, **(kwargs or {}))
