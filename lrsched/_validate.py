"""Argument checks: the only home of the sentence that a bad argument gets.

Every check returns the value in its plain Python type, so a caller writes
`max_lr = check_positive("max_lr", max_lr)` and goes on with a float. Messages say
argument, rule, value and, where there is one, the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def _fail(kind: type[Exception], name: str, rule: str, value: object, hint: str = "") -> Exception:
    remedy = f" ({hint})" if hint else ""
    return kind(f"{name} must be {rule}, got {value!r}{remedy}")


def check_real(name: str, value: Any, rule: str = "a finite number", hint: str = "") -> float:
    """A finite real number; bool, strings, arrays and tensors are `TypeError`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise _fail(TypeError, name, rule, value, hint)
    try:
        number = float(value)
    except OverflowError:  # an int like 10**400
        number = math.inf
    if not math.isfinite(number):
        raise _fail(ValueError, name, rule, value, hint)
    return number


def check_positive(name: str, value: Any, hint: str = "") -> float:
    """A finite number > 0."""
    number = check_real(name, value, "a finite number > 0", hint)
    if number <= 0:
        raise _fail(ValueError, name, "> 0", value, hint)
    return number


def check_non_negative(name: str, value: Any, hint: str = "") -> float:
    """A finite number >= 0."""
    number = check_real(name, value, "a finite number >= 0", hint)
    if number < 0:
        raise _fail(ValueError, name, ">= 0", value, hint)
    return number


def check_fraction(name: str, value: Any, hint: str = "") -> float:
    """A number in [0, 1]."""
    number = check_real(name, value, "a number in [0, 1]", hint)
    if not 0 <= number <= 1:
        raise _fail(ValueError, name, "in [0, 1]", value, hint or "a fraction, not a percentage")
    return number


def check_momentum(name: str, value: Any) -> float:
    """A number in [0, 1): momentum, or beta_1 of Adam."""
    number = check_real(name, value, "a number in [0, 1)")
    if not 0 <= number < 1:
        raise _fail(ValueError, name, "in [0, 1)", value)
    return number


def check_gamma(name: str, value: Any) -> float:
    """A decay factor in (0, 1]."""
    number = check_positive(name, value)
    if number > 1:
        raise _fail(ValueError, name, "in (0, 1]", value, "for growth use exponential_sweep")
    return number


def check_int(name: str, value: Any, minimum: int, hint: str = "") -> int:
    """An int >= `minimum`; Python and NumPy ints, never bool or 10.0."""
    rule = f"an int >= {minimum}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise _fail(TypeError, name, rule, value, hint)
    if value < minimum:
        raise _fail(ValueError, name, rule, value, hint)
    return int(value)


def check_bool(name: str, value: Any, hint: str = "") -> bool:
    """A bool, nothing merely truthy."""
    if not isinstance(value, (bool, np.bool_)):
        raise _fail(TypeError, name, "a bool", value, hint)
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str], hint: str = "") -> str:
    """One of the strings in `choices`."""
    names = list(choices)
    rule = "one of " + ", ".join(map(repr, names))
    if not isinstance(value, str):
        raise _fail(TypeError, name, rule, value, hint)
    if value not in names:
        raise _fail(ValueError, name, rule, value, hint)
    return value


def check_below(low_name: str, low: float, high_name: str, high: float, hint: str = "") -> None:
    """`low` < `high`, where both have passed their own checks."""
    if not low < high:
        raise _fail(ValueError, low_name, f"< {high_name} ({high!r})", low, hint)


def check_at_most(low_name: str, low: float, high_name: str, high: float, hint: str = "") -> None:
    """`low` <= `high`, where both have passed their own checks."""
    if not low <= high:
        raise _fail(ValueError, low_name, f"<= {high_name} ({high!r})", low, hint)


def check_sequence(name: str, value: Any, rule: str) -> Sequence[Any]:
    """A list or tuple."""
    if not isinstance(value, (list, tuple)):
        raise _fail(TypeError, name, rule, value)
    return value


def check_type(name: str, value: Any, kind: type, hint: str = "") -> None:
    """An instance of `kind`."""
    if not isinstance(value, kind):
        raise _fail(TypeError, name, f"a {kind.__name__}", value, hint)


def check_loss(value: Any) -> float:
    """One loss as a float: a number, or an array or tensor with a single element.

    NaN and infinities pass: they are what a range test is there to meet.

    Raises:
        TypeError: not a number, or more than one element.
        ValueError: an int that no float can hold.
    """
    if value.__class__ is float:
        return float(value)
    rule = "loss must be one real number"
    shape = tuple(getattr(value, "shape", ()))
    if any(size != 1 for size in shape):
        raise TypeError(f"{rule}, got shape {shape} (reduce it, for example with .mean())")
    if isinstance(value, (np.ma.MaskedArray, np.datetime64, np.timedelta64)):
        raise TypeError(f"{rule}, got {value!r}")
    if hasattr(value, "__array__") and not hasattr(value, "item"):  # a tensor of TensorFlow
        value = np.asarray(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, complex)) or not hasattr(value, "__float__"):
        raise TypeError(f"{rule}, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{rule}, got an int too large for a float") from None
