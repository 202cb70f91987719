"""Progress bars in a notebook's output.

Owns what a bar shows, and how often. Knows nothing of pools: it counts what goes through it, or is
told by a future's task.
"""

import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from typing import Any, Final, Generic, TypeVar

from IPython.display import publish_display_data

from pyworkers import _html

T = TypeVar("T")

_PAUSE_SECONDS: Final = 0.1
"""Between two pictures: a page draws no more of them than eyes can see."""

extra: Callable[[], str] = str
"""Returns HTML that follows each bar that is not at its end."""


class Bar:
    """A progress bar, shown where it is made.

    Args:
        label: what is being done.
        total: how much there is to do; None where that is not known.
    """

    def __init__(self, label: str = "", total: float | None = None) -> None:
        self._label = label
        self._state: tuple[float, float | None, str] = (0, total, "")
        self._id = secrets.token_hex(8)
        self._shown_at = time.monotonic()
        self._show(update=False)

    def update(self, done: float, total: float | None = None, message: str = "") -> None:
        """Shows how far it is.

        It takes what ``Future.add_progress_callback`` gives.

        Args:
            done: how much is done.
            total: how much there is to do; None means as before.
            message: for people.
        """
        self._state = done, self._state[1] if total is None else total, message
        if done == total or time.monotonic() - self._shown_at >= _PAUSE_SECONDS:
            self._show()

    def close(self) -> None:
        """Shows the last state, whenever the one before it was shown."""
        self._show(is_over=True)

    def over(self, results: Iterable[T]) -> "Counted[T]":
        """Counts results as they are taken, by ``for`` or, of those that can be, ``async for``."""
        if self._state[1] is None and isinstance(results, Sized):
            self._state = 0, len(results), ""
        return Counted(self, results)

    def _show(self, update: bool = True, is_over: bool = False) -> None:
        self._shown_at = time.monotonic()
        done, total, message = self._state
        after = "" if is_over or done == total else extra()
        text = f"{self._label} {_html.bar_text(done, total)} {message}".strip()
        publish_display_data(
            {
                "text/plain": text,
                "text/html": _html.bar(self._label, done, total, message, after),
            },
            transient={"display_id": self._id},
            update=update,
        )


class Counted(Generic[T]):
    """Results that are counted by a bar."""

    def __init__(self, bar: Bar, results: Iterable[T]) -> None:
        self._bar = bar
        self._results = results

    def __iter__(self) -> Iterator[T]:
        done = 0
        try:
            for result in self._results:
                done += 1
                self._bar.update(done)
                yield result
        finally:
            self._bar.close()

    async def __aiter__(self) -> AsyncIterator[T]:
        if not isinstance(self._results, AsyncIterable):
            raise TypeError(f"{self._results!r} cannot be awaited: use `for`")
        results: AsyncIterable[Any] = self._results
        done = 0
        try:
            async for result in results:
                done += 1
                self._bar.update(done)
                yield result
        finally:
            self._bar.close()
