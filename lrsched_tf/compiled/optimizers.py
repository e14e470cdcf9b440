"""The optimizers of a compiled model, and where they keep their hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lrsched import Schedule
from lrsched._validate import check_momentum, check_real, check_type


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive_float(value: Any) -> bool:
    return isinstance(value, float) and value > 0


@dataclass(frozen=True)
class HyperParameter:
    """A number of optimizers that a schedule can drive: a row of `HYPERPARAMETERS`.

    Attributes:
        name: In the arguments of this package, and in messages.
        log_name: In the `logs` and the history of a training.
        attributes: Of optimizers, which keep it; a schedule drives all that are in use. An update
            is traced with a scalar of the step in their place.
        getter: The method that an optimizer reads it with, where it does not read the attribute.
            An update is traced with another method in its place.
        is_in_use: Whether an optimizer makes use of an attribute that has this value.
        wanted: What an optimizer must have, in messages; "" for a number of that name.
        remedy: An argument that gives it to an optimizer which has the first of the attributes.
        check: Returns a value of a schedule, or raises.
        example: A schedule of it, in messages.
    """

    name: str
    log_name: str
    attributes: tuple[str, ...]
    getter: str | None = None
    is_in_use: Callable[[Any], bool] = _is_number
    wanted: str = ""
    remedy: str = ""
    check: Callable[[str, Any], float] = check_real
    example: str = "lrsched.one_cycle(...)"

    def numbers_in_use(self, optimizer: Any) -> dict[str, float]:
        """Read the attributes of an optimizer that are in use, by name; there may be none."""
        held: dict[str, Any] = {name: getattr(optimizer, name, None) for name in self.attributes}
        return {name: value for name, value in held.items() if self.is_in_use(value)}

    def numbers(self, optimizer: Any) -> dict[str, float]:
        """Read the attributes of an optimizer that are in use, by name.

        Raises:
            ValueError: there is none.
        """
        numbers = self.numbers_in_use(optimizer)
        if numbers:
            return numbers
        name = type(optimizer).__name__
        wanted = self.wanted or f"a number for {self.name}"
        remedy = f"pass {self.name}=None"
        if self.remedy and getattr(optimizer, self.attributes[0], None) is not None:
            remedy = f"compile with {name}({self.remedy}), or {remedy}"
        raise ValueError(f"optimizer must have {wanted} to schedule, got {name} ({remedy})")

    def check_schedule(self, schedule: Any) -> None:
        """Check the type of a schedule, and the values between which it moves.

        Raises:
            TypeError: it is not a Schedule.
            ValueError: a value is out of range.
        """
        check_type(self.name, schedule, Schedule, f"for example {self.example}")
        for segment in schedule.segments:
            self.check(self.name, segment.start_value)
            self.check(self.name, segment.end_value)


HYPERPARAMETERS = {
    row.name: row
    for row in (
        HyperParameter(
            "lr", "learning_rate", ("_learning_rate",), getter="_get_current_learning_rate"
        ),
        HyperParameter(
            "momentum",
            "momentum",
            # Muon has one for each of its two rules.
            ("momentum", "beta_1", "adam_beta_1"),
            # One of 0 means that the optimizer keeps no moving average.
            is_in_use=_is_positive_float,
            wanted="a momentum > 0",
            remedy="momentum=0.9",
            check=check_momentum,
            example="lrsched.one_cycle_momentum(...)",
        ),
    )
}


def check_keras_3(given: Any) -> None:
    """Check that a model or an optimizer is not one of Keras 2, which still goes by `tf_keras`.

    Raises:
        TypeError: it is.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if "tf_keras" in modules:
        raise TypeError(
            f"model and optimizer must be those of Keras 3, got {type(given).__name__} of Keras 2 "
            "(import keras in place of tf_keras, and leave TF_USE_LEGACY_KERAS unset)"
        )


def top_optimizers(model: Any, given: Any = None) -> list[Any]:
    """Return the optimizers to drive, with their wrappers.

    Args:
        model: A model, or an optimizer in place of one.
        given: An optimizer, or a list of them; None stands for that of the model.

    Raises:
        TypeError: one is no Keras optimizer, or None and the model is not compiled.
        ValueError: an empty list, or an optimizer twice.
    """
    if given is None and not isinstance(model, keras.optimizers.Optimizer):
        check_keras_3(model)
        optimizer = getattr(model, "optimizer", None)
        check_keras_3(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                f"model must be compiled with a Keras optimizer, got optimizer {optimizer!r} "
                "(or pass optimizer=)"
            )
        return [optimizer]
    given = model if given is None else given
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for optimizer in listed:
        check_keras_3(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                f"optimizer must be a Keras optimizer or a list of them, got {optimizer!r}"
            )
    if not listed or len({id(optimizer) for optimizer in listed}) < len(listed):
        raise ValueError(f"optimizer must be one or more, each of them once, got {listed!r}")
    return listed


