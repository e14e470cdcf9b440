"""One call that finds the peak learning rate and trains with 1cycle."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from types import GeneratorType
from typing import Any

import keras
from keras.src.trainers.data_adapters.array_slicing import train_validation_split

from lrsched._names import FIT_ONE_CYCLE, answers_to
from lrsched._validate import check_bool, check_positive
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import Suggestion
from lrsched_tf.callbacks.cycles import LEARN, Momentum, OneCycle
from lrsched_tf.compiled.hyperparameters import HYPERPARAMETERS
from lrsched_tf.compiled.optimizers import leaf_optimizers, naming_others
from lrsched_tf.finder.data import length_is_known
from lrsched_tf.finder.lr_find import lr_find

# Arguments of `fit` that say what the range test trains on.
DATA_ARGUMENTS = ("batch_size", "class_weight", "sample_weight", "shuffle", "steps_per_epoch")


@answers_to(FIT_ONE_CYCLE)
def fit_one_cycle(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    epochs: int,
    max_lr: float | None = None,
    pct_start: float = 0.3,
    anneal: str = "cos",
    warmup: str | None = None,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
    momentum: Momentum = (0.85, 0.95),
    total_steps: int | None = None,
    steps_per_epoch: int | str | None = None,
    accept_doubt: bool = False,
    range_test: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    verbose: int | str = "auto",
    optimizer: Any = None,
    fallback: float | None = None,
    pretrained: bool | None = None,
    **fit_arguments: Any,
) -> keras.callbacks.History:
    """Train with the 1cycle policy, after a range test for its peak where none is given.

    The range test trains on the same data, prints what it found and why, and is undone.

    Args:
        model: A compiled, built Keras model.
        x, y, epochs, callbacks, verbose, fit_arguments: As for `fit`; `verbose=0` prints nothing.
        max_lr: Peak learning rate, > 0; None finds it, in data that can be read again.
        pct_start, anneal, warmup, div_factor, final_div_factor, three_phase, momentum,
            total_steps, optimizer: As for `OneCycle`.
        steps_per_epoch: As for `fit`, or "learn" as for `OneCycle`. Data of unknown length needs
            this or `total_steps`.
        accept_doubt: Train at the learning rate found even where the range test is not sure of it.
        fallback: With `accept_doubt`, the peak where the range test gives none, > 0.
        pretrained: With `accept_doubt`, whether the model is trained already, which tells the peak
            where the loss of the range test only rises; None for unknown.
        range_test: Arguments of `lr_find`, for example `{"num_steps": 500, "end_lr": 1.0}`.

    Returns:
        The History of `fit`. It has the LossCurve and the Suggestion of the range test as
        `lr_curve` and `suggestion`; both are None where `max_lr` was given.

    Raises:
        TypeError: an argument of the wrong kind, or one that `fit` does not have.
        ValueError: a value outside its range, data of unknown length, an optimizer without momentum
            although it is to cycle, or a range test that is not sure; the model is as before.

    Example:
        >>> fit_one_cycle(model, x, y, epochs=10, validation_split=0.1)
    """
    check_bool("accept_doubt", accept_doubt)
    if fallback is not None:
        fallback = check_positive("fallback", fallback)
        if not accept_doubt:
            raise ValueError(f"fallback must come with accept_doubt=True, got {fallback:g} alone")
    if pretrained is not None:
        check_bool("pretrained", pretrained)
    if isinstance(callbacks, keras.callbacks.CallbackList):
        raise TypeError("callbacks must be a list of callbacks, got a CallbackList")
    _check_fit_arguments(model, fit_arguments)
    if steps_per_epoch not in (None, LEARN):
        fit_arguments["steps_per_epoch"] = steps_per_epoch
    elif steps_per_epoch is None and total_steps is None and not length_is_known(x):
        raise ValueError(
            "total_steps or steps_per_epoch must be given for data of unknown length, got neither "
            '(steps_per_epoch="learn" counts the first epoch)'
        )

    if max_lr is None and isinstance(x, GeneratorType):
        raise ValueError(
            "max_lr must be given for a generator, got None (the batches that a range test reads "
            "are gone from it; pass max_lr=, or data that can be read again)"
        )

    cycle = functools.partial(
        OneCycle,
        total_steps=total_steps,
        pct_start=pct_start,
        anneal=anneal,
        warmup=warmup,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
        momentum=momentum,
        steps_per_epoch=steps_per_epoch,
        optimizer=optimizer,
    )
    # Whatever is wrong with the arguments is said before the range test takes its time.
    cycle(1.0 if max_lr is None else max_lr)
    leaf_optimizers(model, optimizer)
    if momentum is not None:
        with naming_others(model, optimizer):
            for leaf in leaf_optimizers(model, optimizer):
                HYPERPARAMETERS["momentum"].numbers(leaf)
    curve = suggestion = None
    if max_lr is None:
        test = {"optimizer": optimizer, **(range_test or {})}
        curve = _curve(model, x, y, test, fit_arguments)
        suggestion = curve.suggest(schedule="one_cycle", fallback=fallback, pretrained=pretrained)
        if verbose != 0:
            print(suggestion)
        max_lr = _lr_of(suggestion, accept_doubt)
    others = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] * bool(callbacks)
    history = model.fit(
        x,
        y,
        epochs=epochs,
        verbose=verbose,
        callbacks=[cycle(max_lr), *others],
        **fit_arguments,
    )
    history.lr_curve, history.suggestion = curve, suggestion
    return history


def _check_fit_arguments(model: Any, arguments: Mapping[str, Any]) -> None:
    known = inspect.signature(model.fit).parameters
    unknown = sorted(set(arguments) - set(known))
    if unknown and not any(kind.kind is kind.VAR_KEYWORD for kind in known.values()):
        raise TypeError(f"arguments must be those of fit or of OneCycle, got {unknown}")


def _curve(
    model: Any, x: Any, y: Any, range_test: Mapping[str, Any], fit_arguments: Mapping[str, Any]
) -> LossCurve:
    """Run a range test with the data that `fit` trains on."""
    data = {name: fit_arguments[name] for name in DATA_ARGUMENTS if name in fit_arguments}
    split = fit_arguments.get("validation_split", 0.0)
    if split and fit_arguments.get("validation_data") is None:
        weight = data.get("sample_weight")
        # As `fit` does it: what it cannot split, it would refuse later.
        (x, y, weight), _ = train_validation_split((x, y, weight), validation_split=split)
        data |= {} if weight is None else {"sample_weight": weight}
    return lr_find(model, x, y, **data, **range_test)


def _lr_of(suggestion: Suggestion, accept_doubt: bool) -> float:
    if suggestion.lr is None or not (suggestion.confident or accept_doubt):
        remedy = "to use it all the same"
        if suggestion.lr is None:
            remedy = "with a fallback=" if suggestion.guess is None else "with pretrained="
        raise ValueError(
            f"max_lr must be given, since the range test is not sure. {suggestion} "
            f"(pass max_lr=, or accept_doubt=True {remedy})"
        )
    return float(suggestion.lr)
