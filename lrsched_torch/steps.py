"""Number of optimizer updates that a training will make."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

from torch.utils.data import BatchSampler, Dataset, Sampler

from lrsched._validate import check_bool, check_int, shown
from lrsched.rewind.kinds import is_a


def steps_for(
    epochs: int, loader: Sized | int, *, accumulate: int = 1, drop_last: bool = False
) -> int:
    """Return the number of updates in `epochs` passes over `loader`: a schedule's `total_steps`.

    Args:
        epochs: Number of passes, int >= 1.
        loader: A DataLoader, or anything whose `len` is the number of batches in a pass on this
            process (after `accelerator.prepare`, with a DistributedSampler), or that number.
        accumulate: Number of batches whose gradients make one update, int >= 1.
        drop_last: Whether the batches left over at the end of a pass, fewer than `accumulate`,
            make no update. Lightning, Transformers and Accelerate do make one. (Whether the
            loader leaves out a batch of too few samples shows in its `len`.)

    Raises:
        TypeError: an argument of the wrong kind, a loader without a length, or samples.
        ValueError: `epochs` or `accumulate` < 1, or no update at all.

    Example:
        >>> steps_for(3, 10, accumulate=4), steps_for(3, 10, accumulate=4, drop_last=True)
        (9, 6)
    """
    epochs = check_int("epochs", epochs, 1)
    accumulate = check_int("accumulate", accumulate, 1)
    batches = _batches(loader)
    whole, left = divmod(batches, accumulate)
    updates = whole if check_bool("drop_last", drop_last) or not left else whole + 1
    if updates == 0:
        raise ValueError(
            f"loader must give at least one update a pass, got {batches} batches with "
            f"accumulate={accumulate} (lower accumulate, or pass drop_last=False)"
        )
    return epochs * updates


def _batches(loader: Sized | int) -> int:
    if not isinstance(loader, Sized):
        return check_int("loader", loader, 0, "a loader without a length: pass the batches in it")
    if _counts_other_things(loader):
        raise TypeError(
            f"loader must give batches, got {shown(loader)}, whose length does not count them "
            "(pass the DataLoader, or the number of batches)"
        )
    try:
        return len(loader)
    except TypeError as error:
        # A DataLoader over an IterableDataset has __len__, which raises.
        raise TypeError(
            f"loader must have a length, got {shown(loader)} (pass the number of batches in it)"
        ) from error


def _counts_other_things(loader: Any) -> bool:
    """Return whether the length of something is that of its samples, or of its entries."""
    if is_a(loader, Dataset, Sampler, "datasets:Dataset"):
        return not isinstance(loader, BatchSampler)
    by_number = hasattr(loader, "__getitem__") and not hasattr(loader, "__iter__")
    return by_number or isinstance(loader, (str, Mapping)) or hasattr(loader, "shape")
