"""Argument checks: the only home of the sentence that a bad argument gets.

Every check returns the value in its plain Python type, so a caller writes
`max_lr = check_positive("max_lr", max_lr)` and goes on with a float. Messages say
argument, rule, value and, where there is one, the remedy.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

# Ints beyond do not fit the int64 of NumPy.
MAX_INT = 2**63 - 1
# More, and it should be a table: some 100 MB, and some seconds to build.
MAX_SEGMENTS = 2**18
MAX_SHOWN = 200  # characters
_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 20
_REPR.maxlevel, _REPR.maxother = 3, MAX_SHOWN
_REPR.maxstring = _REPR.maxlong = MAX_SHOWN


def shown(value: object) -> str:
    """The repr of a value, of a long one only the beginning; data may be large, or hold itself."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN:
        return f"an int of {value.bit_length()} bits"
    text = _REPR.repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _fail(kind: type[Exception], name: str, rule: str, value: object, hint: str = "") -> Exception:
    remedy = f" ({hint})" if hint else ""
    return kind(f"{name} must be {rule}, got {shown(value)}{remedy}")


def _scalar(value: Any) -> Any:
    """The number in an array or tensor of shape (); anything else as it is."""
    if isinstance(value, (int, float)) or getattr(value, "shape", None) != ():
        return value
    if hasattr(value, "__array__") and not hasattr(value, "item"):  # a tensor of TensorFlow
        value = np.asarray(value)
    return value.item() if hasattr(value, "item") else value


def _lr_instead(name: str, value: object) -> str:
    """What to pass where a lr belongs and a range test's result, or a lr it has not found, is."""
    instead = getattr(type(value), "_instead_of_itself", None)
    if instead is not None:
        return str(instead(value))
    if value is None and name.endswith("lr"):
        return "a suggestion without a lr says why in its reason; suggest(fallback=...) gives one"
    return ""


def check_real(name: str, value: Any, rule: str = "a finite number", hint: str = "") -> float:
    """A finite real number, also as an array or tensor of shape (); bool and text are TypeError."""
    value = _scalar(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise _fail(TypeError, name, rule, value, hint or _lr_instead(name, value))
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


def check_int(name: str, value: Any, minimum: int | None, hint: str = "") -> int:
    """An int >= `minimum` and < 2**63, also as an array of shape (); never bool or 10.0."""
    rule = "an int" if minimum is None else f"an int >= {minimum}"
    value = _scalar(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise _fail(TypeError, name, rule, value, hint)
    number = int(value)
    if minimum is not None and number < minimum:
        raise _fail(ValueError, name, rule, value, hint)
    if number > MAX_INT:
        raise _fail(ValueError, name, "< 2**63", value, hint)
    return number


def grown(name: str, factor: float, times: int) -> float:
    """`factor ** times`, which must be one that a float can hold."""
    try:
        return factor**times
    except OverflowError:
        rule = f"small enough for a float after growing {times} times"
        raise _fail(ValueError, name, rule, factor) from None


def check_number_of_segments(name: str, number: float) -> None:
    """A number of segments that is neither 0 nor too large."""
    if not 1 <= number <= MAX_SEGMENTS:
        rule = f"from 1 to {MAX_SEGMENTS} segments"
        raise _fail(ValueError, name, rule, number, "what is finer should be computed or looked up")


def check_bool(name: str, value: Any, hint: str = "") -> bool:
    """A bool, nothing merely truthy."""
    if not isinstance(value, (bool, np.bool_)):
        raise _fail(TypeError, name, "a bool", value, hint)
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str], hint: str = "") -> str:
    """One of the strings in `choices`; the message names the one that is close."""
    names = list(choices)
    rule = "one of " + ", ".join(map(repr, names))
    if not isinstance(value, str):
        raise _fail(TypeError, name, rule, value, hint)
    if value not in names:
        raise _fail(ValueError, name, rule, value, close_to(value, names) or hint)
    return value


def close_to(name: str, names: Iterable[str]) -> str:
    """A question that names the one that was meant, for messages; empty where none is close."""
    from difflib import get_close_matches

    by_form = {each.lower().replace("-", "_"): each for each in names}
    close = get_close_matches(name[:MAX_SHOWN].lower().replace("-", "_"), by_form, n=1, cutoff=0.75)
    return f"did you mean {by_form[close[0]]!r}?" if close else ""


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
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise _fail(TypeError, name, f"{article} {kind.__name__}", value, hint)


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
        raise TypeError(f"{rule}, got {shown(value)}")
    if hasattr(value, "__array__") and not hasattr(value, "item"):  # a tensor of TensorFlow
        value = np.asarray(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, complex)) or not hasattr(value, "__float__"):
        raise TypeError(f"{rule}, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{rule}, got an int too large for a float") from None
