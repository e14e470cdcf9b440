"""Schedule functions: parameters with the names the field uses -> Schedule; a family per file."""

from lrsched.schedules.basic import (
    constant,
    cosine,
    exponential,
    exponential_sweep,
    linear,
    linear_sweep,
    multi_step,
    polynomial,
    step_decay,
    two_speed_sweep,
)
from lrsched.schedules.cycles import (
    cosine_restarts,
    cyclical,
    cyclical_momentum,
    one_cycle,
    one_cycle_momentum,
    one_cycle_original,
    one_cycle_original_momentum,
)
from lrsched.schedules.warmup import (
    flat_cosine,
    inverse_sqrt,
    warmup_cosine,
    warmup_stable_decay,
)

__all__ = [
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclical",
    "cyclical_momentum",
    "exponential",
    "exponential_sweep",
    "flat_cosine",
    "inverse_sqrt",
    "linear",
    "linear_sweep",
    "multi_step",
    "one_cycle",
    "one_cycle_momentum",
    "one_cycle_original",
    "one_cycle_original_momentum",
    "polynomial",
    "step_decay",
    "two_speed_sweep",
    "warmup_cosine",
    "warmup_stable_decay",
]
