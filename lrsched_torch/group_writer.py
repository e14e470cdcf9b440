"""Writing a row of values, one for each scheduled hyper-parameter, in all parameter groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import CodeType
from typing import Any

from torch import Tensor

from lrsched_torch.param_groups import HYPERPARAMETERS, Group, Place

# An entry of a row is a number for all groups, or a sequence of one per group, in which None
# leaves a group alone.
Row = Sequence[Any]
Writer = Callable[[Sequence[Group], Row], None]
# What each group follows, None where it is left alone.
Column = Sequence[Hashable]

WRITER = """
def write(groups, row):
    {entries}, = row
    for {targets} in {sources}:
        if {are_floats}:
            {set_floats}
        else:
            {write_others}
"""


def is_shared(column: Column) -> bool:
    """Return whether all groups follow the same, so that a row has one number for all of them."""
    return len(set(column)) == 1


def writer_for(groups: Sequence[Group], columns: Mapping[str, Column]) -> Writer:
    """Return a function that writes rows of values in the groups.

    It runs at every step, so it is compiled for its columns, as a dataclass compiles methods for
    its fields: with one group, a loop over the columns costs twice the bytecodes. It sets floats
    and fills tensors by itself, and leaves the rest to `HyperParameter.write`. For the lr alone
    it reads:

        def write(groups, row):
            entry0, = row
            for group in groups:
                if group['lr'].__class__ is float:
                    group['lr'] = entry0
                else:
                    group['lr'].fill_(entry0) if ... is Tensor else write0(group, entry0)

    Args:
        groups: Parameter groups; those added later need another writer.
        columns: The columns of the rows, by the names of hyper-parameters.
    """
    # Entries are numbered, since names of hyper-parameters may be any text.
    entries = [f"entry{i}" for i in range(len(columns))]
    own = [entry for entry, c in zip(entries, columns.values(), strict=True) if not is_shared(c)]
    texts = [_texts(i, name, groups, column) for i, (name, column) in enumerate(columns.items())]
    are_floats, set_floats, write_others = zip(*texts, strict=True)
    text = WRITER.format(
        entries=", ".join(entries),
        targets=", ".join(["group", *own]),
        sources=f"zip({', '.join(['groups', *own])})" if own else "groups",
        are_floats=" and ".join(are_floats),
        set_floats="; ".join(set_floats),
        write_others="; ".join(write_others),
    )
    namespace: dict[str, Any] = {"Tensor": Tensor}
    namespace |= {f"write{i}": HYPERPARAMETERS[name].write for i, name in enumerate(columns)}
    exec(_compiled(text), namespace)
    writer: Writer = namespace["write"]
    return writer


@functools.cache
def _compiled(text: str) -> CodeType:
    return compile(text, f"<{__name__}>", "exec")


def _texts(number: int, name: str, groups: Sequence[Group], column: Column) -> tuple[str, str, str]:
    """Return Python texts for a column: whether a group holds a float, set it, write another."""
    entry, row = f"entry{number}", HYPERPARAMETERS[name]
    is_float, set_float, write_other = "False", "pass", f"write{number}(group, {entry})"
    followers = [g for g, followed in zip(groups, column, strict=False) if followed is not None]
    held = {_held(row.place_in(group), group, entry) for group in followers}
    if len(held) == 1:
        present, set_float = held.pop()
        is_float = f"{present}.__class__ is float"
        fill = f"{present}.fill_({entry}) if {present}.__class__ is Tensor"
        write_other = f"{fill} else {write_other}"
    if None in column:
        is_float = f"{entry} is not None and {is_float}"
        write_other = f"{entry} is None or ({write_other})"
    return is_float, set_float, write_other


def _held(place: Place, group: Group, entry: str) -> tuple[str, str]:
    """Return the Python texts for what a group holds in a place, and to set it."""
    held = f"group[{place.key!r}]"
    if place.slot is None:
        return held, f"{held} = {entry}"
    slots = [f"{held}[{i}]" for i in range(len(group[place.key]))]
    present, slots[place.slot] = slots[place.slot], entry
    return present, f"{held} = ({', '.join(slots)},)"
