"""The hub: one link to all workers of all pools of this interpreter, and the pumping of it.

Owns the link, the numbers of workers, and waiting. Each pool registers a handler for each of its
workers. Knows nothing of tasks.

::

    pool.submit ─> Link.send/flush ─> shim ─> worker
    pool.handle <─ Hub.pump <─ Link.receive <─ shim <─ worker

``pump`` is called by whoever waits: by ``wait`` when Python blocks, by the shim's listener when
the event loop runs. Frames are queued first, then handled one by one, then futures are settled:
a callback may block, and so pump again, and the inner pump goes on with the same queues.
"""

import asyncio
import heapq
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Final, Protocol

from pyworkers import _js
from pyworkers._env import Mode, capabilities
from pyworkers._environment import Environment
from pyworkers._protocol import Frame, Kind
from pyworkers._staff import InlineStaff, Staff, ThreadStaff
from pyworkers._store import stores
from pyworkers.errors import ModeError

_SLICE_SECONDS: Final = 0.2
"""Blocking waits return to Python so often, so that an interrupt is seen."""

_BRIEF_SECONDS: Final = 0.0001
"""A turn of Pyodide's event loop and the way of a message take longer."""

_TURN_SECONDS: Final = 0.002
"""Coroutines that only wait briefly let the event loop turn after so long."""

_numbers: Final = itertools.count(1)
"""Of workers. One broker makes those of all modes, and knows each by its number."""

_logger: Final = logging.getLogger("pyworkers")


class Handler(Protocol):
    """What a pool offers to its hub."""

    def handle(self, frame: Frame) -> None:
        """Acts on a frame of one of the pool's workers."""

    def dispatch(self) -> None:
        """Answers the frames that were handled."""

    def tick(self, now: float) -> float | None:
        """Does what is due; returns when to be called again at the latest, None if never.

        Args:
            now: seconds of ``time.monotonic``.
        """


