"""Learning-rate policy for deep learning: schedules, range tests and suggestions in pure NumPy.

`lrsched_tf` and `lrsched_torch` drive Keras and PyTorch from the same schedules. The names below
are loaded on first use (PEP 562), so importing this package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsched import compat
    from lrsched.config import from_config
    from lrsched.curve.comparison import Comparison, average, compare
    from lrsched.curve.cyclical import CyclicalRange
    from lrsched.curve.loss_curve import LossCurve
    from lrsched.curve.suggestion import Suggestion, suggest
    from lrsched.engine.schedule import Schedule
    from lrsched.engine.segment import Segment
    from lrsched.policy.policy import Policy
    from lrsched.range_test import RangeTest
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
        one_cycle_original,
        one_cycle_original_momentum,
        polynomial,
        step_decay,
        two_speed_sweep,
        warmup_cosine,
        warmup_stable_decay,
    )

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "CyclicalRange",
    "LossCurve",
    "Policy",
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
    "one_cycle_original",
    "one_cycle_original_momentum",
    "polynomial",
    "step_decay",
    "suggest",
    "two_speed_sweep",
    "warmup_cosine",
    "warmup_stable_decay",
]

# Where a name lives; all others are schedule functions.
_HOMES = {
    "Comparison": "lrsched.curve.comparison",
    "CyclicalRange": "lrsched.curve.cyclical",
    "LossCurve": "lrsched.curve.loss_curve",
    "Policy": "lrsched.policy.policy",
    "RangeTest": "lrsched.range_test",
    "Schedule": "lrsched.engine.schedule",
    "Segment": "lrsched.engine.segment",
    "Suggestion": "lrsched.curve.suggestion",
    "average": "lrsched.curve.comparison",
    "compare": "lrsched.curve.comparison",
    "from_config": "lrsched.config",
    "suggest": "lrsched.curve.suggestion",
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
