"""What a primitive is made of: operations on its words, and waits for them.

Owns how an interpreter waits for a primitive that lies in shared memory: a worker blocks in the
shim, a hub goes on taking in what its workers say, and either can await. Knows nothing of what the
operations mean. Where there is no shared memory, ``_local`` and ``_hosted`` take this one's place.
"""

import asyncio
import copy
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

from pyworkers._arena import SharedArena
from pyworkers._cancel import undisturbed
from pyworkers._hub import Hub

NOT_YET: Final = 0
DONE: Final = 1
INHERITED: Final = 2
"""Done, and who had it before has ended without giving it back."""

_SLICE_SECONDS: Final = 0.05
"""Waits return to Python so often, so that signals are seen, and owners that have ended."""

_A_MOMENT: Final = 0.001
"""Milliseconds. Whoever has tried for any time at all looks whether the owner has ended."""


class Core(Protocol):
    """One primitive, as one interpreter reaches it."""

    @property
    def attempt(self) -> Callable[[float], int]:
        """Tries once to take what is wanted, which has been tried for so many milliseconds.

        Returns NOT_YET, DONE or INHERITED; always NOT_YET where that cannot be known at once.
        """

    def teller(self, operation: str) -> Callable[..., bool]:
        """Returns an operation that says only whether it was possible.

        Without shared memory a worker does not wait to hear that: it is told True, and the hub logs
        what was not.
        """

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Returns what an operation does.

        Raises:
            ModeError: without shared memory, this thread cannot wait for the answer.
        """

    async def ask_async(self, operation: str, *arguments: Any) -> Any:
        """The same, wherever it is awaited."""

    def part(self, *which: int) -> "Core":
        """Returns what somebody waits for there, if it is not one thing for all.

        Args:
            which: says the primitive's own kind; the first is not 0.
        """

    def bind(self, other: "Core") -> None:
        """Tells the primitive which other one it belongs to, in the same mode."""

    def wait(self, timeout: float | None) -> int:
        """Takes what an attempt did not get; blocks until it can be had.

        Args:
            timeout: seconds; None means for ever, 0 or less that it is tried once more, this time
                with a look whether the owner has ended.

        Returns:
            NOT_YET when the time is over, else DONE or INHERITED.

        Raises:
            ModeError: this thread cannot wait here and now.
        """

    async def wait_async(self, timeout: float | None) -> int:
        """Like ``wait``, without blocking."""

    def has_just_taken(self) -> bool:
        """Says whether the last attempt here succeeded, though it may not have got to its caller.

        A signal can end a wait after its success.
        """


def _none(*_: float) -> int:
    return NOT_YET


class SharedCore:
    """A primitive in shared memory.

    Args:
        arena: of this interpreter.
        kind: its name in ``js_shim/sync.mjs``.
        offset: of ``arena.allocate``.
        hub: that pumps while it waits; None in a worker, which blocks.
    """

    def __init__(self, arena: SharedArena, kind: str, offset: int, hub: Hub | None) -> None:
        self._watch = arena.shim.watch
        self._hub = hub
        self._use(arena.primitive(kind, offset))

    def _use(self, shim: Any) -> None:
        self._shim = shim
        # What only its parts are waited for has neither.
        self.attempt: Callable[[float], int] = getattr(shim, "attempt", _none)
        self._acquire: Callable[[float, float], int] = getattr(shim, "acquire", _none)

    def part(self, *which: int) -> Core:
        part = copy.copy(self)
        part._use(self._shim.part(*which))
        return part

    def bind(self, other: Core) -> None:
        self._shim.bind(cast(SharedCore, other)._shim)

    def teller(self, operation: str) -> Callable[..., bool]:
        told: Callable[..., bool] = getattr(self._shim, operation)
        return told

    def ask(self, operation: str, *arguments: Any) -> Any:
        answer: Any = getattr(self._shim, operation)(*arguments)
        return answer.to_py() if hasattr(answer, "to_py") else answer

    async def ask_async(self, operation: str, *arguments: Any) -> Any:
        return self.ask(operation, *arguments)

    def wait(self, timeout: float | None) -> int:
        if timeout is not None and timeout <= 0:
            return self.attempt(_A_MOMENT)
        return self._block(timeout) if self._hub is None else self._pump(self._hub, timeout)

    def _block(self, timeout: float | None) -> int:
        began = now = time.monotonic()
        end = math.inf if timeout is None else began + timeout
        while now < end:
            slice_ms = min(end - now, _SLICE_SECONDS) * 1000
            got: int = self._acquire(slice_ms, (now - began) * 1000)
            if got:
                return got
            now = time.monotonic()
        return NOT_YET

    def _pump(self, hub: Hub, timeout: float | None) -> int:
        began = time.monotonic()
        got = NOT_YET

        def is_done() -> bool:
            nonlocal got
            got = self.attempt((time.monotonic() - began) * 1000)
            return bool(got)

        with self._waiting():
            self._watch(1)
            try:
                hub.wait(is_done, timeout)
            finally:
                self._watch(-1)
        return got

    async def wait_async(self, timeout: float | None) -> int:
        if timeout is not None and timeout <= 0:
            return self.attempt(_A_MOMENT)
        began = time.monotonic()
        end = math.inf if timeout is None else began + timeout
        with self._waiting():
            while True:
                now = time.monotonic()
                got: int = self.attempt((now - began) * 1000)
                if got or now >= end:
                    return got
                await self._changed(min(end - now, _SLICE_SECONDS))

    async def _changed(self, seconds: float) -> None:
        changed: Awaitable[None] = self._shim.changed(seconds * 1000)
        try:
            await asyncio.ensure_future(changed)
        except BaseException:
            # What was taken here meanwhile, another coroutine has taken.
            self._shim.taken = False
            raise

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._shim.enter()
        try:
            yield
        finally:
            self._shim.leave()

    @undisturbed
    def has_just_taken(self) -> bool:
        return bool(self._shim.taken)
