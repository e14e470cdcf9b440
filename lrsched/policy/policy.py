"""A policy: the schedules of all hyper-parameters that change in a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrsched import _names
from lrsched._load import load_json
from lrsched._validate import check_format, check_sequence, check_type, shown
from lrsched.engine.changes import check_cooldown, check_length, joined
from lrsched.engine.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1


class Policy(Mapping[str, Schedule]):
    """Schedules by the names of hyper-parameters: frozen, equal, hashable, picklable, JSON.

    It is a mapping, but for `values`, which gives numbers as that of a Schedule does.

    The names are those of torch: `lr`, `momentum` (beta_1 in optimizers that have betas),
    `beta_2`, `weight_decay`, `eps` (`epsilon` becomes that), and any other number of an
    optimizer by its own name.

    Args:
        schedules: A Schedule for each name. Those that have `total_steps` share it; endless ones,
            such as `constant`, go with any.

    Raises:
        TypeError: not a Schedule.
        ValueError: no schedule, a name that is none or stands for one above, or schedules of
            different lengths.

    Example:
        >>> from lrsched import constant, cosine, one_cycle
        >>> policy = Policy(lr=one_cycle(0.1, 100), weight_decay=cosine(0.1, 0.0, 100))
        >>> policy.at(0)
        {'lr': 0.004, 'weight_decay': 0.1}
        >>> policy["weight_decay"](99), policy.total_steps
        (0.0, 100)
        >>> {**policy, "momentum": constant(0.9)}.keys()
        dict_keys(['lr', 'weight_decay', 'momentum'])
    """

    __slots__ = ("_schedules", "_total_steps")
    _schedules: dict[str, Schedule]
    _total_steps: int | None

    def __init__(self, /, *positional: Any, **schedules: Schedule) -> None:
        if positional:
            raise TypeError(
                "Policy must be given schedules by name, Policy(lr=..., momentum=...), "
                f"got {shown(positional[0])} (a mapping: Policy(**mapping); "
                "a pair: Policy.from_pair(lr, momentum))"
            )
        checked = _checked_schedules(schedules)
        object.__setattr__(self, "_schedules", checked)
        object.__setattr__(self, "_total_steps", _shared_length(checked))

    @classmethod
    def from_pair(cls, lr: Schedule, momentum: Schedule | None) -> Policy:
        """The policy of an `(lr, momentum)` pair, as functions of `lrsched.compat` return it.

        Args:
            lr: Schedule of the lr.
            momentum: Schedule of the momentum, or None to leave it alone.

        Example:
            >>> from lrsched import compat
            >>> list(Policy.from_pair(*compat.torch_one_cycle(0.1, 100)))
            ['lr', 'momentum']
        """
        return cls(lr=lr) if momentum is None else cls(lr=lr, momentum=momentum)

    @classmethod
    def from_config(
        cls,
        config: Any,
        *,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        epochs: int | None = None,
    ) -> Policy:
        """The policy in plain data, as a YAML or JSON file holds it; as `lrsched.from_config`.

        Args:
            config: A mapping from names of hyper-parameters to configs of schedules, or any other
                that gives a Policy.
            total_steps: Number of optimizer updates of the run, for "0.3dur".
            steps_per_epoch: Number of optimizer updates of an epoch, for "10ep".
            epochs: Number of epochs; with `steps_per_epoch`, in place of `total_steps`.

        Raises:
            TypeError: as `lrsched.from_config` does, or the config gives a Schedule.
            ValueError: as `lrsched.from_config` does.
        """
        # It builds by the names of all functions, also of those that return policies.
        from lrsched.config import from_config

        built = from_config(
            config, total_steps=total_steps, steps_per_epoch=steps_per_epoch, epochs=epochs
        )
        if isinstance(built, Schedule):
            raise TypeError(
                f"config must be that of a policy, got that of {shown(built)} (name what it is "
                "for: {'lr': ...})"
            )
        return built

    @property
    def total_steps(self) -> int | None:
        """Number of optimizer updates, or None where all schedules are endless."""
        return self._total_steps

    def at(self, step: int) -> dict[str, float]:
        """Value of every hyper-parameter at `step`: the number of optimizer updates already made.

        Raises:
            TypeError: `step` is not an int.
            ValueError: a step of 2**63 and more.
        """
        return {name: schedule(step) for name, schedule in self.items()}

    def values(  # type: ignore[override]
        self, num_steps: int | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Values of every hyper-parameter at the steps 0, 1, ..., each of shape [num_steps].

        Args:
            num_steps: Int >= 0; None, for a policy with an end, stands for `total_steps`.

        Raises:
            ValueError: `num_steps` is None and all schedules are endless.
        """
        num_steps = self.total_steps if num_steps is None else num_steps
        return {name: schedule.values(num_steps) for name, schedule in self.items()}

    def only(self, *names: str) -> Policy:
        """The part of the policy that has these names.

        Raises:
            ValueError: a name that the policy has not, or none at all.
        """
        missing = [name for name in names if name not in self]
        if missing:
            raise ValueError(
                f"names must be of this policy's {', '.join(self)}, got {shown(missing[0])}"
            )
        return Policy(**{name: self[name] for name in names})

    def then(self, other: Policy) -> Policy:
        """This policy for its `total_steps`, then `other` from its own step 0.

        Raises:
            TypeError: `other` is not a Policy.
            ValueError: other names, or a schedule of this policy is endless.
        """
        check_type("other", other, Policy)
        return chained([self, other])

    def truncated(self, step: int) -> Policy:
        """Every schedule as `Schedule.truncated` has it, which says what it raises."""
        return Policy(**{name: schedule.truncated(step) for name, schedule in self.items()})

    def stretched(self, total_steps: int) -> Policy:
        """The policy in another number of steps; endless schedules stay as they are.

        Raises:
            TypeError, ValueError: as `Schedule.stretched` does; all schedules are endless.
        """
        check_length("stretched", "policy", self.total_steps)
        return self._with_length(lambda schedule: schedule.stretched(total_steps))

    def extended(self, total_steps: int, at: int) -> Policy:
        """Before `at` unchanged, the rest stretched; endless schedules stay as they are.

        Raises:
            TypeError, ValueError: as `Schedule.extended` does; all schedules are endless.
        """
        check_length("extended", "policy", self.total_steps)
        return self._with_length(lambda schedule: schedule.extended(total_steps, at))

    def cooldown(
        self,
        at: int,
        steps: int,
        shape: str = "sqrt",
        to: float = 0.0,
        *,
        names: Sequence[str] = ("lr",),
    ) -> Policy:
        """Take the lr from its value at `at` down to `to`, where the run ends.

        The others go on as they would, and are cut where the run ends now.

        Args:
            at: As all that follows but `names`, for `Schedule.cooldown`.
            steps: Number of updates of the cooldown.
            shape: "sqrt", "linear", "cos" or "exp".
            to: Last value.
            names: The hyper-parameters that go down, at least one.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: a name that the policy has not, or as `Schedule.cooldown` does.

        Example:
            >>> from lrsched import constant
            >>> policy = Policy(lr=constant(1.0), momentum=constant(0.9))
            >>> policy.cooldown(at=100, steps=11, shape="linear").at(105)
            {'lr': 0.5, 'momentum': 0.9}
        """
        check_sequence("names", names, "a list of names")
        cooled = self.only(*names)
        at, steps = check_cooldown(at, steps, self.total_steps)
        rest = self._with_length(lambda schedule: schedule.truncated(at + steps))
        down = {name: each.cooldown(at, steps, shape, to) for name, each in cooled.items()}
        return Policy(**{**rest._schedules, **down})

    def _with_length(self, change: Callable[[Schedule], Schedule]) -> Policy:
        """The policy after a change of every schedule that is not endless."""
        changed = {
            name: schedule if schedule.total_steps is None else change(schedule)
            for name, schedule in self.items()
        }
        return Policy(**changed)

    def plot(
        self, axes: Sequence[Axes] | None = None, *, num_steps: int | None = None, **line: Any
    ) -> list[Axes]:
        """Draw every hyper-parameter against the step, one below the other.

        Args:
            axes: Matplotlib Axes to draw on, one for each name; None makes a figure. Nothing is
                shown.
            num_steps: How many steps; needed where all schedules are endless.
            line: Passed to `Axes.plot`.

        Returns:
            The Axes, in the order of the names.
        """
        from lrsched.engine.plot import plot_columns

        return plot_columns(self.values(num_steps), axes, **line)

    def to_dict(self) -> dict[str, Any]:
        """The policy as str, int, float, None, lists and dicts, for JSON, YAML or a checkpoint."""
        rows = {name: schedule.to_dict() for name, schedule in self.items()}
        return {"format": FORMAT, "schedules": rows}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Policy:
        """The policy that `to_dict` wrote.

        Raises:
            TypeError: `data` is not a mapping, or a value is of the wrong kind.
            ValueError: a newer format, a missing or unknown key, or a bad value.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("schedules"), Mapping):
            raise TypeError(
                f"data must be a mapping as Policy.to_dict writes, got {shown(data)} "
                "(Schedule.from_dict reads that of a single schedule)"
            )
        check_format(data.get("format"), FORMAT, "as Policy.to_dict writes")
        if len(data) != 2:
            raise ValueError(
                f"data must have the keys format and schedules, got {shown(sorted(map(str, data)))}"
            )
        rows = {str(name): Schedule.from_dict(row) for name, row in data["schedules"].items()}
        return cls(**rows)

    def to_json(self) -> str:
        """`to_dict` as a JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The policy that `to_json` wrote; raises as `from_dict` does."""
        return cls.from_dict(load_json(text))

    def __getitem__(self, name: str) -> Schedule:
        return self._schedules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedules)

    def __len__(self) -> int:
        return len(self._schedules)

    def __eq__(self, other: object) -> bool:
        return self._schedules == other._schedules if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._schedules.items()))

    def __repr__(self) -> str:
        rows = "".join(f"\n  {name}={schedule!r}," for name, schedule in self.items())
        return f"Policy({rows}\n)"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"a Policy is frozen, got {name} = {shown(value)} (Policy(**{{**policy, ...}}) is one "
            "with other schedules)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Policy, **self._schedules), ()


def chained(policies: Sequence[Policy]) -> Policy:
    """The policies one after the other, as `Policy.then` has it; at least one.

    Raises:
        ValueError: different names, or as `Schedule.then` does.
    """
    head = policies[0]
    for policy in policies[1:]:
        if set(policy) != set(head):
            raise ValueError(
                f"a policy after another must have its names, {', '.join(head)}, "
                f"got {', '.join(policy)} (lrsched.constant holds a value)"
            )
    return Policy(**{name: joined([policy[name] for policy in policies]) for name in head})


def _checked_schedules(schedules: Mapping[str, Any]) -> dict[str, Schedule]:
    if not schedules:
        raise ValueError("Policy must be given at least one schedule, got none")
    checked: dict[str, Schedule] = {}
    for given, schedule in schedules.items():
        name = _checked_name(given)
        if name in checked:
            raise ValueError(f"{name} must be given once, got eps and epsilon")
        hint = "Policy.from_pair(lr, momentum) takes a pair" if isinstance(schedule, tuple) else ""
        if isinstance(schedule, (int, float)):
            hint = f"lrsched.constant({schedule!r}) holds a value"
        check_type(given, schedule, Schedule, hint)
        checked[name] = schedule
    return checked


def _checked_name(name: str) -> str:
    if name == "epsilon":
        return "eps"
    ours = _names.hyperparameter(name)
    if ours not in (None, name):
        raise ValueError(f"no hyper-parameter must be named {shown(name)} (here: {ours})")
    if not name.isidentifier():
        raise ValueError(f"a hyper-parameter's name must be an identifier, got {shown(name)}")
    return name


def _shared_length(schedules: Mapping[str, Schedule]) -> int | None:
    lengths = {
        name: schedule.total_steps
        for name, schedule in schedules.items()
        if schedule.total_steps is not None
    }
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} of {length}" for name, length in lengths.items())
        name = min(lengths, key=lambda each: lengths[each])
        last = schedules[name](lengths[name] - 1)
        raise ValueError(
            f"schedules of a policy must have the same total_steps, got {listed} "
            f"(then(lrsched.constant({last!r})) has {name} hold its last value for ever)"
        )
    return next(iter(lengths.values()), None)
