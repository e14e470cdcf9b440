"""Schedules and policies named in a YAML or JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsched import _names, compat, schedules
from lrsched._validate import MAX_SHOWN, check_choice, check_number_of_segments, shown
from lrsched.engine.changes import joined
from lrsched.engine.schedule import Schedule
from lrsched.policy.policy import Policy, chained
from lrsched.policy.units import RunLength

# Of lists in lists; a list that holds itself has no end.
MAX_DEPTH = 20
FUNCTIONS = {
    **{name: getattr(schedules, name) for name in schedules.__all__},
    **{name: getattr(compat, name) for name in compat.__all__},
}


def from_config(
    config: Any,
    *,
    total_steps: int | None = None,
    steps_per_epoch: int | None = None,
    epochs: int | None = None,
) -> Schedule | Policy:
    """Build a schedule or a policy from plain data, as a YAML or JSON file holds it.

    Args:
        config: One of these.

            - A mapping with one key, the name of a function of `lrsched` or `lrsched.compat` that
              builds schedules, and its arguments as a mapping. A function that returns a pair
              gives a Policy.
            - A mapping from names of hyper-parameters to such mappings or lists: a Policy.
            - What `to_dict` of a Schedule or a Policy wrote.
            - A list of these, all schedules or all policies, which follow one another as `then`
              has it.

            A number may be text, which YAML makes of 1e-3, without a dot. A number of steps may
            be "10ep", in epochs, or "0.3dur", a fraction of the run; each is rounded to whole
            steps, at least one.
        total_steps: Number of optimizer updates of the run, for "dur".
        steps_per_epoch: Number of optimizer updates of an epoch, for "ep".
        epochs: Number of epochs; with `steps_per_epoch`, in place of `total_steps`.

    Returns:
        The Schedule, or the Policy.

    Raises:
        TypeError: not a mapping or a list, or arguments that the function does not take.
        ValueError: an unknown name, more than one key, steps with a unit whose length is not
            given, or what the function itself raises.

    Example:
        >>> from_config({"one_cycle": {"max_lr": 0.1, "total_steps": 1000}}).total_steps
        1000
        >>> warmup = {"linear": {"start": 0.0, "end": 0.1, "total_steps": "0.1dur"}}
        >>> down = {"cosine": {"start": 0.1, "end": 0.0, "total_steps": "0.9dur"}}
        >>> from_config([warmup, down], steps_per_epoch=50, epochs=4)
        Schedule(200 steps: 0 at 0 -linear-> 0.1 at 19; 0.1 at 20 -cos-> 0 at 199)
        >>> from_config({"lr": down, "weight_decay": {"constant": {"value": 0.1}}}, total_steps=9)
        Policy(
          lr=Schedule(8 steps: 0.1 at 0 -cos-> 0 at 7),
          weight_decay=Schedule(endless: 0.1 at 0 -linear-> 0.1 at 1),
        )
    """
    run = RunLength(total_steps, steps_per_epoch, epochs)
    parts = [_built(entry, run) for entry in _entries(config)]
    policies = [part for part in parts if isinstance(part, Policy)]
    if policies and len(policies) < len(parts):
        raise TypeError("config must be a list of schedules or of policies, got both")
    if policies:
        return chained(policies)
    return joined([part for part in parts if isinstance(part, Schedule)])


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


def _built(config: Any, run: RunLength) -> Schedule | Policy:
    if isinstance(config, Mapping):
        if "schedules" in config:
            return Policy.from_dict(config)
        if _names_hyperparameters(config):
            rows = {str(name): _member(str(name), value, run) for name, value in config.items()}
            return Policy(**rows)
    built = _called(config, run)
    return Policy.from_pair(*built) if isinstance(built, tuple) else built


def _names_hyperparameters(config: Mapping[Any, Any]) -> bool:
    """Whether the keys are names of hyper-parameters: a known one, or one with a config."""
    if _names_schedule(config):
        return False
    known = any(_names.hyperparameter(str(name)) for name in config)
    return known or any(isinstance(v, list) or _names_schedule(v) for v in config.values())


def _names_schedule(config: Any) -> bool:
    """Whether a mapping has the name of a function, or the segments of a schedule."""
    return isinstance(config, Mapping) and any(n in FUNCTIONS or n == "segments" for n in config)


def _member(name: str, config: Any, run: RunLength) -> Schedule:
    """The schedule of one hyper-parameter; errors begin with its name."""
    if isinstance(config, (int, float)):
        raise TypeError(
            f"{name} must be a schedule, got {shown(config)} "
            f"(constant: {{value: {config}}} holds a value)"
        )
    try:
        parts = [_called(entry, run) for entry in _entries(config)]
        return joined([_alone(part) for part in parts])
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def _alone(part: Schedule | tuple[Schedule, Schedule | None]) -> Schedule:
    """The lr of a pair that has no momentum."""
    if isinstance(part, Schedule):
        return part
    lr, momentum = part
    if momentum is not None:
        raise ValueError(
            "config must give one schedule here, got a function that returns lr and momentum "
            "(cycle_momentum: false, or the function as the whole config)"
        )
    return lr


def _called(config: Any, run: RunLength) -> Schedule | tuple[Schedule, Schedule | None]:
    """What the function named in a config returns."""
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping or a list of mappings, got {shown(config)}")
    if "segments" in config:
        return Schedule.from_dict(config)
    if len(config) != 1:
        raise ValueError(
            "config must have one key, the name of a schedule, or names of hyper-parameters, "
            f"got {shown(sorted(map(str, config)))} (put several schedules in a list)"
        )
    ((name, arguments),) = config.items()
    if name not in compat.__all__:
        check_choice("schedule name", name, schedules.__all__, "those of lrsched.compat too")
    if not isinstance(arguments, Mapping):
        raise TypeError(f"the arguments of {name} must be a mapping, got {shown(arguments)}")
    try:
        given = {key: _value(key, value, run) for key, value in arguments.items()}
        built: Schedule | tuple[Schedule, Schedule | None] = FUNCTIONS[name](**given)
    except TypeError as error:
        raise TypeError(f"{name}: {str(error)[:MAX_SHOWN]}") from error
    return built


def _value(name: str, value: Any, run: RunLength) -> Any:
    """An argument: a number where text is one, steps where it has a unit; also in a list."""
    if isinstance(value, list):
        return [_value(name, entry, run) for entry in value]
    value = run.in_steps(name, value)
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
