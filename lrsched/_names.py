"""Names that other packages have for what is ours: the only home of the sentence about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_SWEEP = "sweep='exponential' or sweep='linear'"
_STOP = "stop_factor, which counts in drops of the loss"
_RAW = "no such thing, since losses are kept raw and smoothed where they are read"

# Arguments of a range test, of whatever framework.
RANGE_TEST = {
    "min_lr": "start_lr",
    "lr_min": "start_lr",
    "max_lr": "end_lr",
    "lr_max": "end_lr",
    "num_training": "num_steps",
    "num_training_steps": "num_steps",
    "num_iter": "num_steps",
    "num_it": "num_steps",
    "mode": _SWEEP,
    "step_mode": _SWEEP,
    "diverge_th": _STOP,
    "early_stop_threshold": _STOP,
    "stop_div": _STOP,
    "smooth_f": _RAW,
    "beta": _RAW,
}
# Of one in PyTorch.
FINDER = {
    **RANGE_TEST,
    "train_loader": "loader",
    "train_dataloader": "loader",
    "dataloader": "loader",
    "data_loader": "loader",
    "loss_fn": "criterion",
    "accumulation_steps": "accumulate",
    "amp_config": "amp",
}
# Of one in Lightning, at the start of a fit and without one.
CALLBACK = {
    **RANGE_TEST,
    "attr_name": "attr",
    "update_attr": "attr=None, which sets the optimizer alone",
}
TUNER = {
    **RANGE_TEST,
    "attr_name": "no such thing, since nothing is set",
    "update_attr": "no such thing, since nothing is set",
    "model": "module",
    "loader": "train_dataloaders",
    "train_loader": "train_dataloaders",
    "dataloaders": "train_dataloaders",
}
ONE_CYCLE = {
    "anneal_strategy": "anneal",
    "epochs": "total_steps, the number of updates",
    "steps_per_epoch": "total_steps, the number of updates",
    "lr_max": "max_lr",
    "start_lr": "div_factor, max_lr over it",
    "end_lr": "final_div_factor, the first lr over it",
    "min_lr": "final_div_factor, the first lr over it",
    "cycle_momentum": "one_cycle_momentum, a schedule of its own",
    "base_momentum": "one_cycle_momentum, a schedule of its own",
    "max_momentum": "one_cycle_momentum, a schedule of its own",
}
# Of one with the range test before it, as Lightning's callback has it.
FIT_ONE_CYCLE = {
    "accept_doubt": "on_doubt='use'",
    "lr_max": "max_lr",
    "anneal_strategy": "anneal",
    "base_momentum": "momentum=(base_momentum, max_momentum)",
    "max_momentum": "momentum=(base_momentum, max_momentum)",
}
# Attributes of a loss curve.
CURVE = {
    "lrs": "lr",
    "losses": "loss",
    "history": "lr and loss",
    "results": "lr and loss",
    "suggestion": "suggest()",
    "lr_suggestion": "suggest()",
    "optimal_lr": "suggest()",
    "valley": "suggest(method='fastai_valley')",
    "get_best_lr": "suggest()",
    "plot_loss": "plot()",
    "lr_plot": "plot()",
}
# Attributes of a range test that keeps its curve in `curve`.
TEST = {name: f"curve.{ours}" for name, ours in CURVE.items()}
TEST["history"] = TEST["results"] = "curve.lr and curve.loss"


def answers_to(names: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function say what it calls an argument that has another name elsewhere."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def called(*arguments: P.args, **options: P.kwargs) -> R:
            for name in options:
                if name in names:
                    raise TypeError(f"{own} has no argument {name!r} (here: {names[name]})")
            return function(*arguments, **options)

        return called

    return decorate


def no_attribute(owner: object, name: str, names: Mapping[str, str]) -> AttributeError:
    """The error of an attribute that is not there; it says what ours is called."""
    hint = f" (here: {names[name]})" if name in names else ""
    sentence = f"{type(owner).__name__!r} object has no attribute {name!r}{hint}"
    return AttributeError(sentence, name=name, obj=owner)
