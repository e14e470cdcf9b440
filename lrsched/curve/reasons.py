"""What a suggestion says for itself: why this lr, what is in doubt, and what to do about it."""

from __future__ import annotations

import math

from lrsched.curve.divergence import MIN_POINTS
from lrsched.curve.features import DROP_DONE, SMOOTH_DECADES, START_DECADES, CurveFeatures

EDGE_WEIGHT = 0.35  # how far from the left point towards the right one an lr is, in log lr
BAND_FACTOR = 2.0
CONFIDENT_OVER_NOISE = 3.0
WORTH_SAYING = 1.25
FEW_UPDATES = 5.0  # 84 steps of an exponential sweep over 8 decades
TRAINED = "(the curve of a trained model looks like this too)"


def too_few(count: int, blown_up: float | None) -> str:
    """Why so few losses say nothing."""
    if blown_up is not None and not count:
        return (
            "the first loss is NaN or infinite already; look for the cause in the data, the model "
            "or the loss"
        )
    losses = "1 finite loss" if count == 1 else f"{count} finite losses"
    if blown_up is None:
        return f"only {losses} of the {MIN_POINTS} that it takes; use more steps"
    return f"only {losses} before NaN or inf at lr {blown_up:.2g}; sweep from a lower start_lr"


def silence(reading: CurveFeatures, rise: float | None, guess: float | None) -> str:
    """What is known of a curve without a drop, and what to do about it.

    Args:
        rise: Lr at which the loss rises for good.
        guess: Lr that would do for a fresh model, as far as the rise tells.
    """
    what = "the loss never fell below its start level"
    if reading.drop > 0:
        drop, noise = reading.drop * reading.scale, reading.noise * reading.scale
        what = f"the loss fell by {drop:.2g}, no more than a noise of {noise:.2g} a batch explains"
    if rise is not None:
        what += f", and was higher or not finite from lr {rise:.2g} on"
    if reading.coarse:
        return f"{what}; its first points lie decades apart (sweep exponentially, or in more steps)"
    if rise is None:
        return f"{what}; sweep to a higher end_lr, or use more steps or larger batches {TRAINED}"
    if math.log10(rise) - reading.x[0] <= 2 * START_DECADES:
        return f"{what}; sweep from a lower start_lr"
    return f"{what}; use {_more_steps(reading, guess or rise)} or larger batches {TRAINED}"


def _more_steps(reading: CurveFeatures, lr: float) -> str:
    """What gives more updates around an lr: below the knee of a sweep, more steps do not."""
    fast = reading.fast_until is not None and math.log10(lr) < reading.fast_until
    return "sweep='exponential' (this one hurries there)" if fast else "more steps"


def why(reading: CurveFeatures) -> str:
    """What an lr without doubt rests on."""
    ratio = reading.drop / reading.noise if reading.noise > 0 else math.inf
    size = "has no noise" if ratio == math.inf else f"is {ratio:.3g} times the noise of a batch"
    what = f"{DROP_DONE:.0%} of the loss drop is done at lr {10**reading.done:.2g}; the drop {size}"
    if (off := _off_by(reading)) > WORTH_SAYING:
        what += f", and the noise around it moves the lr by a factor of {off:.1f}"
    return what


def _off_by(reading: CurveFeatures) -> float:
    """Factor by which one standard error of the reading moves the suggestion."""
    return float(10 ** ((1 - EDGE_WEIGHT) * max(reading.done_error)))


def doubts_of(reading: CurveFeatures, *, diverged: bool, outside: bool) -> list[str]:
    """What of a reading is in doubt, each with its remedy.

    Args:
        diverged: The loss has come back up.
        outside: The best lr seems to lie outside of the sweep.
    """
    doubts = []
    more = _more_steps(reading, 10**reading.done)
    if reading.drop < CONFIDENT_OVER_NOISE * reading.noise:
        doubts.append(
            f"the loss drop is only {reading.drop / reading.noise:.1f} times the noise of a batch "
            f"(use {more} or larger batches)"
        )
    if reading.updates < FEW_UPDATES:
        doubts.append(
            f"the sweep had the effect of only {reading.updates:.1f} updates at the lr where the "
            f"drop was done (use {more})"
        )
    if (off := _off_by(reading)) > BAND_FACTOR:
        doubts.append(
            f"the losses around lr {10**reading.done:.2g} are so uneven that the lr may be off by "
            f"a factor of {off:.1f} (use {more}, larger batches or the mean of several sweeps)"
        )
    if reading.begun - reading.x[0] < START_DECADES:
        doubts.append("the loss fell from the first lr on (lower start_lr)")
    if not diverged and reading.x[-1] - reading.x[reading.lowest] <= SMOOTH_DECADES:
        doubts.append("the loss was still falling at the last lr (raise end_lr)")
    if outside:
        doubts.append("the best lr seems to lie outside the sweep, so this is its edge")
    return doubts
