"""A second look at a suggestion: short real trainings around it, all from the same start.

Not in the package, since on the fresh tasks it is worth no more than the suggestion itself:
`suggestion_refine.py` prints the table, `suggestion_design.py` how it came to be as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsched import LossCurve, constant, one_cycle
from lrsched.curve.divergence import MIN_POINTS
from lrsched.curve.features import read, readable
from lrsched.curve.suggestion import CONFIDENT_OVER_NOISE, SCHEDULE_FACTORS, Suggestion

PROBES = 3
STEPS = 100  # of each probe: with 60, the difference that lr makes is not yet seen
PROBE_FACTOR = 10**0.25  # between neighbours; wider steps leave the range that the sweep is good to
TAIL = 4  # the losses of the last 1/TAIL of a probe are compared
LEARNED_OVER_ERROR = 2.0
TIE_OVER_ERROR = 1.0  # levels closer than this are alike; without it, higher lrs win by chance
# Where the sweep shows no clear drop: how far below the lr at which the loss rises for good a
# one-cycle peak is. The median over 34 tasks is 0.92 decades (standard deviation 0.74).
BELOW_RISE = 10.0


@dataclass(frozen=True)
class Probe:
    """A short training: its (peak) lr, and the raw loss of each update."""

    lr: float
    losses: tuple[float, ...]

    @property
    def tail(self) -> tuple[float, ...]:
        """The losses of its last quarter."""
        return self.losses[-max(len(self.losses) // TAIL, 1) :]

    @property
    def level(self) -> float:
        """Mean loss at its end; inf if it broke off at a NaN or an infinity."""
        finite = all(map(math.isfinite, self.losses))
        return math.fsum(self.tail) / len(self.tail) if finite and self.losses else math.inf


def trained(instance: Any, lr: float, schedule: str, num_steps: int) -> Probe:
    """From the state and on the batches that a range test with this instance's seed begins with."""
    shape = one_cycle(lr, num_steps) if schedule == "one_cycle" else constant(lr)
    optimizer, batches = instance.optimizer(lr), instance.loader.forever()
    losses: list[float] = []
    for now in shape.values(num_steps).tolist():
        for group in optimizer.param_groups:
            group["lr"] = now
        x, y = next(batches)
        optimizer.zero_grad()
        loss = instance.criterion(instance.model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
    return Probe(lr, tuple(losses))


def candidates(curve: LossCurve, schedule: str) -> list[float]:
    """Learning rates to probe, rising, inside the sweep; none where nothing can be read."""
    found = curve.suggest(schedule=schedule)
    centre = found.lr if found.drop_over_noise >= CONFIDENT_OVER_NOISE else None
    if centre is None:
        calm = calm_until(curve)
        if calm is None:
            return []
        use = SCHEDULE_FACTORS[schedule] / SCHEDULE_FACTORS["one_cycle"]
        centre = calm / BELOW_RISE * use
    powers = range(-(PROBES // 2), PROBES // 2 + 1)
    around = [centre * PROBE_FACTOR**power for power in powers]
    return sorted(set(np.clip(around, curve.lr[0], curve.lr[-1]).tolist()))


def calm_until(curve: LossCurve) -> float | None:
    """The lr after which the loss stays above its start level; None for under 10 finite losses."""
    count, _ = readable(curve.loss, curve.num_steps or len(curve))
    if count < MIN_POINTS:
        return None
    return float(10 ** read(curve.lr[:count], curve.loss[:count]).calm)


def second_look(found: Suggestion, probes: Sequence[Probe]) -> tuple[float | None, bool]:
    """(the lr after a second look, None where all probes broke off; whether it is confident).

    Args:
        found: What the sweep suggests.
        probes: In the order of their lr, for the schedule of `found`.
    """
    if not probes:
        return found.lr, found.confident
    if all(probe.level == math.inf for probe in probes):
        return None, False
    lr, learned = choice(found, probes)
    return lr, found.confident and learned


def choice(found: Suggestion, probes: Sequence[Probe]) -> tuple[float, bool]:
    """(the lr that the probes speak for, whether any of them learned).

    That is the lowest lr whose probe ends as low as the best one, as far as noise lets one tell. A
    short training prefers a higher lr than a long one does, and most of all among learning rates
    that do about as well. So a higher lr must be better by more than the standard error of the
    difference of two means of losses, whose noise is that of one batch at the start. Where no
    probe got below the start level by two of these errors, they say nothing, and the middle one
    stays.
    """
    best = min(probe.level for probe in probes)
    error = found.noise * math.sqrt(2 / max(len(probe.tail) for probe in probes))
    if not best < found.start - LEARNED_OVER_ERROR * error:
        return probes[len(probes) // 2].lr, False
    alike = (probe.lr for probe in probes if probe.level <= best + TIE_OVER_ERROR * error)
    return next(alike), True
