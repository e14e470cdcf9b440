"""The formulas of peers that are not installed to be tested with: fastai 2.8 and timm 1.0."""

from __future__ import annotations

import math
from collections.abc import Callable

Formula = Callable[[int], float]


def _cosine(start: float, end: float, position: float) -> float:
    return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2


def _two(total_steps: int, pct_start: float, start: float, middle: float, end: float) -> Formula:
    """Two cosines, at position step / total_steps."""

    def value(step: int) -> float:
        position = step / total_steps
        if position < pct_start:
            return _cosine(start, middle, position / pct_start)
        return _cosine(middle, end, (position - pct_start) / (1 - pct_start))

    return value


def fit_one_cycle(
    total_steps, lr_max, div=25.0, div_final=1e5, pct_start=0.25, moms=(0.95, 0.85, 0.95)
) -> tuple[Formula, Formula]:
    lr = _two(total_steps, pct_start, lr_max / div, lr_max, lr_max / div_final)
    return lr, _two(total_steps, pct_start, *moms)


def fit_flat_cos(total_steps, lr, div_final=1e5, pct_start=0.75) -> Formula:
    return _two(total_steps, pct_start, lr, lr, lr / div_final)


def fit_sgdr(n_cycles, cycle_len, lr_max, cycle_mult=2) -> Formula:
    """Cosines that end at these shares of the run, each as long as `cycle_mult` times the last."""
    ends = [cycle_len * sum(cycle_mult**k for k in range(n + 1)) for n in range(n_cycles)]

    def value(step: int) -> float:
        cycle = min(sum(end <= step for end in ends), n_cycles - 1)
        length = cycle_len * cycle_mult**cycle
        return _cosine(lr_max, 0.0, 1 - (ends[cycle] - step) / length)

    return value


def timm_cosine(
    base_lr,
    t_initial,
    lr_min=0.0,
    cycle_mul=1.0,
    cycle_decay=1.0,
    cycle_limit=1,
    warmup_t=0,
    warmup_lr_init=0.0,
    warmup_prefix=False,
) -> Formula:
    def value(t: int) -> float:
        if t < warmup_t:
            return warmup_lr_init + t * (base_lr - warmup_lr_init) / warmup_t
        since = t - warmup_t if warmup_prefix else t
        if cycle_mul == 1:
            cycle, start = since // t_initial, since // t_initial * t_initial
        else:
            cycle = math.floor(math.log(1 - since / t_initial * (1 - cycle_mul), cycle_mul))
            start = (1 - cycle_mul**cycle) / (1 - cycle_mul) * t_initial
        if cycle >= cycle_limit:
            return lr_min
        wave = 1 + math.cos(math.pi * (since - start) / (t_initial * cycle_mul**cycle))
        return lr_min + 0.5 * (base_lr * cycle_decay**cycle - lr_min) * wave

    return value


def timm_step(base_lr, decay_t, decay_rate=1.0, warmup_t=0, warmup_lr_init=0.0) -> Formula:
    """With its warmup before the steps, as is timm's default here."""

    def value(t: int) -> float:
        if t < warmup_t:
            return warmup_lr_init + t * (base_lr - warmup_lr_init) / warmup_t
        return base_lr * decay_rate ** ((t - warmup_t) // decay_t)

    return value
