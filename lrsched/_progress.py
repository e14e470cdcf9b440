"""A progress bar for long work, where the user asks for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from lrsched._validate import check_bool

T = TypeVar("T")


class Progress:
    """A tqdm bar, or nothing at all; used as a context.

    Args:
        total: Number of steps.
        title: Text before the bar.
        shown: False makes every call a no-op, and needs no tqdm.

    Raises:
        TypeError: `shown` is not a bool.
        ImportError: tqdm is not installed; the message says how to install it.
    """

    def __init__(self, total: int, title: str, shown: bool) -> None:
        self._bar: Any = None
        if not check_bool("progress", shown):
            return
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError('progress=True needs tqdm: pip install "onecycle-lr[all]"') from error
        self._bar = tqdm(total=total, desc=title, unit="step", leave=False)

    def update(self) -> None:
        """One step further."""
        if self._bar is not None:
            self._bar.update()

    def follow(self, entries: Iterable[T]) -> Iterable[T]:
        """The same entries, each a step."""
        return entries if self._bar is None else self._followed(entries)

    def _followed(self, entries: Iterable[T]) -> Iterator[T]:
        for entry in entries:
            yield entry
            self.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
