"""Writing a row of values, one for each scheduled hyper-parameter, in all parameter groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from lrsched_torch.param_groups import Group, Place, hyperparameter

# An entry of a row is a number for all groups, or a sequence of one per group, in which None
# leaves a group alone.
Row = Sequence[Any]
Writer = Callable[[Sequence[Group], Row], None]
# What each group follows, None where it is left alone.
Column = Sequence[Hashable]

WRITER = """
def write(groups, row, number=float):
    {entries}, = row
"""
LOOP = """
    for {targets} in {sources}:
        if {are_floats}:
            {set_floats}
        else:
            {write_others}
"""
BULK = """
    tensors = [{present} for group in groups]
    try:
        copy(tensors, [tensor{number}] * len(tensors))
    except TypeError:
        # one of them is a number by now
        for group in groups:
            write{number}(group, entry{number})
"""


def is_shared(column: Column) -> bool:
    """Return whether all groups follow the same, so that a row has one number for all of them."""
    return len(set(column)) == 1


def bulk_columns(groups: Sequence[Group], columns: Mapping[str, Column]) -> dict[str, Tensor]:
    """Return one of the tensors of each hyper-parameter whose tensors are filled all at once.

    That takes the same number for all groups, and tensors of one kind: then a single kernel
    copies one tensor to all of them, and none is shared.
    """
    found = {}
    for name in (name for name, column in columns.items() if is_shared(column) and len(column) > 1):
        places = [hyperparameter(name).place_in(group) for group in groups]
        held = [place.get(group) for place, group in zip(places, groups, strict=True)]
        if all(type(each) is Tensor and each.ndim == 0 for each in held):
            kinds = {(p, each.dtype, each.device) for p, each in zip(places, held, strict=True)}
            if len(kinds) == 1:
                found[name] = held[0]
    return found


def writer_for(
    groups: Sequence[Group], columns: Mapping[str, Column], bulk: Collection[str] = ()
) -> Writer:
    """Return a function that writes rows of values in the groups.

    It runs at every step, so it is compiled for its columns, as a dataclass compiles methods for
    its fields: with one group, a loop over the columns costs twice the bytecodes. It sets floats
    and fills tensors by itself, and leaves the rest to `HyperParameter.write`. For the lr alone
    it reads:

        def write(groups, row, number=float):  # a local is found faster than a builtin
            entry0, = row
            for group in groups:
                if group['lr'].__class__ is number:
                    group['lr'] = entry0
                else:
                    group['lr'].fill_(entry0) if ... is Tensor else write0(group, entry0)

    Args:
        groups: Parameter groups; those added later need another writer.
        columns: The columns of the rows, by the names of hyper-parameters.
        bulk: Those of `bulk_columns` whose entries in the rows are pairs of a tensor, that is
            copied to all groups, and its number.
    """
    numbers = {name: number for number, name in enumerate(columns)}
    namespace: dict[str, Any] = {"Tensor": Tensor, "copy": torch._foreach_copy_}
    namespace |= {f"write{i}": hyperparameter(name).write for name, i in numbers.items()}
    # Entries are numbered, since names of hyper-parameters may be any text.
    entries = (f"(tensor{i}, entry{i})" if n in bulk else f"entry{i}" for n, i in numbers.items())
    text = WRITER.format(entries=", ".join(entries))
    for name in bulk:
        place = hyperparameter(name).place_in(groups[0])
        text += BULK.format(number=numbers[name], present=_held(place, groups[0], "")[0])
    rest = {numbers[name]: (name, column) for name, column in columns.items() if name not in bulk}
    if rest:
        text += _loop(groups, rest)
    exec(_compiled(text), namespace)
    writer: Writer = namespace["write"]
    return writer


def _loop(groups: Sequence[Group], columns: Mapping[int, tuple[str, Column]]) -> str:
    """Return the Python text that sets columns, by their numbers, in one group after another."""
    own = [f"entry{i}" for i, (_, column) in columns.items() if not is_shared(column)]
    texts = [_texts(i, name, groups, column) for i, (name, column) in columns.items()]
    are_floats, set_floats, write_others = zip(*texts, strict=True)
    return LOOP.format(
        targets=", ".join(["group", *own]),
        sources=f"zip({', '.join(['groups', *own])})" if own else "groups",
        are_floats=" and ".join(are_floats),
        set_floats="; ".join(set_floats),
        write_others="; ".join(write_others),
    )


@functools.cache
def _compiled(text: str) -> CodeType:
    return compile(text, f"<{__name__}>", "exec")


def _texts(number: int, name: str, groups: Sequence[Group], column: Column) -> tuple[str, str, str]:
    """Return Python texts for a column: whether a group holds a float, set it, write another."""
    entry, row = f"entry{number}", hyperparameter(name)
    is_float, set_float, write_other = "False", "pass", f"write{number}(group, {entry})"
    followers = [g for g, followed in zip(groups, column, strict=False) if followed is not None]
    held = {_held(row.place_in(group), group, entry) for group in followers}
    if len(held) == 1:
        present, set_float = held.pop()
        is_float = f"{present}.__class__ is number"
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
