"""Schedules named in a YAML or JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from lrsched import schedules
from lrsched._validate import (
    MAX_SHOWN,
    check_choice,
    check_number_of_segments,
    close_to,
    shown,
)
from lrsched.engine.schedule import Schedule, joined

# Of lists in lists; a list that holds itself has no end.
MAX_DEPTH = 20


def from_config(config: Any) -> Schedule:
    """Build a schedule from plain data, as a YAML or JSON file holds it.

    Args:
        config: A mapping with one key, the name of a schedule function, and its arguments as a
            mapping; or a list of such mappings, which follow one another as `then` has it. A
            number may be text, which YAML makes of 1e-3, without a dot.

    Returns:
        The Schedule.

    Raises:
        TypeError: not a mapping or a list, or arguments that the function does not take.
        ValueError: an unknown name, more than one key, or what the function itself raises.

    Example:
        >>> from_config({"one_cycle": {"max_lr": 0.1, "total_steps": 1000}}).total_steps
        1000
        >>> warmup = {"linear": {"start": 0.0, "end": 0.1, "total_steps": 10}}
        >>> from_config([warmup, {"constant": {"value": 0.1}}])(99)
        0.1
    """
    return joined([_built(entry) for entry in _entries(config)])


def _entries(config: Any, depth: int = 0) -> list[Any]:
    """The mappings of a config, those in lists of lists too, in their order."""
    if not isinstance(config, list):
        return [config]
    if depth == MAX_DEPTH:
        raise ValueError(f"config must be nested at most {MAX_DEPTH} levels deep, got more")
    if not config:
        raise ValueError("config must hold at least one schedule, got an empty list")
    entries: list[Any] = []
    for part in config:
        entries += _entries(part, depth + 1)
        check_number_of_segments("config", len(entries))
    return entries


def _built(config: Any) -> Schedule:
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping or a list of mappings, got {shown(config)}")
    if len(config) != 1:
        raise ValueError(
            "config must have one key, the name of a schedule, "
            f"got {shown(sorted(map(str, config)))} (put several schedules in a list)"
        )
    ((name, arguments),) = config.items()
    name = check_choice("schedule name", name, schedules.__all__)
    if not isinstance(arguments, Mapping):
        raise TypeError(f"the arguments of {name} must be a mapping, got {shown(arguments)}")
    try:
        numbers = {key: _number(value) for key, value in arguments.items()}
        schedule: Schedule = getattr(schedules, name)(**numbers)
    except TypeError as error:
        options = signature(getattr(schedules, name)).parameters
        unknown = [str(key) for key in arguments if key not in options]
        meant = close_to(unknown[0], options) if unknown else ""
        hint = f" ({meant})" if meant else ""
        raise TypeError(f"{name}: {str(error)[:MAX_SHOWN]}{hint}") from error
    return schedule


def _number(value: Any) -> Any:
    """A float where text is one, also in a list."""
    if isinstance(value, list):
        return [float(entry) if _is_number(entry) else entry for entry in value]
    return float(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    """Whether a value is text that is a number, which YAML makes of 1e-3."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True
