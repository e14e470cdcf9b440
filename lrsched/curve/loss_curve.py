"""The loss curve that a range test leaves behind: raw losses, and what can be asked of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrsched._load import load_json
from lrsched._names import CURVE, no_attribute
from lrsched._validate import (
    check_at_most,
    check_format,
    check_int,
    check_positive,
    check_real,
    check_sequence,
    check_type,
    shown,
)
from lrsched.curve.cyclical import SMITH, CyclicalRange, cyclical_range
from lrsched.curve.peer_rules import PEERS
from lrsched.curve.suggestion import (
    PLATEAU,
    Suggestion,
    check_curve,
    suggest_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1
FINISHED = "finished"
NOT_FINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class LossCurve:
    """Losses of a range test, each with the learning rate of the update it was measured at.

    Nothing is smoothed, trimmed or dropped; a last loss that is NaN or infinite is kept.

    Args:
        lr: Learning rates, > 0 and strictly increasing; kept as a read-only float64 array [n].
        loss: Raw losses, as many; kept as a read-only float64 array [n].
        stop_reason: Why the sweep ended: "finished", "diverged", "non-finite loss" or any text.
        num_steps: Updates planned; None stands for n.
        start_lr: First learning rate planned; None stands for the first one used.
        end_lr: Last learning rate planned; None stands for the last one used.
        notes: What to know of how it was taken, a sentence each: data read very often, say.

    Raises:
        TypeError: not numbers, a masked array, or notes that are no list of text.
        ValueError: lengths differ, learning rates that are not positive and increasing, or a plan
            that the points do not fit.
    """

    lr: NDArray[np.float64]
    loss: NDArray[np.float64]
    stop_reason: str
    num_steps: int
    start_lr: float | None
    end_lr: float | None
    notes: tuple[str, ...]

    def __init__(
        self,
        lr: ArrayLike,
        loss: ArrayLike,
        *,
        stop_reason: str = FINISHED,
        num_steps: int | None = None,
        start_lr: float | None = None,
        end_lr: float | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        lrs, losses = check_curve(lr, loss)
        check_type("stop_reason", stop_reason, str)
        planned = lrs.size if num_steps is None else check_int("num_steps", num_steps, lrs.size)
        for note in check_sequence("notes", notes, "a list or tuple of str"):
            check_type("notes", note, str)
        fields = {
            "lr": lrs,
            "loss": losses,
            "stop_reason": stop_reason,
            "num_steps": planned,
            "start_lr": _planned_end("start_lr", start_lr, lrs[:1].tolist()),
            "end_lr": _planned_end("end_lr", end_lr, lrs[-1:].tolist()),
            "notes": tuple(notes),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute(self, name, CURVE)

    def suggest(
        self,
        *,
        schedule: str = "one_cycle",
        method: str | None = None,
        fallback: float | None = None,
        pretrained: bool | None = None,
    ) -> Suggestion:
        """A learning rate for training, as `lrsched.suggest` finds it on this curve."""
        return suggest_for(
            self.lr,
            self.loss,
            self.num_steps,
            schedule=schedule,
            method=method,
            fallback=fallback,
            pretrained=pretrained,
        )

    def suggestions(
        self, *, schedule: str = "one_cycle", pretrained: bool | None = None
    ) -> dict[str, Suggestion]:
        """What every rule says of this curve, by name: ours first, then each peer's."""
        return {
            name: self.suggest(schedule=schedule, method=name, pretrained=pretrained)
            for name in (PLATEAU, *PEERS)
        }

    def cyclical_range(self, *, method: str = SMITH, ratio: float | None = None) -> CyclicalRange:
        """Bounds for a cyclical schedule, with a reason: `base_lr, max_lr = cyclical_range()`.

        The upper bound is one for cycles that come back to it: the mean lr of a cycle is that
        suggested for constant training. For the peak of one cycle only, take `suggest().lr`.

        Args:
            method: Where the lower bound lies: "smith", at the lr from which on the loss falls, and
                at most a third of the upper one; or "ratio", at a fixed part of the upper one.
            ratio: `max_lr / base_lr` for "ratio", > 1; 3 to 6 are usual, None stands for 4.

        Returns:
            A CyclicalRange; with no usable drop its bounds are None, and its `reason` says why.

        Raises:
            TypeError: an argument of the wrong kind.
            ValueError: an unknown `method`, or a `ratio` that is <= 1 or comes with "smith".

        Source: Smith 2015, arXiv:1506.01186, section 3.3, for both.
        """
        return cyclical_range(self.lr, self.loss, self.num_steps, method=method, ratio=ratio)

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the curve; the arguments are those of `lrsched.curve.plot.plot_curve`."""
        from lrsched.curve.plot import plot_curve

        return plot_curve(self, ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """The curve as str, int, float, None and lists; NaN and inf as their names."""
        fields = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        named = [v if math.isfinite(v) else str(v) for v in self.loss.tolist()]
        lists = {"lr": self.lr.tolist(), "loss": named, "notes": list(self.notes)}
        return {"format": FORMAT, **fields, **lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LossCurve:
        """The curve that `to_dict` wrote.

        Raises:
            TypeError: `data` is not a mapping, or a value is of the wrong kind.
            ValueError: a newer format, a missing or unknown key, or a bad value.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping as to_dict writes, got {shown(data)}")
        values = dict(data)
        check_format(values.get("format", FORMAT), FORMAT)
        needed = {"format", "lr", "loss"}
        known = {*needed, *(entry.name for entry in dataclasses.fields(cls))}
        if not needed <= set(values) <= known:
            raise ValueError(
                f"data must have keys among {sorted(known)}, and {sorted(needed)}, "
                f"got {shown(sorted(map(str, values)))}"
            )
        del values["format"]
        for name in ("lr", "loss"):
            numbers = check_sequence(name, values[name], "a list of numbers")
            values[name] = np.array([_number(name, number) for number in numbers])
        return cls(**values)

    def to_json(self) -> str:
        """`to_dict` as a JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> LossCurve:
        """The curve that `to_json` wrote; raises as `from_dict` does."""
        return cls.from_dict(load_json(text))

    def to_csv(self) -> str:
        """The points as CSV text with the header `lr,loss`; every float survives the round trip."""
        rows = zip(self.lr.tolist(), self.loss.tolist(), strict=True)
        return "lr,loss\n" + "".join(f"{lr!r},{loss!r}\n" for lr, loss in rows)

    @classmethod
    def from_csv(cls, text: str) -> LossCurve:
        """A curve from CSV text with columns `lr` and `loss`, in any order and among others.

        An empty loss is NaN, as pandas writes it.

        Raises:
            TypeError: `text` is not a str.
            ValueError: a column is missing, or a cell is not a number.
        """
        check_type("text", text, str, "the content of a file, not its name")
        # Excel begins its UTF-8 files with a byte order mark.
        lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
        reader = csv.DictReader(lines, skipinitialspace=True)
        try:
            points = _points(reader)
        except csv.Error as error:
            raise ValueError(
                f"text must be CSV, got {error} in line {reader.line_num + 1}"
            ) from None
        lrs, losses = np.array(points).reshape(-1, 2).T
        return cls(lrs, losses)

    def _instead_of_itself(self) -> str:
        """What to pass where a number is wanted, for messages."""
        return "pass curve.suggest().lr"

    def __len__(self) -> int:
        return self.lr.size

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, LossCurve) else NotImplemented

    def __hash__(self) -> int:
        # Python floats hash 0.0 and -0.0 alike; all NaNs are equal here, and must hash so.
        losses = np.nan_to_num(self.loss).tolist()
        return hash((*self.lr.tolist(), *losses, self.num_steps, self.stop_reason))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays that come out of a pickle, or of a deep copy, can be written to.
        self.__dict__.update(state)
        for array in (self.lr, self.loss):
            array.flags.writeable = False

    def __repr__(self) -> str:
        if not len(self):
            return f"LossCurve(no points, {self.stop_reason})"
        return (
            f"LossCurve({len(self)} of {self.num_steps} steps, lr {self.lr[0]:.3g} to "
            f"{self.lr[-1]:.3g}, loss {self.loss[0]:.4g} to {self.loss[-1]:.4g}, "
            f"{self.stop_reason})"
        )

    def __str__(self) -> str:
        return "\n".join((repr(self), str(self.suggest()), *self.notes))

    def _repr_html_(self) -> str:
        from lrsched.curve.plot import html

        return html(self)


def _planned_end(name: str, planned: float | None, used: list[float]) -> float | None:
    """The planned end of a sweep; by default the one used, of which an empty curve has none."""
    if planned is None:
        return used[0] if used else None
    planned = check_positive(name, planned)
    for lr in used:
        if math.isclose(planned, lr, rel_tol=1e-6):  # loggers round
            continue
        if name == "start_lr":
            check_at_most(name, planned, "the first lr", lr)
        else:
            check_at_most("the last lr", lr, name, planned)
    return planned


def _number(name: str, value: Any) -> float:
    """As `to_dict` writes it: a number, or the name of one that is not finite."""
    if value.__class__ is float or value in NOT_FINITE:
        return float(value)
    return check_real(name, value, "a list of numbers")


def _points(reader: csv.DictReader[str]) -> list[tuple[float, float]]:
    if not {"lr", "loss"} <= set(reader.fieldnames or ()):
        raise ValueError(
            f"text must have a header with the columns lr and loss, got {shown(reader.fieldnames)}"
        )
    points = []
    for row in reader:
        try:
            points.append((float(row["lr"]), math.nan if row["loss"] == "" else float(row["loss"])))
        except (TypeError, ValueError):
            raise ValueError(
                f"lr and loss must be numbers, got {shown(row['lr'])} and {shown(row['loss'])} "
                f"in line {reader.line_num}"
            ) from None
    return points
