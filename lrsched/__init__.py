"""Learning-rate policy for deep learning: schedules, range tests and suggestions in pure NumPy.

`lrsched_tf` and `lrsched_torch` drive Keras and PyTorch from the same schedules.
"""

from lrsched import compat
from lrsched.config import from_config
from lrsched.schedule import Schedule, Segment
from lrsched.schedules import (
    constant,
    cosine,
    cosine_restarts,
    cyclical,
    cyclical_momentum,
    exponential,
    exponential_sweep,
    flat_cosine,
    inverse_sqrt,
    linear,
    linear_sweep,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    step_decay,
    warmup_cosine,
    warmup_stable_decay,
)

__version__ = "0.1.0"

__all__ = [
    "Schedule",
    "Segment",
    "compat",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclical",
    "cyclical_momentum",
    "exponential",
    "exponential_sweep",
    "flat_cosine",
    "from_config",
    "inverse_sqrt",
    "linear",
    "linear_sweep",
    "multi_step",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "step_decay",
    "warmup_cosine",
    "warmup_stable_decay",
]
