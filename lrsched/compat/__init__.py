"""Other libraries' schedules under their own names, arguments and conventions -> Schedule.

A recipe carries over without thinking: the arguments are the peer's own, by keyword, less the
optimizer. Where the peer takes the lr from the optimizer, the first argument is `base_lr`. The
values are the peer's at every step where it is defined; each docstring says what differs. Those
that cycle momentum too return a `(lr, momentum)` pair of Schedules.
"""

from lrsched.compat._fastai import fastai_fit_flat_cos, fastai_fit_one_cycle, fastai_fit_sgdr
from lrsched.compat._keras import (
    keras_cosine_decay,
    keras_cosine_decay_restarts,
    keras_inverse_time_decay,
    keras_polynomial_decay,
)
from lrsched.compat._optax import (
    optax_cosine_onecycle,
    optax_linear_onecycle,
    optax_warmup_cosine_decay,
)
from lrsched.compat._timm import timm_cosine
from lrsched.compat._torch import (
    torch_cosine_annealing,
    torch_cosine_annealing_warm_restarts,
    torch_cyclic,
    torch_exponential,
    torch_linear,
    torch_multi_step,
    torch_one_cycle,
    torch_polynomial,
    torch_sequential,
    torch_step,
)
from lrsched.compat._transformers import (
    transformers_cosine_with_warmup,
    transformers_linear_with_warmup,
    transformers_wsd,
)

__all__ = [
    "fastai_fit_flat_cos",
    "fastai_fit_one_cycle",
    "fastai_fit_sgdr",
    "keras_cosine_decay",
    "keras_cosine_decay_restarts",
    "keras_inverse_time_decay",
    "keras_polynomial_decay",
    "optax_cosine_onecycle",
    "optax_linear_onecycle",
    "optax_warmup_cosine_decay",
    "timm_cosine",
    "torch_cosine_annealing",
    "torch_cosine_annealing_warm_restarts",
    "torch_cyclic",
    "torch_exponential",
    "torch_linear",
    "torch_multi_step",
    "torch_one_cycle",
    "torch_polynomial",
    "torch_sequential",
    "torch_step",
    "transformers_cosine_with_warmup",
    "transformers_linear_with_warmup",
    "transformers_wsd",
]
