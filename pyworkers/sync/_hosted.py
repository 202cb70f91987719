"""Primitives of a hub without shared memory, as its workers reach them: by messages.

Owns both ends of that conversation: the hub acts on its own primitives in a worker's name, and a
worker asks. Knows nothing of what the operations mean.

What has an answer needs ``await`` in a worker, or a place where a plain function may wait for its
hub. What has none is posted, and goes through in order. An answer that comes when nobody waits for
it any more, as its task was cancelled meanwhile, is given back: the worker tells which it was.
"""

import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from pyworkers._answers import SERVICES, Message
from pyworkers._env import Mode
from pyworkers._futures import Future
from pyworkers._hub import hub_for
from pyworkers._messages import DirectChannel
from pyworkers._store import stores
from pyworkers._worker import current_worker
from pyworkers.sync._core import DONE, NOT_YET, Core
from pyworkers.sync._local import LocalCore, LocalPrimitive

_CHANNEL: Final = "pyworkers.sync"
_REMEMBERED: Final = 1_000
"""So many answers may be on their way to a worker which does not wait for them any more."""

known: Final[WeakValueDictionary[int, LocalPrimitive]] = WeakValueDictionary()
"""The primitives of this interpreter, by number."""
_numbers: Final = itertools.count(2, 2)  # odd ones name what a page has made
_granted: Final[dict[int, deque[int]]] = {}
"""By worker, the tickets of its last waits that got what they wanted."""


def host(primitive: LocalPrimitive, mode: Mode) -> int:
    """Makes a primitive known to tasks, as long as it lives; returns its number."""
    if mode == "transfer":
        _listen()
    number = next(_numbers)
    known[number] = primitive
    return number


def found(number: int) -> LocalPrimitive:
    """Returns a primitive by its number.

    Raises:
        LookupError: there is none any more.
    """
    try:
        return known[number]
    except KeyError:
        raise LookupError(
            "the primitive is gone: where the pool is, keep it for as long as workers use it"
        ) from None


def _listen() -> None:
    if (_CHANNEL, "wait") in SERVICES:
        return
    for serve in (_wait, _abandon, _tell, _ask, _bind):
        SERVICES[_CHANNEL, serve.__name__[1:]] = serve
    hub_for("transfer")
    store: Any = stores["transfer"]
    store.on_peer_lost.append(_lost)


def _lost(peer: int) -> None:
    _granted.pop(peer, None)
    for primitive in list(known.values()):
        primitive.owner_lost(peer)


def _worker_of(message: Message) -> int:
    assert message.worker is not None
    return message.worker


def _part(number: int, worker: int, which: tuple[int, ...]) -> LocalPrimitive:
    return found(number).part(worker, *which) if which else found(number)


async def _wait(message: Message) -> int:
    number, which, ticket, timeout = message.payload
    worker = _worker_of(message)
    primitive = _part(number, worker, which)
    outcome = await LocalCore(primitive, worker, hub_for("transfer")).wait_async(timeout)
    if outcome != NOT_YET:
        _granted.setdefault(worker, deque(maxlen=_REMEMBERED)).append(ticket)
    return outcome


def _abandon(message: Message) -> None:
    number, which, ticket = message.payload
    worker = _worker_of(message)
    granted = _granted.get(worker, ())
    if ticket in granted:
        _granted[worker].remove(ticket)
        _part(number, worker, which).give_back(worker)


def _tell(message: Message) -> None:
    if _ask(message) is False:
        _, _, operation, _ = message.payload
        raise ValueError(f"{operation} was refused")


def _ask(message: Message) -> Any:
    number, which, operation, arguments = message.payload
    worker = _worker_of(message)
    return getattr(_part(number, worker, which), operation)(worker, *arguments)


def _bind(message: Message) -> None:
    number, other = message.payload
    found(number).bind(found(other))


