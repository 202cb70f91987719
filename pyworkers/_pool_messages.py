"""Messages of a pool: how they reach its workers, and what users call there.

Knows nothing of tasks: the engine says which workers there are, and which are gone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from pyworkers._codec import Encoded
from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers._messages import Channel, Messenger
from pyworkers._peers import Peers
from pyworkers._pickled import Pickled
from pyworkers._protocol import Frame, Kind
from pyworkers._requests import DEFAULT_TIMEOUT
from pyworkers._store import check_mode
from pyworkers._worker import apart
from pyworkers.errors import WorkerLost

_HANDLED: Final = frozenset({Kind.POST, Kind.REQUEST})
"""What users' code in the worker is called for."""


class PoolChannel(Channel):
    """A hub's end of a named channel to the workers of a pool; ``pool.channel`` returns it."""

    def __init__(self, name: str, messages: "PoolMessages") -> None:
        super().__init__(name, messages.messenger)
        self._messages = messages

    def workers(self) -> list[int]:
        """Returns the numbers of the workers that there are now.

        Raises:
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        return self._messages.workers()

    def post(self, kind: str, payload: Any = None, *, worker: int | None = None) -> None:
        """Sends a message, and does not wait.

        Should its handler fail, or the worker have none, this interpreter logs it.

        Args:
            kind: of the message.
            payload: what a task can be given.
            worker: number of the worker; None means all there are now. What is sent to one that
                is not there goes nowhere.

        Raises:
            PayloadError: it cannot be pickled.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        workers = self._messages.workers()
        if worker is not None:
            workers = [worker] if worker in workers else []
        self._messenger.post(self, workers, kind, payload)

    def request(
        self,
        kind: str,
        payload: Any = None,
        *,
        worker: int,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = 0,
    ) -> Future[Any]:
        """Asks a worker: what the handler there returns, or raises, is the future's.

        A worker that runs a plain function answers afterwards. Cancelling the future cancels a
        handler that is a coroutine.

        Args:
            kind: of the message.
            payload: what a task can be given.
            worker: its number, as in ``pool.workers()``. If it ends, or is not there, the future
                fails with WorkerLost.
            timeout: seconds until the future fails with TimeoutError; None means never.
            retries: how many more times it is sent if the time is over; only for what may be
                handled more than once.

        Raises:
            ValueError: the timeout or retries are out of their range.
            QueueFull: ``max_pending`` requests of this side wait on this channel.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        if worker not in self._messages.workers():
            return self._messenger.refused(self, WorkerLost(worker, None, "it is not in the pool"))
        return self._messenger.request(self, worker, kind, payload, timeout, retries)

    def broadcast(
        self,
        kind: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = 0,
    ) -> list[Future[Any]]:
        """Asks all workers that there are now, each as ``request`` does.

        Raises:
            QueueFull: ``max_pending`` does not allow so many; nobody was asked.
        """
        workers = self._messages.workers()
        self._messenger.check_room(self, len(workers))
        return [
            self._messenger.request(self, worker, kind, payload, timeout, retries)
            for worker in workers
        ]


class PoolMessages(Pickled):
    """A pool's side of the conversations with its workers.

    Args:
        hub: settles futures, and has the event loop come back.
        peers: the workers as partners.
        workers: those that run tasks, by number.
        check_open: raises if the pool takes no more work.
        told: called with the number of a worker that is sent a message.
    """

    name = "the hub"

    def __init__(
        self,
        hub: Hub,
        peers: Peers,
        workers: Mapping[int, object],
        check_open: Callable[[], None],
        told: Callable[[int], None],
    ) -> None:
        self.waiter = hub
        self.after = hub.after
        self.remind = hub.remind
        self.apart = partial(apart, None)
        self.messenger = Messenger(self)
        self._hub = hub
        self._peers = peers
        self._workers = workers
        self._check_open = check_open
        self._told = told
        self._running: set[asyncio.Task[Any]] = set()

    def channel(self, name: str) -> PoolChannel:
        """Returns the channel of a name, made at the first call."""
        channel = self.messenger.channels.get(name)
        if channel is None:
            channel = self.messenger.channels[name] = PoolChannel(name, self)
        assert isinstance(channel, PoolChannel)
        return channel

    def workers(self) -> list[int]:
        """Returns the numbers of the workers; raises if the pool takes no more work."""
        self._check_open()
        return list(self._workers)

    def handle(self, kind: Kind, frame: Frame) -> None:
        """Acts on a message of a worker."""
        read = partial(self._peers.decode, frame)
        held = self._hub.store.let_go_message(frame.peer)
        self.messenger.handle(kind, frame.peer, frame.id, frame.number, read)
        del held  # by now it was read

    def lost(self, worker: int, reason: str) -> None:
        """A worker is gone."""
        self.messenger.lost(worker, WorkerLost(worker, None, reason))

    # What a Side does.

    def encode(self, value: Any, lasts: bool = False) -> Encoded:
        encoded = super().encode(value, lasts)
        if encoded[2]:
            check_mode(self._hub.mode, encoded[2])
        return encoded

    def send(self, peer: int, kind: Kind, id: int, value: Encoded, number: float) -> None:
        if kind in _HANDLED:
            self._told(peer)
        self._peers.send_message(peer, kind, id, value, number)

    def flush(self) -> None:
        self._hub.link.flush()
        self._hub.work_inline()
        self._hub.settle()

    def beside(
        self, work: Coroutine[Any, Any, Any], then: Callable[[Callable[[], Any]], None]
    ) -> "asyncio.Task[Any] | None":
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            then(partial(asyncio.run, work))
            return None
        running = loop.create_task(work)
        self._running.add(running)

        def done(_: object) -> None:
            self._running.discard(running)
            then(running.result)
            self.flush()

        running.add_done_callback(done)
        return running

    def undisturbed(self) -> AbstractContextManager[None]:
        return nullcontext()

    def called(self, peer: int) -> str:
        return f"worker {peer}"

    def number_of(self, peer: int) -> int | None:
        return peer
