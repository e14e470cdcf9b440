"""Where batches come from: any iterable, read again and again, and restored."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from types import GeneratorType
from typing import Any

from torch.utils.data import Dataset

from lrsched._validate import shown
from lrsched.range_test import readings_note
from lrsched.rewind.snapshot import Snapshot
from lrsched.rewind.torch_values import end_reading
from lrsched_torch.rewind.registry import registry_for

GONE = "The loader is an iterator: the batches that were read are gone from it."
SINGLE = (
    "The loader has the data of a single update, on which every step has trained: the losses are "
    "those of learning it by heart (pass a loader of more)."
)


class Batches:
    """The batches of a loader, from its start again where it ends, for ever.

    Every iteration begins anew. `restore` restores what the reading has moved: generators, and
    counters such as the epoch of a sampler.

    Args:
        loader: Any iterable, also one that is read by number.
        name: What messages call it.
        verify: Watch what is not restored.

    Raises:
        TypeError: not an iterable.
    """

    def __init__(self, loader: Iterable[Any], name: str = "loader", verify: bool = True) -> None:
        check_loader(name, loader)
        self._name = name
        self._ends = isinstance(loader, Iterator)
        # What knows its length may begin anew.
        self._once = self._ends and not hasattr(type(loader), "__len__")
        self._gone = self._ends and (self._once or _gives_itself(type(loader)))
        self._loader = loader
        # That an iterator has been read is said anyway.
        watched = verify and not self._ends
        self._snapshot = Snapshot([(name, loader)], registry_for(None), verify=watched)
        held = (value for value in self._snapshot.values() if value is not loader)
        self._holds_iterator = any(map(_is_iterator, held))
        self._begun_again = 0
        self._length = _length(loader)
        self._reading: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield batches without end, unless the loader is an iterator, which is read only once.

        Raises:
            ValueError: there are no batches.
        """
        return chain.from_iterable(self._passes())

    def _passes(self) -> Iterator[Iterator[Any]]:
        yield self.one_pass()
        while not self._once:
            again = self._next_pass()
            if again is None and (self._ends or self._holds_iterator):
                return
            self._begun_again += 1
            yield self._checked(again)

    def one_pass(self) -> Iterator[Any]:
        """Return the batches up to the end of the loader.

        Raises:
            ValueError: there are none.
        """
        return self._checked(self._next_pass())

    def _next_pass(self) -> Iterator[Any] | None:
        """Return the batches up to the end of the loader; None where there are none."""
        # DataLoaders begin anew, until `restore`.
        self._snapshot.suspend()
        self._reading = batches = iter(self._loader)
        for first in batches:
            # What begins anew with `iter` must not do so here.
            anew = self._ends and not self._gone
            return chain((first,), _remaining(batches) if anew else batches)
        return None

    def _checked(self, batches: Iterator[Any] | None) -> Iterator[Any]:
        if batches is None:
            raise ValueError(
                f"{self._name} must give batches, got none (a generator can be read only once)"
            )
        return batches

    def restore(self) -> None:
        """Restore what decides the order of the batches, when the workers have ended."""
        if not (self._ends or self._holds_iterator):
            _close(self._reading)
        self._loader, self._reading = (), None
        self._snapshot.restore()

    def differences(self) -> list[str]:
        """Return the paths of what could not be restored."""
        return self._snapshot.differences()

    def notes(self) -> list[str]:
        """Return what the reader of the curve should know."""
        notes = self._snapshot.notes()
        if self._gone:
            notes = [GONE]
        often = readings_note(self._begun_again + 1, self._length)
        if self._begun_again and self._length == 1:
            notes.append(SINGLE)
        elif often is not None:
            notes.append(often)
        return notes


def _close(batches: Any) -> None:
    """End an epoch of the test's own, with its workers."""
    if isinstance(batches, GeneratorType):
        batches.close()
    else:
        end_reading(batches)


def check_loader(name: str, loader: Any) -> None:
    """Refuse what `iter` gives no batches of, such as a data set, which would give samples."""
    by_number = hasattr(type(loader), "__getitem__") and not isinstance(loader, Dataset)
    if isinstance(loader, Iterable) or by_number:
        return
    remedy = " (give it to a DataLoader)" if isinstance(loader, Dataset) else ""
    raise TypeError(f"{name} must be an iterable of batches, got {shown(loader)}{remedy}")


def _length(loader: Any) -> int | None:
    """Return the number of batches; None where nobody says."""
    try:
        return len(loader)
    except Exception:  # those of streams have a length that raises
        return None


def _remaining(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield what an iterator still has, without a call of `iter`."""
    with suppress(StopIteration):
        while True:
            yield next(batches)


def _gives_itself(kind: Any) -> bool:
    """Return whether `iter` gives an iterator as it is, as that of a DataLoader does.

    Others, such as Lightning's CombinedLoader, begin anew, for which they need their attributes.
    """
    anything = object()
    try:
        return kind.__iter__(anything) is anything
    except Exception:
        return False


def _is_iterator(value: Any) -> bool:
    """Return whether what is read from something is gone; a file is set back by its owner."""
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase)