def to_hub(name: str) -> DirectChannel:
    """Returns a worker's channel to its hub on which any number of answers may be waited for."""
    worker = current_worker()
    assert worker is not None
    channel = worker.messages.channel(name)
    channel.max_pending = 1_000_000
    return channel


class HostedCore:
    """A primitive of the hub, as seen by a worker of mode transfer.

    Args:
        kind: of the primitive.
        number: of it there.
        which: part of it is waited for.
    """

    _tickets: Final = itertools.count(1)
    _depths: Final[dict[int, int]] = {}
    """How often this worker has taken what is recursive, by number."""

    def __init__(self, kind: str, number: int, *which: int) -> None:
        self._kind = kind
        self._number = number
        self._which = which

    @property
    def _channel(self) -> DirectChannel:
        return to_hub(_CHANNEL)

    def attempt(self, _: float) -> int:
        if self._number not in self._depths:
            return NOT_YET
        self._depths[self._number] += 1
        return DONE

    def teller(self, operation: str) -> Callable[..., bool]:
        if operation == "releaseOnce":
            return self._release_once
        return partial(self._tell, operation)

    def held(self) -> int:
        """How often this worker has taken it; if not recursive, 1: the hub knows."""
        return self._depths.get(self._number, 0) if self._kind == "RLock" else 1

    def forget(self) -> None:
        """The hub has released it."""
        self._depths.pop(self._number, None)

    def remember(self, depth: int) -> None:
        """This worker has it again, as often as before."""
        if self._kind == "RLock":
            self._depths[self._number] = depth

    def check_waiting(self) -> None:
        """Finds out whether this thread can wait here and now.

        Raises:
            ModeError: it cannot.
        """
        self.ask("statistics")

    def _release_once(self) -> bool:
        depth = self._depths.pop(self._number, 0)
        if depth > 1:
            self._depths[self._number] = depth - 1
            return True
        return depth == 1 and self._tell("release")

    def _tell(self, operation: str, *arguments: Any) -> bool:
        self._channel.post("tell", (self._number, self._which, operation, arguments))
        return True

    def ask(self, operation: str, *arguments: Any) -> Any:
        if operation == "initialize":  # of what this worker has created
            return self._tell(operation, *arguments)
        return self.asked(operation, *arguments).result()

    async def ask_async(self, operation: str, *arguments: Any) -> Any:
        return await self.asked(operation, *arguments)

    def asked(self, operation: str, *arguments: Any) -> Future[Any]:
        """Asks the hub; the answer is the future's."""
        return self._channel.request(
            "ask", (self._number, self._which, operation, arguments), timeout=None
        )

    def part(self, *which: int) -> Core:
        return HostedCore(self._kind, self._number, *which)

    def bind(self, other: Core) -> None:
        """The hub has done it, or was asked to by ``bind_there``."""

    def bind_there(self, other: "HostedCore") -> None:
        """Has the hub do it, for what this worker has created."""
        self._channel.post("bind", (self._number, other._number))

    def wait(self, timeout: float | None) -> int:
        channel, ticket = self._channel, next(self._tickets)
        asked = channel.request("wait", (self._number, self._which, ticket, timeout), timeout=None)
        try:
            outcome: int = asked.result()
        except BaseException:
            asked.cancel()
            channel.post("abandon", (self._number, self._which, ticket))
            raise
        return self._got(outcome)

    async def wait_async(self, timeout: float | None) -> int:
        channel, ticket = self._channel, next(self._tickets)
        asked = channel.request("wait", (self._number, self._which, ticket, timeout), timeout=None)
        try:
            outcome: int = await asked
        except BaseException:
            asked.cancel()
            channel.post("abandon", (self._number, self._which, ticket))
            raise
        return self._got(outcome)

    def _got(self, outcome: int) -> int:
        if outcome and self._kind == "RLock":
            self._depths[self._number] = 1
        return outcome

    def has_just_taken(self) -> bool:
        return False
