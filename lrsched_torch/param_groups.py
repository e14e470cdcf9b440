"""Parameter groups of an optimizer: reading and writing their lr and momentum, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

Group = dict[str, Any]
# Sets a row of a `Table` in the groups.
Writer = Callable[[Sequence[Group], Any], None]


def momentum_key(group: Group) -> str | None:
    """ "betas" (of which the first is the momentum), "momentum", or None."""
    return next((key for key in ("betas", "momentum") if key in group), None)


def read_momentum(group: Group) -> float:
    """Momentum, or beta_1, of a group that has one."""
    return float(group["betas"][0] if "betas" in group else group["momentum"])


def write_lr(group: Group, value: float) -> None:
    """Set the lr; a tensor keeps its identity, so compiled and captured steps see the change."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def write_momentum(group: Group, value: float) -> None:
    """Set momentum, or beta_1 beside the group's other betas; a tensor keeps its identity."""
    in_betas = "betas" in group
    current = group["betas"][0] if in_betas else group["momentum"]
    if isinstance(current, Tensor):
        current.fill_(value)
    elif in_betas:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


# The writers below run at every step. Each sets floats itself, and leaves anything else, which is
# rare or slow anyway, to the two functions above. A group that was added since the row was made
# gets its values just before its first update.


def _write_same_lr(groups: Sequence[Group], lr: float) -> None:
    for group in groups:
        present = group["lr"]
        if present.__class__ is float:
            group["lr"] = lr
        elif present.__class__ is Tensor:
            present.fill_(lr)
        else:
            write_lr(group, lr)


def _write_same_momentum(groups: Sequence[Group], row: tuple[float, float]) -> None:
    lr, momentum = row
    for group in groups:
        if group["lr"].__class__ is float is group["momentum"].__class__:
            group["lr"] = lr
            group["momentum"] = momentum
        else:
            write_lr(group, lr)
            write_momentum(group, momentum)


def _write_same_beta1(groups: Sequence[Group], row: tuple[float, float]) -> None:
    lr, beta1 = row
    for group in groups:
        betas = group["betas"]
        if group["lr"].__class__ is float is betas[0].__class__:
            group["lr"] = lr
            group["betas"] = beta1, betas[1]
        else:
            write_lr(group, lr)
            write_momentum(group, beta1)


def _write_same_pair(groups: Sequence[Group], row: tuple[float, float]) -> None:
    for group in groups:
        write_lr(group, row[0])
        write_momentum(group, row[1])


def _write_lrs(groups: Sequence[Group], row: Sequence[float]) -> None:
    for group, lr in zip(groups, row):  # noqa: B905
        if group["lr"].__class__ is float:
            group["lr"] = lr
        else:
            write_lr(group, lr)


def _write_pairs(groups: Sequence[Group], row: Sequence[tuple[float, float | None]]) -> None:
    for group, (lr, momentum) in zip(groups, row):  # noqa: B905
        if group["lr"].__class__ is float:
            group["lr"] = lr
        else:
            write_lr(group, lr)
        if momentum is not None:
            write_momentum(group, momentum)


def writer_for(groups: Sequence[Group], uniform: bool, has_momentum: bool) -> Writer:
    """The writer for the rows of a `Table` that is uniform, or has momentum."""
    if not has_momentum:
        return _write_same_lr if uniform else _write_lrs
    if not uniform:
        return _write_pairs
    if all("betas" not in group for group in groups):
        return _write_same_momentum
    pairs = all(len(group.get("betas", ())) == 2 for group in groups)
    return _write_same_beta1 if pairs else _write_same_pair


def unalias(groups: Iterable[Group], *, momentum: bool) -> None:
    """Give each group its own lr tensor, and its own momentum tensor where that is scheduled.

    `AdamW(groups, lr=torch.tensor(0.01))` hands one tensor to all groups: filling it for one
    sets it for all. The first group to hold a tensor keeps it; the later ones get a copy.
    """
    seen: set[int] = set()

    def own(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        mine = value.clone() if id(value) in seen else value
        seen.add(id(mine))
        return mine

    for group in groups:
        group["lr"] = own(group["lr"])
        if not momentum:
            continue
        if "betas" in group:
            group["betas"] = (own(group["betas"][0]), *group["betas"][1:])
        elif "momentum" in group:
            group["momentum"] = own(group["momentum"])


def has_list(*values: Any) -> bool:
    """Whether any argument is given per parameter group."""
    return any(isinstance(value, (list, tuple)) for value in values)


def per_group(optimizer: Optimizer, **arguments: Any) -> list[dict[str, Any]]:
    """The arguments of each parameter group, or just one set where none of them is a list.

    Raises:
        TypeError: not an optimizer.
        ValueError: the length of a list is not the number of groups.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch Optimizer, got {optimizer!r}")
    width = len(optimizer.param_groups) if has_list(*arguments.values()) else 1
    for name, value in arguments.items():
        if has_list(value) and len(value) != width:
            raise ValueError(
                f"{name} must be a number, or a list of one per parameter group ({width}), "
                f"got {value!r}"
            )
    return [
        {name: value[i] if has_list(value) else value for name, value in arguments.items()}
        for i in range(width)
    ]


def has_gradient(groups: Iterable[Group]) -> bool:
    """Whether any parameter holds a gradient."""
    return any(p.grad is not None for group in groups for p in group["params"])
