"""An engine whose workers are played by the test, frame by frame.

Owns the stage: the real engine, scheduler and hub, over links in memory. What a worker says, and
when, is the test's, so that moments can be put into an order that real workers hit by chance.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from pyworkers import _codec
from pyworkers._backoff import Restarts
from pyworkers._channels.memory import MemoryLink
from pyworkers._engine import Engine
from pyworkers._futures import Future
from pyworkers._heartbeat import Heartbeats
from pyworkers._hub import Hub
from pyworkers._lanes import Need
from pyworkers._policies import DEFAULT_PRIORITY, places
from pyworkers._protocol import Kind
from pyworkers._scheduler import Scheduler
from pyworkers._store import stores


class _Link(MemoryLink):
    """The hub's end; it knows how many tasks each worker has started in its life."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[int, int] = {}

    def recall(self, peer: int) -> int | None:
        return self.started.get(peer, 0)


class _Staff:
    """Starts workers that are nothing but the other ends of channels."""

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.spawned: list[int] = []
        self.ended: list[int] = []
        self.ends: dict[int, MemoryLink] = {}

    def spawn(self, peer: int, name: str, fork: int | None, setup: bytes | None) -> None:
        self.spawned.append(peer)
        self.ends[peer] = self.link.connect(peer, lambda: None)

    def terminate(self, peer: int, is_idle: bool) -> None:
        self.ended.append(peer)
        self.link.close(peer)

    def work(self) -> None:
        pass

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(callback)

    def when_free(self, callback: Callable[[], object]) -> None:
        callback()

    def check_blocking(self) -> None:
        pass


def nothing() -> None:
    """What tasks would run."""


class Played:
    """A pool of workers that do what the test says: 1 is the first that was started, and so on.

    Args:
        workers: how many there may be.
        standby: how many are held in reserve.
        capabilities: see ``WorkerPool``.
        replaces: whether workers that are lost are replaced.
    """

    def __init__(
        self,
        workers: int,
        standby: int = 0,
        capabilities: dict[str, int] | None = None,
        replaces: bool = True,
    ) -> None:
        of_others = stores.copy()
        self.hub = Hub("inline")
        stores.clear()
        stores.update(of_others)
        self.link = _Link()
        self.staff = _Staff(self.link)
        self.hub._staff = self.staff  # type: ignore[assignment] # all that is asked of one here
        self.hub.link = self.link
        self.hub.mode = "shared"
        scheduler = Scheduler(
            workers,
            can_take_back=True,
            restarts=Restarts(replaces),
            places=places(capabilities, workers) if capabilities else (),
        )
        self.engine = Engine(
            self.hub,
            name="played",
            scheduler=scheduler,
            setup=_codec.encode({}),
            on_output=lambda *_: None,
            grace=1.0,
            breaks_on_loss=False,
            standby=standby,
            wears_out=False,
            heartbeats=Heartbeats(None),
            forks=False,
        )

    def submit(
        self,
        function: Callable[..., Any] = nothing,
        timeout: float | None = None,
        requires: str = "",
        delay: float = 0.0,
    ) -> Future[Any]:
        need = Need(frozenset({requires}), None) if requires else None
        return self.engine.submit(
            function, (), {}, DEFAULT_PRIORITY, timeout, need=need, delay=delay
        )

    def say(self, worker: int, kind: Kind, id: int = 0, payload: bytes = b"") -> None:
        """A worker has sent a frame; nobody has looked at it yet."""
        peer = self.staff.spawned[worker - 1]
        self.staff.ends[peer].send(peer, kind, id, payload)

    def ready(self, *workers: int) -> None:
        """Workers are ready, and the hub has heard of it."""
        for worker in workers:
            self.say(worker, Kind.READY)
        self.hub.pump(0.0)

    def return_value(self, worker: int, value: object = None) -> None:
        """A worker has done the first task that it holds; nobody has heard of it yet."""
        task = self.engine.scheduler.workers[self.staff.spawned[worker - 1]].held[0]
        self.say(worker, Kind.RESULT, task, _codec.encode(value)[0])

    def start(self, *futures: Future[Any]) -> None:
        """Those who hold these tasks have started them."""
        for future in futures:
            peer = self.engine.scheduler.holder(future.task)
            assert peer is not None
            self.link.started[peer] = self.link.started.get(peer, 0) + 1

    def lose(self, future: Future[Any]) -> None:
        """The worker of a task has died, and the hub has heard of it."""
        peer = self.engine.scheduler.holder(future.task)
        assert peer is not None
        self.say(self.number(peer), Kind.LOST, payload=b"it died")
        self.hub.pump(0.0)

    def number(self, peer: int | None) -> int:
        """The number of a worker on this stage."""
        assert peer is not None
        return self.staff.spawned.index(peer) + 1

    @property
    def started(self) -> int:
        """How many workers were started."""
        return len(self.staff.spawned)

    @property
    def living(self) -> list[int]:
        return list(map(self.number, self.engine.scheduler.workers))
