"""Where batches come from: any iterable, read again and again, and put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from types import GeneratorType
from typing import Any

from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from lrsched_torch._digest import changed, whole_digest
from lrsched_torch._orders import Parts


class Batches:
    """The batches of a loader, from its start again where it ends, for ever.

    Every iteration begins anew. `restore` puts back what the reading has moved: generators, and
    counters such as the epoch of a sampler.

    Args:
        loader: Any iterable, also one that is read by number.
        name: What messages call it.
        verify: Compare hashes of what decides the order.

    Raises:
        TypeError: not an iterable.
    """

    def __init__(self, loader: Iterable[Any], name: str = "loader", verify: bool = True) -> None:
        if not _can_be_read(loader):
            remedy = " (give it to a DataLoader)" if isinstance(loader, Dataset) else ""
            raise TypeError(f"{name} must be an iterable of batches, got {loader!r}{remedy}")
        self._name = name
        self._ends = isinstance(loader, Iterator)
        # What knows its length, such as Lightning's CombinedLoader, begins anew with each iter().
        self._once = self._ends and not hasattr(type(loader), "__len__")
        self._loader, self._parts = loader, Parts(loader, name)
        self._before = self._parts.hashes() if verify else None
        self._begun_again = 0
        self._reading: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Endless, unless the loader is an iterator, which can be read only once.

        Raises:
            ValueError: there are no batches.
        """
        return chain.from_iterable(self._passes())

    def _passes(self) -> Iterator[Iterator[Any]]:
        yield self.one_pass()
        while not self._once:
            again = self._next_pass()
            if again is None and (self._ends or self._parts.holds_iterator):
                return
            self._begun_again += 1
            yield self._checked(again)

    def one_pass(self) -> Iterator[Any]:
        """The batches up to the end of the loader.

        Raises:
            ValueError: there are none.
        """
        return self._checked(self._next_pass())

    def _next_pass(self) -> Iterator[Any] | None:
        """The batches up to the end of the loader; None where there are none."""
        self._parts.set_aside()
        self._reading = batches = iter(self._loader)
        for first in batches:
            return chain((first,), batches)
        return None

    def _checked(self, batches: Iterator[Any] | None) -> Iterator[Any]:
        if batches is None:
            raise ValueError(
                f"{self._name} must give batches, got none (a generator can be read only once)"
            )
        return batches

    def set_aside(self) -> None:
        """Have DataLoaders begin anew, until `restore`; the first batch does it too."""
        self._parts.set_aside()

    def restore(self) -> None:
        """Put back what decides the order of the batches, and have the workers end."""
        if not (self._ends or self._parts.holds_iterator):
            _end_reading(self._reading)
        self._loader, self._reading = (), None
        self._parts.restore()

    def remains(self) -> list[str]:
        """Names of what differs from the state at construction, as far as hashes tell."""
        left = [] if self._before is None else changed(self._before, self._parts.hashes())
        return [*self._parts.failed, *left]

    def notes(self) -> Iterator[str]:
        """What the reader of a curve should know."""
        if self._once:
            yield "The loader is an iterator: the batches that were read are gone from it."
        if self._parts.holds_iterator:
            yield "The loader holds an iterator: what was read from it is gone."
        if self._begun_again:
            yield "The loader has fewer batches than the test has steps, and was read again."
        if self._parts.partly:
            names = ", ".join(dict.fromkeys(self._parts.partly))
            yield f"Too large to be put back and checked whole: {names}."


def _end_reading(batches: Any) -> None:
    """End an epoch of the test's own, which the traceback of an error may hold on to.

    Its workers would go on to fetch batches ahead, and to change what they share with others.
    """
    if isinstance(batches, GeneratorType):
        batches.close()
    elif isinstance(batches, _MultiProcessingDataLoaderIter):
        batches._shutdown_workers()


def _can_be_read(loader: Any) -> bool:
    """Whether `iter` gives batches; that of a data set would give samples."""
    by_number = hasattr(type(loader), "__getitem__") and not isinstance(loader, Dataset)
    return isinstance(loader, Iterable) or by_number


class StatefulLoaderAdapter:
    """Where a StatefulDataLoader is in its epoch.

    To read its state begins an epoch where none is under way, and to load one ends that which is:
    neither is done where it is not needed.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._attributes = dict(vars(loader))

    def state_dict(self) -> Any:
        under_way = vars(self._loader).get("_iterator") is not None
        return self._loader.state_dict() if under_way else {}

    def load_state_dict(self, state: Any) -> None:
        vars(self._loader).update(self._attributes)
        if state and whole_digest(self.state_dict()) != whole_digest(state):
            self._loader.load_state_dict(state)
