"""Schedules named in a YAML or JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lrsched import schedules
from lrsched._validate import check_choice
from lrsched.engine.schedule import Schedule


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
    if isinstance(config, list):
        if not config:
            raise ValueError("config must hold at least one schedule, got an empty list")
        built = from_config(config[0])
        for following in config[1:]:
            built = built.then(from_config(following))
        return built
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping or a list of mappings, got {config!r}")
    if len(config) != 1:
        raise ValueError(
            f"config must have one key, the name of a schedule, got {sorted(map(str, config))} "
            "(put several schedules in a list)"
        )
    ((name, arguments),) = config.items()
    name = check_choice("schedule name", name, schedules.__all__)
    if not isinstance(arguments, Mapping):
        raise TypeError(f"the arguments of {name} must be a mapping, got {arguments!r}")
    try:
        numbers = {key: _number(value) for key, value in arguments.items()}
        schedule: Schedule = getattr(schedules, name)(**numbers)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    return schedule


def _number(value: Any) -> Any:
    """A float where text is one, also in a list."""
    if isinstance(value, list):
        return [_number(entry) for entry in value]
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value
