"""Schedules for a run whose length only `fit` knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lrsched
from lrsched import Policy, Schedule
from lrsched._validate import check_int
from lrsched_tf.compiled.hyperparameters import hyperparameter

# By the names of HYPERPARAMETERS.
Schedules = Mapping[str, Schedule]


class RunLength(NamedTuple):
    """Length of a run in updates, which a `Recipe` is called with; None for what is not known.

    Attributes:
        total_steps: Updates until the end of the run, counted from step 0 of its schedules.
        steps_per_epoch: A whole number, but for gradients that accumulate over several batches.
    """

    total_steps: int | None
    steps_per_epoch: float | None


# Raises a ValueError where it needs what is not known.
Recipe = Callable[[RunLength], Schedules]
# Stands for a length that is being learnt; nearly always, the first value is that of any length.
ANY_LENGTH = RunLength(100, None)


def given_schedules(**schedules: Schedule | None) -> dict[str, Schedule]:
    """Return those of the schedules that are not None, by name."""
    return {name: schedule for name, schedule in schedules.items() if schedule is not None}


def checked_schedules(lr: Any, momentum: Any) -> Schedules:
    """Return the schedules that a user gives for an lr and a momentum, or as a Policy.

    Raises:
        TypeError: neither schedules nor a Policy, or a Policy and a momentum.
        ValueError: none, or a value out of range.
    """
    if isinstance(lr, Policy) and momentum is not None:
        raise TypeError(
            f"momentum must be part of the Policy, got a Policy of {', '.join(lr)} and a momentum "
            "(Policy(**policy, momentum=...))"
        )
    given = lr if isinstance(lr, Policy) else given_schedules(lr=lr, momentum=momentum)
    if not given:
        raise ValueError("lr or momentum must be given, got neither")
    for name, schedule in given.items():
        hyperparameter(name).check_schedule(schedule)
    return dict(given)


def held(schedules: Schedules, total_steps: int | None = None) -> dict[str, Schedule]:
    """Return schedules of the first values of others, for so many steps."""
    return {
        name: dataclasses.replace(lrsched.constant(schedule(0)), total_steps=total_steps)
        for name, schedule in schedules.items()
    }


class FitLength:
    """Batches per epoch of a `fit`: as the user gave them, as `fit` knows them, or as learnt.

    Made with a callback, which asks it when an epoch begins.

    Args:
        steps_per_epoch: Given by the user, or None.
        learn: Hold the first values in a first epoch of unknown length, and count its batches.

    Attributes:
        known, epochs: Batches per epoch, and the number of epochs, where `fit` knows them.
        learnt: Batches per epoch, as the callback has counted them.
    """

    def __init__(self, steps_per_epoch: int | None, learn: bool) -> None:
        if steps_per_epoch is not None:
            steps_per_epoch = check_int("steps_per_epoch", steps_per_epoch, 1)
        self._given, self._learn = steps_per_epoch, learn
        self.begin(None)

    def begin(self, params: Mapping[str, Any] | None) -> None:
        """Begin a `fit`, with the parameters that Keras gives to callbacks; None for a loop."""
        self.known: int | None = (params or {}).get("steps")
        self.epochs: int | None = (params or {}).get("epochs")
        self.learnt: int | None = None

    def batches_per_epoch(self) -> int | None:
        """Return the batches per epoch; None where nothing tells.

        Raises:
            ValueError: `fit` contradicts the user.
        """
        known, given = self.known, self._given
        if known is not None and given is not None and known != given:
            raise ValueError(
                f"steps_per_epoch must be that of fit, got {given} where fit makes {known} steps"
            )
        return given or known or self.learnt

    @property
    def is_learning(self) -> bool:
        """Return whether the batches of the first epoch are to be counted."""
        return self._learn and self.epochs is not None and self.batches_per_epoch() is None

    def schedules(self, recipe: Recipe, length: RunLength) -> Schedules:
        """Return the schedules of a recipe, behind those of an epoch that was learnt from.

        Raises:
            ValueError: the recipe needs what is not known, or there is nothing left to learn for.
        """
        if self.is_learning:
            if self.epochs == 1:
                raise ValueError('epochs must be >= 2 with steps_per_epoch="learn", got 1')
            return held(recipe(ANY_LENGTH))
        if self.learnt is None or length.total_steps is None or length.steps_per_epoch is None:
            return recipe(length)
        learnt = round(length.steps_per_epoch)
        cycle = recipe(length._replace(total_steps=length.total_steps - learnt))
        start = held(cycle, learnt)
        return {name: start[name].then(schedule) for name, schedule in cycle.items()}
