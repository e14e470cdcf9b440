"""Counts that are the same in every run: bytecodes, and waits for the device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
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


class Waits(TorchDispatchMode):
    """Counts the operators that make the host wait for the value of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