def leaf_optimizers(model: Any, given: Any = None) -> list[Any]:
    """Return the optimizers that update the weights of a model, without their wrappers.

    Args:
        model, given: As for `top_optimizers`.

    Raises:
        TypeError, ValueError: as `top_optimizers`, or one has a Schedule for its learning rate.
    """
    tops = top_optimizers(model, given)
    top = tops[0]
    # A MultiOptimizer may choose its parts when it is built.
    waits = hasattr(top, "optimizers") and not top.built
    if waits and top is getattr(model, "optimizer", None) and not unbuilt_layers(model):
        tops[0].build(model.trainable_variables)
    leaves = [leaf for top in tops for leaf in _leaves(top)]
    for leaf in leaves:
        if isinstance(vars(leaf).get("_learning_rate"), Schedule):
            raise TypeError(
                f"learning_rate of {type(leaf).__name__} must be a float or a KerasSchedule, got "
                "a Schedule, which Keras cannot call (pass lrsched_tf.KerasSchedule(schedule))"
            )
    return leaves


def other_optimizers(
    model: Any, given: Any, none: str = "pass optimizer= with the one that train_step updates"
) -> str:
    """Return a remedy that names optimizers which a model has beside that of `compile`.

    Args:
        model: A model, or None.
        given: As for `top_optimizers`.
        none: Returned where there are no others.
    """
    if model is None or given is not None:
        return none
    own = model.optimizer
    names = [
        name
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer)
        and value is not own
        and not name.startswith("_")
    ]
    if not names:
        return none
    listed = ", ".join(f"model.{name}" for name in names)
    remedy = listed if len(names) == 1 else f"[{listed}]"
    return f"where train_step updates {listed}, pass optimizer={remedy} to the callback"


@contextmanager
def naming_others(model: Any, given: Any) -> Iterator[None]:
    """Add to a ValueError of the block the remedy that `other_optimizers` gives, if any."""
    try:
        yield
    except ValueError as error:
        remedy = other_optimizers(model, given, "")
        if not remedy:
            raise
        raise ValueError(f"{error}; {remedy}") from None


def scales_loss(model: Any, given: Any = None) -> bool:
    """Return whether loss scaling may skip updates; arguments as for `top_optimizers`."""
    pending = top_optimizers(model, given)
    for optimizer in pending:
        if hasattr(optimizer, "inner_optimizer"):
            return True
        pending += getattr(optimizer, "optimizers", [])
    return False


def unbuilt_layers(model: Any) -> list[str]:
    """Return the names of layers, the model among them, whose weights are yet to be made.

    An optimizer that is built now would know nothing of those weights, and refuse to train them.
    """
    return [
        layer.name
        for layer in model._flatten_layers()
        if not layer.built and type(layer).build is not keras.Layer.build
    ]


def _leaves(optimizer: Any) -> Iterator[Any]:
    if hasattr(optimizer, "inner_optimizer"):
        yield from _leaves(optimizer.inner_optimizer)
    elif hasattr(optimizer, "optimizers"):
        for part in optimizer.optimizers:
            yield from _leaves(part)
    else:
        yield optimizer


def read(variable: Any) -> float:
    """Read a scalar variable from the device."""
    value = variable.value
    replicas = getattr(value, "values", None)  # of a tf.distribute strategy
    first = replicas[0] if isinstance(replicas, tuple) else value
    return ops.convert_to_numpy(first).item()  # type: ignore[no-any-return]


class OwnRates:
    """The user's learning rates, which a schedule leaves as they are.

    Made when a `fit` begins; asked after each epoch whether something else has set them.

    Args:
        optimizers: Leaf optimizers to which nothing has been done.
    """

    overwritten = (
        "something else set the learning rate, which has no effect: the schedule gives it to "
        "every update (remove the other callback)"
    )

    def __init__(self, optimizers: Iterable[Any]) -> None:
        rates = [optimizer.__dict__["_learning_rate"] for optimizer in optimizers]
        # Others have a schedule or a function, which nothing can set.
        self._rates = [(rate, read(rate)) for rate in rates if isinstance(rate, keras.Variable)]

    def restore(self) -> bool:
        """Restore those that something has set; returns whether there were any.

        On JAX, `callback.model` must have been asked for, which brings the state of a `fit` home.
        """
        changed = [(rate, own) for rate, own in self._rates if read(rate) != own]
        for rate, own in changed:
            rate.assign(own)
        return bool(changed)
