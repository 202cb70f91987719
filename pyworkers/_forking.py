"""A pool's set-up, run once in an interpreter whose memory is taken then: workers start from it.

Owns what Python has to do and to find out on the way, and what must differ between the workers
that are made of it. Knows nothing of how a memory is taken or restored: ``fork.mjs`` calls
``set_up`` and ``rest``, and ``boot.mjs`` calls ``resume`` in each worker.

The set-up runs as in any worker, by the same code and the same frames. But its hub is not there:
what would be said to it stays here, and is a reason not to take the memory.
"""

import asyncio
import gc
import logging
import pickle
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pyworkers import _codec, _preparation
from pyworkers._channels.memory import MemoryLink
from pyworkers._mirror import Mirror
from pyworkers._preparation import Prepared
from pyworkers._process import be_process, route_sleep
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES, SPILLED, Frame, Kind
from pyworkers._results import remote_error
from pyworkers._store import SendingStore
from pyworkers._worker import Worker

_path: Final[list[str]] = []
"""``sys.path`` when the memory was taken: the loader adds to it."""


class _Timer:
    """A callback of the event loop, and whether it is still to come."""

    def __init__(self, callback: Callable[..., object], delay: float) -> None:
        self.handle: asyncio.Handle | None = None
        self.is_over = False
        self.due = time.monotonic() + delay
        self._callback = callback

    def __call__(self, *args: Any) -> None:
        self.is_over = True
        self._callback(*args)

    @property
    def is_pending(self) -> bool:
        return not (self.is_over or self.handle is None or self.handle.cancelled())


class _Timers:
    """All callbacks that an event loop was given meanwhile."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._call_later = loop.call_later
        self._given: list[_Timer] = []
        loop.call_later = self._note

    def _note(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        timer = _Timer(callback, delay)
        handle: asyncio.Handle = self._call_later(delay, timer, *args, context=context)
        timer.handle = handle
        self._given.append(timer)
        return handle

    def close(self) -> tuple[int, int]:
        """Returns how many are to come, and how many of the thread's timers belong to this loop."""
        del self._loop.call_later
        now = time.monotonic()
        given, self._given = self._given, []
        # One that was cancelled stays with JavaScript until its time.
        waiting = [timer for timer in given if timer.due > now and not timer.is_over]
        return sum(timer.is_pending for timer in given), len(waiting)


_timers: _Timers | None = None


def _read(hub: MemoryLink, frame: Frame) -> Any:
    if frame.flags & SPILLED:
        return _codec.decode(*_codec.gather(frame.payload, partial(hub.take, frame.peer)))
    return _codec.decode(frame.payload)


async def set_up(peer: int, told: Any) -> str:
    """Prepares this interpreter as a worker of the pool.

    Args:
        peer: the number of this thread in its hub.
        told: JavaScript's bytes, what ``Fork`` has pickled: the mode, ENVIRONMENT and SETUP.

    Returns:
        Why nothing can be made of it; empty if nothing speaks against it yet.
    """
    global _timers  # noqa: PLW0603 - there is one event loop
    mode, *frames = pickle.loads(told.to_bytes())
    be_process(peer)
    if mode == "shared":
        route_sleep()
    hub = MemoryLink()
    heard = asyncio.Event()
    link = hub.connect(peer, heard.set)
    worker = Worker(link, peer, SendingStore(), is_apart=True)
    worker.mirror = Mirror(None, worker.ask)
    for kind, (data, buffers) in zip((Kind.ENVIRONMENT, Kind.SETUP), frames, strict=True):
        payload, flags = data, 0
        if buffers or len(data) > MAX_FRAME_BYTES - HEADER_BYTES:
            views = [memoryview(part) for part in buffers]
            payload, flags = _codec.spill(data, views, partial(hub.put, peer)), SPILLED
        hub.send(peer, kind, 0, payload, flags)
    _timers = _Timers(asyncio.get_running_loop())
    while True:
        worker.step()
        for frame in hub.receive(0.0):
            if frame.kind == Kind.SETUP_FAILED:
                error = remote_error(_read(hub, frame))
                raised = f"{type(error).__name__}: {error}"
                return f"the set-up, where it was run to be copied, raised {raised}"
            if frame.kind != Kind.READY:
                return f"the set-up spoke to its hub ({Kind(frame.kind).name})"
            if worker.messages.messenger.channels:
                return "the set-up has handlers of messages"
            _preparation.prepared = Prepared(worker.mirror)
            return ""
        await heard.wait()
        heard.clear()


def rest(timers: int) -> str:
    """Forgets what is not needed, before the memory is taken.

    Args:
        timers: how many of this thread have not fired.

    Returns:
        Why the memory cannot be taken; empty if nothing speaks against it yet.
    """
    global _timers  # noqa: PLW0603 - there is one event loop
    loop = asyncio.get_event_loop()
    if tasks := asyncio.all_tasks(loop):
        name = getattr(tasks.pop().get_coro(), "__qualname__", "a coroutine")
        return f"the set-up left {name} running in the event loop"
    assert _timers is not None
    pending, known = _timers.close()
    _timers = None
    if pending or timers > known:
        return "the set-up left a timer"
    be_process(0)
    for name in list(sys.modules):
        # It holds objects of JavaScript; its files are here, and it is imported again if needed.
        if name.partition(".")[0] == "micropip":
            del sys.modules[name]
    _path[:] = sys.path
    gc.collect()
    return ""


def resume() -> None:
    """Gives a worker what must be its own, in a memory that others start from as well."""
    sys.path[:] = _path
    random.seed()
    vars(logging)["_startTime"] = time.time_ns()
    uuid: Any = sys.modules.get("uuid")
    if uuid is not None:
        uuid._node = uuid._last_timestamp = None
