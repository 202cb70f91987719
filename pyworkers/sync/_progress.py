"""A bar that shows how far a loop is, over the results of a pool or a SharedProgress.

Owns who draws it: tqdm, where it is installed, else a line of text. Knows nothing of pools.
"""

import importlib
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from typing import Any, Final, Generic, Protocol, TextIO, TypeVar

from pyworkers import _js
from pyworkers.sync._shared import SharedProgress, percent

T = TypeVar("T")

_WIDTH: Final = 30
_DRAW_SECONDS: Final = 0.1


class Bar(Protocol):
    """What draws."""

    def update(self, n: int) -> Any:
        """So many more are done."""

    def close(self) -> None:
        """Nothing more comes."""


class TextBar:
    """A line of text: drawn anew in a terminal, elsewhere one line for each tenth of the total.

    Args:
        total: how many there are; None: not known.
        desc: stands before it.
        file: where it is written.
    """

    def __init__(self, total: int | None, desc: str | None, file: TextIO) -> None:
        self._total = total
        self._head = f"{desc}: " if desc else ""
        self._file = file
        self._done = 0
        self._began = time.monotonic()
        self._drawn: float | None = None

    def update(self, n: int) -> None:
        self._done += n
        part = percent(self._done, self._total)
        if self._file.isatty():
            step: float = time.monotonic() // _DRAW_SECONDS
        else:
            step = self._done.bit_length() if part is None else part // 10
        if step != self._drawn:
            self._drawn = step
            self._draw(part)

    def _draw(self, part: float | None) -> None:
        text = str(self._done)
        if part is not None:
            filled = "#" * int(part * _WIDTH / 100)
            text = f"{part:3.0f}% |{filled:{_WIDTH}}| {self._done} of {self._total}"
        text = f"{self._head}{text}, {time.monotonic() - self._began:.1f} s"
        self._file.write(f"\r{text}" if self._file.isatty() else f"{text}\n")
        self._file.flush()

    def close(self) -> None:
        if self._file.isatty():
            self._draw(percent(self._done, self._total))
            self._file.write("\n")


def _bar(total: int | None, desc: str | None) -> Bar:
    try:
        tqdm: Any = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return TextBar(total, desc, sys.stderr)
    if _js.IN_PYODIDE:
        tqdm.monitor_interval = 0  # it would start a thread
    bar: Bar = tqdm(total=total, desc=desc)
    return bar


class progress(Generic[T]):
    """Shows how far a loop is: ``for result in progress(pool.map(f, items)):``.

    Where this thread cannot block, ``async for``. tqdm draws it, where that is installed; else it
    is a line of text on ``sys.stderr``. Over a SharedProgress with a total it yields how much is
    done, after changes, until all is.

    Args:
        iterable: what is iterated over: results, or a SharedProgress.
        total: how many there are; None means its length, where it has one.
        desc: stands before the bar.

    Raises:
        ValueError: it is a SharedProgress without a total, which would never be done.
    """

    def __init__(
        self,
        iterable: Iterable[T] | AsyncIterable[T] | SharedProgress,
        total: int | None = None,
        desc: str | None = None,
    ) -> None:
        if isinstance(iterable, SharedProgress):
            total = iterable.total
            if total is None:
                raise ValueError("a SharedProgress without a total has no end: reset it with one")
        elif total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self._iterable: Any = iterable
        self._total = total
        self._desc = desc

    def __iter__(self) -> Iterator[T]:
        bar = _bar(self._total, self._desc)
        try:
            if isinstance(self._iterable, SharedProgress):
                for done, more in _changes(self._iterable):
                    bar.update(more)
                    yield done  # type: ignore[misc]
                return
            for item in self._iterable:
                bar.update(1)
                yield item
        finally:
            bar.close()

    async def __aiter__(self) -> AsyncIterator[T]:
        bar = _bar(self._total, self._desc)
        try:
            if isinstance(self._iterable, SharedProgress):
                async for done, more in _changes_async(self._iterable):
                    bar.update(more)
                    yield done  # type: ignore[misc]
                return
            async for item in self._iterable:
                bar.update(1)
                yield item
        finally:
            bar.close()


def _changes(shared: SharedProgress) -> Iterator[tuple[int, int]]:
    """Yields how much is done, and how much more that is than before."""
    before, (known, done, total) = 0, shared.state()
    while True:
        yield done, done - before
        if total is not None and done >= total:
            return
        before = done
        known, done, total = shared.wait_changed(known, None)


async def _changes_async(shared: SharedProgress) -> AsyncIterator[tuple[int, int]]:
    before, (known, done, total) = 0, await shared.state_async()
    while True:
        yield done, done - before
        if total is not None and done >= total:
            return
        before = done
        known, done, total = await shared.wait_changed_async(known)
