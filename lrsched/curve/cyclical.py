"""The two bounds of a cyclical learning rate, from the loss curve of a range test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lrsched._validate import check_below, check_choice, check_positive
from lrsched.curve.features import Array, read, readable
from lrsched.curve.suggestion import suggest_for

SMITH, RATIO = "smith", "ratio"
METHODS = (SMITH, RATIO)
DEFAULT_RATIO = 4.0
LEAST_RATIO = 3.0  # closer bounds hardly make a cycle


@dataclass(frozen=True)
class CyclicalRange:
    """Bounds of a cyclical learning rate, or an honest None, and what they rest on.

    `base_lr, max_lr = found` takes the two, and raises where there are none. `str()` makes a
    sentence of it.

    Attributes:
        base_lr: Lower bound; None where the curve does not support one.
        max_lr: Upper bound, for cycles that come back to it: not the peak of a single 1cycle, which
            may be higher. None together with `base_lr`.
        reason: Why these, or what is in doubt and what to do about it.
        method: How `base_lr` was found: "smith" or "ratio".
        confident: Whether the curve leaves no known doubt.
    """

    base_lr: float | None
    max_lr: float | None
    reason: str
    method: str
    confident: bool = False

    def __iter__(self) -> Iterator[float]:
        """Give base_lr and max_lr.

        Raises:
            ValueError: there are none.
        """
        if self.base_lr is None or self.max_lr is None:
            raise ValueError(f"base_lr and max_lr must be found to be taken, got none: {self}")
        return iter((self.base_lr, self.max_lr))

    def _instead_of_itself(self) -> str:
        """What to pass where a number is wanted, for messages."""
        if self.base_lr is None or self.max_lr is None:
            return f"its base_lr and max_lr are None, since {self.reason}"
        return f"pass its base_lr, {self.base_lr:.3g}, and its max_lr, {self.max_lr:.3g}"

    def __str__(self) -> str:
        if self.base_lr is None or self.max_lr is None:
            return f"No cyclical range suggested: {self.reason}."
        sure = "" if self.confident else ", with doubt"
        return f"Cyclical range from {self.base_lr:.3g} to {self.max_lr:.3g}{sure}: {self.reason}."


def cyclical_range(
    lr: Array,
    loss: Array,
    num_steps: int,
    *,
    method: str = SMITH,
    ratio: float | None = None,
) -> CyclicalRange:
    """Return the bounds of a cyclical lr; `LossCurve.cyclical_range` says what they are.

    Args:
        lr: Learning rates, as `check_curve` has passed them.
        loss: Raw losses, as many.
        num_steps: Updates planned.
        method: "smith" or "ratio".
        ratio: `max_lr` over `base_lr`, for "ratio".
    """
    method = check_choice("method", method, METHODS)
    if ratio is not None and method != RATIO:
        raise ValueError(f"ratio must come with method={RATIO!r}, got {ratio!r} with {method!r}")
    ratio = DEFAULT_RATIO if ratio is None else check_positive("ratio", ratio)
    check_below("1", 1.0, "ratio", ratio, "max_lr over base_lr")
    constant = suggest_for(lr, loss, num_steps, schedule="constant")
    peak = suggest_for(lr, loss, num_steps, schedule="one_cycle")
    if constant.lr is None or peak.lr is None:
        return CyclicalRange(None, None, constant.reason, method)
    if method == RATIO:
        top = min(2 * constant.lr * ratio / (ratio + 1), peak.lr)
        base, start = top / ratio, f"base_lr is max_lr / {ratio:.3g}"
    else:
        falls = _where_it_falls(lr, loss, num_steps)
        top = min(2 * constant.lr - min(falls, constant.lr / 2), peak.lr)
        base, start = min(falls, top / LEAST_RATIO), "base_lr is where the loss begins to fall"
        if base < lr[0]:
            return CyclicalRange(
                None,
                None,
                f"base_lr would lie below the first lr, {lr[0]:.2g} (sweep from a lower start_lr)",
                method,
            )
    reason = f"{start}, and a cycle has the mean lr of constant training, {constant.lr:.2g}"
    if not constant.confident:
        reason = f"{constant.reason}; {reason}"
    return CyclicalRange(base, top, reason, method, constant.confident)


def _where_it_falls(lr: Array, loss: Array, num_steps: int) -> float:
    """Return the lr from which on the loss of a sweep of usual length is below its start level."""
    count, _ = readable(loss, num_steps)
    reading = read(lr[:count], loss[:count])
    return float(10 ** (reading.begun + reading.shift))
