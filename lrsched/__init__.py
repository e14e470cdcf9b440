"""Learning-rate policy for deep learning: schedules, range tests and suggestions in pure NumPy.

`lrsched_tf` and `lrsched_torch` drive Keras and PyTorch from the same schedules. The names below
are loaded on first use (PEP 562), so importing this package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsched import compat
    from lrsched.config import from_config
    from lrsched.loss_curve import Comparison, LossCurve, average, compare
    from lrsched.range_test import RangeTest
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
    from lrsched.suggestion import Suggestion, suggest

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "LossCurve",
    "RangeTest",
    "Schedule",
    "Segment",
    "Suggestion",
    "average",
    "compare",
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
    "suggest",
    "warmup_cosine",
    "warmup_stable_decay",
]

# Where a name lives; all others are schedule functions.
_HOMES = {
    "Comparison": "lrsched.loss_curve",
    "LossCurve": "lrsched.loss_curve",
    "RangeTest": "lrsched.range_test",
    "Schedule": "lrsched.schedule",
    "Segment": "lrsched.schedule",
    "Suggestion": "lrsched.suggestion",
    "average": "lrsched.loss_curve",
    "compare": "lrsched.loss_curve",
    "from_config": "lrsched.config",
    "suggest": "lrsched.suggestion",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "compat":
        return import_module("lrsched.compat")
    value = getattr(import_module(_HOMES.get(name, "lrsched.schedules")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