class Hub:
    """The workers of this interpreter in one mode; ``hub_for`` returns the one there is."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._staff: Staff = (
            InlineStaff(self._bell_rang, self._hear)
            if mode == "inline"
            else ThreadStaff(mode, self._bell_rang)
        )
        self.link = self._staff.link
        self.store = stores[mode] = self._staff.store
        self.environment = None if mode == "inline" else Environment(ahead=mode == "transfer")
        self._handlers: dict[int, Handler] = {}
        self._frames: deque[Frame] = deque()
        self._answering: dict[Handler, None] = {}
        self._waiting: dict[Handler, None] = {}
        self._settles: deque[Callable[[], object]] = deque()
        self.after = self._settles.append
        """Has a function called once the frames that arrived are handled and answered."""
        self._tells: deque[Callable[[], object]] = deque()
        self.at_last = self._tells.append
        """Has a function called once there is nothing of ``after`` left to call."""
        self._pumping = False
        self.busy = 0
        """In how many calls engines are that must not be called meanwhile, and settle after it."""
        self._due = math.inf
        self._turn_due: float | None = None
        self._rung: asyncio.Future[None] | None = None
        self._timers: list[float] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def spawn(
        self, handler: Handler, name: str, fork: int | None = None, setup: bytes | None = None
    ) -> int:
        """Asks for a worker.

        Args:
            handler: gets its frames.
            name: of its pool, for people.
            fork: number of the thread from whose memory it shall start, if that is there.
            setup: makes it such a thread: what it sets up.

        Returns:
            Its number.
        """
        peer = next(_numbers)
        self._handlers[peer] = handler
        role = "worker" if setup is None else "fork"
        self._staff.spawn(peer, f"{name} {role} {peer}", fork, setup)
        return peer

    def terminate(self, peer: int, is_idle: bool) -> None:
        """Ends a worker, at once unless it ``is_idle``; nothing more is heard of it."""
        del self._handlers[peer]
        self._staff.terminate(peer, is_idle)

    def peers(self) -> set[int]:
        """Returns the numbers of the workers that there are."""
        return set(self._handlers)

    def pump(self, milliseconds: float) -> bool:
        """Handles what has arrived, and what is due.

        Args:
            milliseconds: how long to wait while there is nothing; 0 only looks.

        Returns:
            Whether anything was there.
        """
        outer, self._pumping = self._pumping, True
        try:
            # A callback that blocks may be what keeps others from being settled.
            is_left = bool(self._settles or self._tells)
            found = self._gather(0.0 if is_left else milliseconds)
            if found or is_left:
                self._handle_all()
        finally:
            self._pumping = outer
        return found

    def _handle_all(self) -> None:
        frames, handlers, answering = self._frames, self._handlers, self._answering
        while frames:
            frame = frames.popleft()
            handler = handlers.get(frame.peer)
            if handler is not None:
                handler.handle(frame)
                answering[handler] = None
        for peer, id in self.store.forgotten():
            self.link.send(peer, Kind.FORGET, id, b"")
        # The next tasks go out before callbacks run, which may take their time.
        while answering:
            answering.popitem()[0].dispatch()
        self.link.flush()
        while queue := self._settles or self._tells:
            queue.popleft()()
        self.link.flush()

    def settle(self) -> None:
        """Makes the calls of ``after`` and ``at_last``, unless whoever pumps is going to."""
        while (queue := self._settles or self._tells) and not self._pumping:
            queue.popleft()()

    def when_safe(self, call: Callable[[], object]) -> None:
        """Has a function called soon, and not in the middle of anything.

        For what the garbage collector asks for, which may do so between any two steps.
        """
        self._settles.append(call)
        if not self.busy:
            self._staff.when_free(self.settle)

    def _gather(self, milliseconds: float) -> bool:
        if not self._frames:
            self._staff.work()
            self._frames.extend(self.link.receive(milliseconds))
        return bool(self._frames)

    def _hear(self) -> bool:
        """Handles what workers in this thread have said, one of which waits for the answer."""
        outer, self._pumping = self._pumping, True
        try:
            self._frames.extend(self.link.receive(0.0))
            found = bool(self._frames or self._settles or self._tells)
            self._handle_all()
        finally:
            self._pumping = outer
        return found

    def work_inline(self) -> None:
        """Runs, in mode inline, what was just submitted; whoever pumps already will do so."""
        if self.mode == "inline" and not self._pumping:
            self._drain()

    def _drain(self) -> None:
        while self.pump(0.0):
            pass

    def tick(self) -> None:
        """Does what is due, and has the event loop come back for what is due later."""
        now = time.monotonic()
        waiting, self._waiting = self._waiting, {}
        handlers = dict.fromkeys(self._handlers.values()) | waiting
        due = [when for handler in handlers if (when := handler.tick(now)) is not None]
        self.link.flush()
        self._due = math.inf
        self.remind(min(due, default=math.inf))
        self.work_inline()

    def remind(self, when: float, handler: Handler | None = None) -> None:
        """Has ``tick`` called at a time, at the latest.

        Args:
            when: seconds of ``time.monotonic``.
            handler: one to be ticked then, though it may have no workers; what it has to do needs
                nobody else, so that even a thread which is its own worker can wait for it.
        """
        if handler is not None:
            self._waiting[handler] = None
        loop, timers = self._loop, self._timers
        if when >= self._due and timers and timers[0] <= when and loop and loop.is_running():
            return  # as for most tasks with a timeout: nothing has to come earlier
        self._due = when = min(when, self._due)
        if when == math.inf:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop:  # the other one is over, and calls nothing back any more
            self._loop = loop
            self._timers.clear()
        # None is ever cancelled: Pyodide's loop keeps those, too, until their time.
        if self._timers and self._timers[0] <= when:
            return
        heapq.heappush(self._timers, when)
        loop.call_later(max(0.0, when - time.monotonic()), self._time_came)

    def _time_came(self) -> None:
        if self._timers:
            heapq.heappop(self._timers)
        self.tick()
        self.work_inline()
        # What ended a task just now was no frame, so no bell has told those who wait for its end.
        self.look_again()

    def _bell_rang(self) -> None:
        self._turn_due = None
        if not self._pumping:
            try:
                self._drain()
            except Exception:  # which would end the listening, and with it every wait
                _logger.exception("exception while handling what workers sent")
        self.look_again()

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Blocks until something is done.

        Args:
            is_done: looked at whenever something has arrived.
            timeout: seconds; None means for ever.

        Returns:
            False when the time is over.

        Raises:
            ModeError: this thread cannot wait here and now.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        self._staff.check_blocking()
        while True:
            now = time.monotonic()
            if now >= self._due:
                self.tick()
            left = min(end - now, _SLICE_SECONDS, self._due - now)
            found = self.pump(max(0.0, left * 1000) if self.link.can_block else 0.0)
            if is_done():
                return True
            if now >= end:
                return False
            if not found and not self.link.can_block:
                self._switch(max(0.0, left))

    def wait_briefly(self, is_done: Callable[[], bool]) -> bool:
        """Blocks where the thread may, for less than a turn of the event loop takes.

        Other coroutines and events have to wait meanwhile. So this refuses once such waits have
        kept the event loop from turning for a while, until the bell tells that it has turned: it
        rings, in a turn of its own, for every frame that was taken in here.

        Args:
            is_done: looked at whenever something has arrived.

        Returns:
            Whether it is done.
        """
        if not self.link.can_block:
            return False
        now = time.monotonic()
        if self._turn_due is None:
            self._turn_due = now + _TURN_SECONDS
        elif now >= self._turn_due:
            return False
        end = now + _BRIEF_SECONDS
        while now < end and self.pump((end - now) * 1000):
            if is_done():
                return True
            now = time.monotonic()
        return False

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        """Calls back once all is done that is going on, as ``call_soon`` of the loop does."""
        self._staff.soon(callback, loop)

    def _switch(self, seconds: float) -> None:
        """Waits by stack switching, where the thread cannot block."""
        if self.mode == "inline" and self._waiting:
            self.tick()  # some may have nothing to wait for any more
        if self.mode == "inline" and self._waiting:
            time.sleep(seconds)  # until something delayed is due: nobody else could end the wait
            return
        if self.mode == "inline" or not _js.can_block_by_jspi():
            raise ModeError(self._why_not_blocking())
        _js.block_on(asyncio.wait({self._next_bell()}, timeout=seconds))

    async def wait_async(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Like ``wait``, without blocking."""
        end = None if timeout is None else time.monotonic() + timeout
        while not is_done():
            self.tick()
            if is_done():
                return True
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            await asyncio.wait({self._next_bell()}, timeout=left)
        return True

    def look_again(self) -> None:
        """Has who awaits something look whether it is there, though no bell rang."""
        if self._rung is not None:
            self._rung.set_result(None)
            self._rung = None

    def _next_bell(self) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        if self._rung is None or self._rung.get_loop() is not loop:  # which is over, then
            self._rung = loop.create_future()
        return self._rung

    def _why_not_blocking(self) -> str:
        advice = "use `await future`, `async for` or `async with`"
        if self.mode == "inline":
            return f"this task waits for something that this thread itself has to do: {advice}"
        if self.mode == "transfer":
            return (
                "this thread cannot block for a result, because it hears of it by messages "
                f"({capabilities().reason}): {advice}"
            )
        return f"a page's own thread must not block: {advice}, or run Python in a worker"

    async def ready(self) -> None:
        """Waits until blocking is safe."""
        await self._staff.ready()


@cache
def hub_for(mode: Mode) -> Hub:
    """Returns this interpreter's hub for a mode, made at the first call."""
    return Hub(mode)
