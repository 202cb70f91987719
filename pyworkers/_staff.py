"""What makes and ends the workers of a hub: threads of the shim, or this very thread.

Owns the difference between the modes as the hub sees it: the link, the store, and how a worker
begins and ends. Knows nothing of pools, nor of what the hub makes of frames.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pyworkers import _js
from pyworkers._arena import HUB, LocalArena, SharedArena
from pyworkers._channels import Link
from pyworkers._channels.heap import HeapLink
from pyworkers._channels.memory import MemoryLink
from pyworkers._env import Mode, capabilities, start_archive
from pyworkers._protocol import PROTOCOL_VERSION
from pyworkers._store import ArenaStore, SendingStore, Store
from pyworkers._worker import Worker
from pyworkers.errors import ModeError


class Staff(Protocol):
    """What makes and ends workers."""

    link: Link
    store: Store

    def spawn(self, peer: int, name: str, fork: int | None, setup: bytes | None) -> None:
        """Asks for a worker; its first frame says that it is there.

        Args:
            peer: its number.
            name: for people.
            fork: number of the thread from whose memory it shall start, if that is there.
            setup: makes it such a thread: what it sets up.
        """

    def terminate(self, peer: int, is_idle: bool) -> None:
        """Ends a worker, at once unless it ``is_idle``, and closes its channel."""

    def work(self) -> None:
        """Lets workers run that live in this thread."""

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        """Calls back once all is done that is going on."""

    def when_free(self, callback: Callable[[], object]) -> None:
        """Calls back once nothing of Python runs, or at once where calls disturb nothing."""

    def check_blocking(self) -> None:
        """Raises ModeError if workers could not start while this thread is blocked."""

    async def ready(self) -> None:
        """Waits until blocking is safe."""


class ThreadStaff:
    """Workers on threads of their own, made by the shim's broker."""

    def __init__(self, mode: Mode, on_bell: Callable[[], object]) -> None:
        found = capabilities()
        self._separate_broker = not found.node
        can_block = mode == "shared" and found.blocking_wait
        self._shim = _js.open_hub(mode, can_block, self._separate_broker, PROTOCOL_VERSION)
        self.link: Link = HeapLink(self._shim.link, can_block)
        self.store: Store = self._open_store()
        self._shim.link.listen(_js.proxy(on_bell))
        self._blocking_is_safe = _js.is_broker_ready(self._separate_broker)
        self._soon: deque[Callable[[], object]] = deque()
        self._call_next = _js.proxy(self._call_first)

    def _open_store(self) -> Store:
        shim = self._shim
        if getattr(shim, "arena", None) is None:
            return SendingStore()
        arena = SharedArena(shim.link, shim, shim.Cells.new, shim.primitive, HUB)
        return ArenaStore(arena, is_hub=True)

    def spawn(self, peer: int, name: str, fork: int | None, setup: bytes | None) -> None:
        data = None if setup is None else _js.to_uint8array(setup)
        self._shim.spawn(peer, name, _js.to_uint8array(start_archive()), fork, data)

    def terminate(self, peer: int, is_idle: bool) -> None:
        self.link.flush()
        self._shim.terminate(peer, is_idle)

    def work(self) -> None:
        pass

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self.when_free(callback)

    def when_free(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)
        self._shim.soon(self._call_next)

    def _call_first(self) -> None:
        self._soon.popleft()()

    def check_blocking(self) -> None:
        if self._blocking_is_safe:
            return
        if not _js.can_block_by_jspi():
            raise ModeError(
                "the broker that makes workers is still starting, and cannot while this thread is "
                "blocked: put `await pool.ready()` before the first blocking call"
            )
        _js.block_on(self.ready())

    async def ready(self) -> None:
        await _js.broker_ready(self._separate_broker)
        self._blocking_is_safe = True


class InlineStaff:
    """Workers that run in this thread, whenever it looks for results."""

    def __init__(self, on_bell: Callable[[], object], hear: Callable[[], bool]) -> None:
        self._on_bell = on_bell
        self._hear = hear
        self._hub_end = MemoryLink(self._flushed)
        self.link: Link = self._hub_end
        self.store: Store = ArenaStore(LocalArena(), is_hub=True)
        self._workers: dict[int, Worker] = {}

    def _flushed(self) -> None:
        for worker in self._workers.values():
            worker.messages.hub_spoke()

    def spawn(self, peer: int, name: str, fork: int | None, setup: bytes | None) -> None:
        link = self._hub_end.connect(peer, self._on_bell)
        self._workers[peer] = Worker(link, peer, self.store, is_apart=False, hear=self._hear)

    def terminate(self, peer: int, is_idle: bool) -> None:
        self._workers.pop(peer).close()
        self.link.close(peer)

    def work(self) -> None:
        for worker in list(self._workers.values()):
            worker.step()

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(callback)

    def when_free(self, callback: Callable[[], object]) -> None:
        callback()

    def check_blocking(self) -> None:
        pass

    async def ready(self) -> None:
        pass
