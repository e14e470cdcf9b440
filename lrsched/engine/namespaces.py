"""The functions that formulas need, under the same names, over several number libraries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scalar:
    """Namespace over `math` for one Python int."""

    sin, exp, sqrt, expm1, log1p = math.sin, math.exp, math.sqrt, math.expm1, math.log1p
    power, floating = math.pow, float

    @staticmethod
    def where(condition: bool, yes: Any, no: Any) -> Any:
        return yes if condition else no


class Numpy:
    """Namespace over NumPy, in float64."""

    sin, exp, sqrt, expm1, log1p = np.sin, np.exp, np.sqrt, np.expm1, np.log1p
    power, where = np.power, np.where

    @staticmethod
    def floating(steps: NDArray[np.int64]) -> NDArray[np.float64]:
        return steps.astype(np.float64)


class ArrayAPI:
    """Namespace over any library that follows the array API standard, in its default float."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.sin, self.exp, self.sqrt = library.sin, library.exp, library.sqrt
        self.expm1, self.log1p, self.clip = library.expm1, library.log1p, library.clip
        self.where, self.power = library.where, library.pow

    def floating(self, steps: Any) -> Any:
        return self._library.astype(steps, self._library.asarray(0.0).dtype)

    def largest(self, steps: Any) -> int:
        return int(self._library.iinfo(steps.dtype).max)

    def count_up_to(self, firsts: NDArray[np.int64], steps: Any) -> Any:
        firsts, flat = self._library.asarray(firsts, dtype=steps.dtype), steps.reshape(-1)
        counts = self._library.searchsorted(firsts, flat, side="right")
        return self._library.astype(counts.reshape(steps.shape), steps.dtype)

    def take(self, numbers: NDArray[Any], indices: Any) -> Any:
        is_int = numbers.dtype == np.int64
        dtype = indices.dtype if is_int else self._library.asarray(0.0).dtype
        table = self._library.asarray(numbers, dtype=dtype)
        return self._library.take(table, indices.reshape(-1)).reshape(indices.shape)
