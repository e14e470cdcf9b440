"""Steps as arrays, of NumPy or another library, checked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsched._validate import shown
from lrsched.engine.evaluate import MAX_STEP


def checked_array(steps: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return an array of steps.

    Raises:
        TypeError: not of integers.
        ValueError: a step of 2**63 and more.
    """
    if steps.dtype.kind not in "iu":
        raise TypeError(f"step must be an array of integers, got dtype {steps.dtype}")
    if steps.size and int(steps.max()) > MAX_STEP:
        raise ValueError(f"step must be < 2**63, got values up to {steps.max()}")
    return steps


def checked_tensor(step: Any, library: Any) -> Any:
    """Return steps as a tensor of int32 or int64; values may be traced.

    Raises:
        TypeError: neither of integers nor of floats, or of integers that int32 may not hold.
        ValueError: a float that is not whole.
    """
    if library.isdtype(step.dtype, "real floating"):
        whole = library.floor(step)
        with suppress(TypeError):  # traced, it has no value yet
            if not bool(library.all(whole == step)):
                raise ValueError(f"step must be whole, got {shown(step)}")
        step = library.astype(whole, library.int32)
    if not library.isdtype(step.dtype, "integral"):
        raise TypeError(f"step must be an array of integers, got dtype {step.dtype}")
    if step.dtype in (library.int32, library.int64):
        return step
    if step.dtype in (library.uint32, library.uint64):
        raise TypeError(f"step must be of int32 or int64, got dtype {step.dtype} (use astype)")
    return library.astype(step, library.int32)
