"""Arrays of NumPy, and the buffers of Python."""

from __future__ import annotations

import array
import zlib
from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np

from lrsched.rewind.kinds import Kind, Limits, NotWritableError, Registry, Restore


def capture(values: Any) -> Restore:
    """Copy the elements; returns what writes them back.

    Raises:
        NotWritableError: an array that is read-only.
    """
    if not values.flags.writeable:
        raise NotWritableError("an array that is read-only")
    return partial(np.copyto, values, values.copy())


def digest(values: Any) -> Hashable:
    """Return the shape of an array, and of a small one a CRC of the elements."""
    if values.nbytes > Limits().bytes:
        return tuple(values.shape)
    values = np.ascontiguousarray(values)
    return zlib.crc32(repr(values).encode() if values.dtype.hasobject else values.view(np.uint8))


def _capture_buffer(buffer: Any) -> Restore:
    return partial(buffer.__setitem__, slice(None), buffer[:])


def _bytes_of(buffer: Any) -> int:
    return memoryview(buffer).nbytes


ARRAY = Kind(capture=capture, digest=digest, size=lambda values: int(values.nbytes))
BUFFER = Kind(capture=_capture_buffer, digest=len, size=_bytes_of)


def add_to(registry: Registry) -> None:
    """Add the kinds of arrays and buffers."""
    registry.add(ARRAY, np.ndarray)
    registry.add(BUFFER, bytearray, array.array)
