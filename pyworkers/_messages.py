"""Messages between users' code on two sides: named channels, handlers, requests and answers.

Owns the channels of one side, what waits for an answer, and what is being answered. Both ends of a
conversation run this same code, over a ``Side`` that knows how things travel there. A handler is
called once all that has arrived is in order, in a context of its own.

::

    request ──> Requests (pending) ──> REQUEST ──> handler of the other side
    future <─── RESPONSE, FAILURE, REPORT <───────────┘   (settled once: who ends it settles it)
       └─ cancel, time over ──> WITHDRAW ──> its coroutine is cancelled
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import CoroutineType
from typing import Any, Final, NamedTuple, Protocol

from pyworkers._futures import Future, Waiter
from pyworkers._protocol import Kind
from pyworkers._requests import (
    DEFAULT_PENDING,
    DEFAULT_TIMEOUT,
    ChannelStatistics,
    Request,
    Requests,
)
from pyworkers._results import chained
from pyworkers.errors import (
    NoHandler,
    PayloadError,
    ProtocolError,
    QueueFull,
)

_logger: Final = logging.getLogger("pyworkers")


@dataclass(frozen=True, slots=True)
class Message:
    """What a handler is called with.

    Attributes:
        channel: name of the channel.
        kind: what the handler was registered for.
        payload: what was sent.
        worker: number of the worker that sent it; None if that was the hub, or the page.
        id: of a request, among those of its sender; None if nobody waits for an answer.
        time: when it was sent, in seconds since the epoch.
    """

    channel: str
    kind: str
    payload: Any
    worker: int | None
    id: int | None
    time: float
    _report: Callable[[float, float | None, str], None] = field(repr=False, compare=False)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tells who waits for the answer how far it is; nothing if nobody does.

        Args:
            done: how much is done.
            total: how much there is to do; None where that is not known.
            message: for people.
        """
        self._report(done, total, message)


Handler = Callable[[Message], Any]

SERVICES: Final[dict[tuple[str, str], Handler]] = {}
"""Handlers that every channel has of itself, by its name and the message's kind."""


class Side(Protocol):
    """How messages travel from one side of a conversation."""

    name: str
    """Of this side, for people: "the hub"."""

    @property
    def waiter(self) -> Waiter:
        """Settles the futures of requests while somebody waits."""

    def encode(self, value: Any, lasts: bool = False) -> Any:
        """Returns a value as it travels, and may again later if it ``lasts``.

        Raises:
            PayloadError: it cannot travel.
        """

    def describe(self, error: BaseException) -> Any:
        """Returns what ``restore`` of the other side makes the same exception of."""

    def restore(self, value: Any) -> BaseException:
        """Makes an exception of what the other side told of it."""

    def send(self, peer: int, kind: Kind, id: int, value: Any, number: float) -> None:
        """Queues something encoded."""

    def flush(self) -> None:
        """Has it leave, outside of handling what arrived."""

    def after(self, call: Callable[[], object]) -> None:
        """Calls back when all that has arrived is in order."""

    def apart(self, call: Callable[[], object]) -> None:
        """Calls in a context of its own, outside of any task."""

    def beside(
        self, work: Coroutine[Any, Any, Any], then: Callable[[Callable[[], Any]], None]
    ) -> "asyncio.Task[Any] | None":
        """Awaits a coroutine, and calls with what returns its result or raises its error."""

    def remind(self, when: float) -> None:
        """Has ``Messenger.tick`` called at a time of ``time.monotonic``, at the latest."""

    def undisturbed(self) -> AbstractContextManager[None]:
        """Keeps what users' code has begun from being stopped half way by a signal."""

    def called(self, peer: int) -> str:
        """Returns the name of another side, for people: "worker 3"."""

    def number_of(self, peer: int) -> int | None:
        """Returns the number of a worker; None for others."""


class _Asked(NamedTuple):
    """What belongs to a request: who waits, and what to send again."""

    kind: str
    future: Future[Any]
    encoded: Any


@dataclass(slots=True, eq=False)
class _Answering:
    """A message whose handler has not returned."""

    peer: int
    id: int
    channel: str
    kind: str
    began: float = 0.0
    task: "asyncio.Task[Any] | None" = None


class Channel:
    """One side's end of a named channel.

    Attributes:
        name: of the channel; both sides use the same.
        max_pending: how many requests of this side may wait for their answers, 100 at first.
    """

    def __init__(self, name: str, messenger: "Messenger") -> None:
        self.name = name
        self.max_pending = DEFAULT_PENDING
        self._messenger = messenger
        self._handlers: dict[str, Handler] = {}
        self.sent = self.received = self.failed = self.timed_out = 0

    def __repr__(self) -> str:
        side = self._messenger.side.name
        pending = self._messenger.requests.waiting(self.name)
        kinds = ", ".join(map(repr, self._handlers)) or "nothing"
        return f"<Channel {self.name!r} of {side}: handles {kinds}, {pending} pending>"

    def on(self, kind: str, handler: Handler) -> Callable[[], None]:
        """Has a function called with each ``Message`` of a kind that the other side sends.

        What it returns is the answer to a request, what it raises is raised there. It may be
        ``async``. There is one handler for a kind: a later one takes the place.

        Returns:
            What ends it.
        """
        self._handlers[kind] = handler

        def end() -> None:
            if self._handlers.get(kind) is handler:
                del self._handlers[kind]

        return end

    def handler(self, kind: str) -> Handler | None:
        """Returns the handler for a kind; None if there is none."""
        return self._handlers.get(kind)

    async def room(self) -> None:
        """Waits until the next ``request`` does not raise QueueFull."""
        await self._messenger.room(self)

    def stats(self) -> ChannelStatistics:
        """Returns what has happened on this channel, as this side knows it."""
        messenger = self._messenger
        return ChannelStatistics(
            sent=self.sent,
            received=self.received,
            failed=self.failed,
            timed_out=self.timed_out,
            pending=messenger.requests.waiting(self.name),
            oldest=messenger.requests.oldest(self.name, time.monotonic()),
            answering=messenger.answering(self.name),
        )


PARTNER: Final = 0
"""The peer of a side that has only one."""


class DirectChannel(Channel):
    """An end of a named channel to the one other side there is.

    That is the hub for a worker (``task.channel``), and the page for a hub (``page.channel``).
    """

    def post(self, kind: str, payload: Any = None) -> None:
        """Sends a message, and does not wait.

        Should its handler fail, or there be none, this interpreter logs it.

        Raises:
            PayloadError: it cannot be sent.
        """
        with self._messenger.side.undisturbed():
            self._messenger.post(self, [PARTNER], kind, payload)

    def request(
        self,
        kind: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = 0,
    ) -> Future[Any]:
        """Asks the other side: what the handler there returns, or raises, is the future's.

        Await it. A task may block by its ``result``, too, in modes shared and inline. Cancelling
        it cancels a handler that is a coroutine.

        Args:
            kind: of the message.
            payload: what can be pickled; for a page, what can become a value of JavaScript.
            timeout: seconds until it fails with TimeoutError; None means never.
            retries: how many more times it is sent if the time is over; only for what may be
                handled more than once.

        Raises:
            ValueError: the timeout or retries are out of their range.
            QueueFull: ``max_pending`` requests of this side wait on this channel.
        """
        with self._messenger.side.undisturbed():
            return self._messenger.request(self, PARTNER, kind, payload, timeout, retries)


class Alarm:
    """Has an event loop call back at the earliest of the times that were set.

    None is ever cancelled: Pyodide's loop keeps those, too, until their time.

    Args:
        rings: called at that time; returns the next one, None if there is none.
    """

    def __init__(self, rings: Callable[[], float | None]) -> None:
        self._rings = rings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = math.inf

    def set(self, when: float) -> None:
        """Sets a time, in seconds of ``time.monotonic``; nothing where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop or when < self._due:
            self._loop, self._due = loop, when
            loop.call_later(max(0.0, when - time.monotonic()), self._time_came, when)

    def _time_came(self, when: float) -> None:
        if self._due == when:
            self._due = math.inf
        due = self._rings()
        if due is not None:
            self.set(due)


class Messenger:
    """All messages of one side.

    Args:
        side: how they travel.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.channels: dict[str, Channel] = {}
        self.requests: Requests[_Asked] = Requests()
        self._answering: dict[tuple[int, int], _Answering] = {}
        self._queue: list[asyncio.Future[None]] = []

    def post(self, channel: Channel, peers: list[int], kind: str, payload: Any) -> None:
        """Sends a message to some, without an answer.

        Raises:
            PayloadError: it cannot be sent.
        """
        side = self.side
        encoded = self._encode(channel, kind, payload)
        for peer in peers:
            channel.sent += 1
            self._log("post", peer, channel.name, kind)
            side.send(peer, Kind.POST, 0, encoded, time.time())
        side.flush()

    def request(
        self,
        channel: Channel,
        peer: int,
        kind: str,
        payload: Any,
        timeout: float | None,
        retries: int,
    ) -> Future[Any]:
        """Sends a request; returns the future of its answer.

        Raises:
            ValueError: the timeout or retries are out of their range.
            QueueFull: as many requests wait as the channel allows.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be 0 seconds or more, not {timeout}")
        if retries < 0:
            raise ValueError(f"retries must be 0 or more, not {retries}")
        self.check_room(channel, 1)
        side, requests = self.side, self.requests
        id = requests.new_id()
        future: Future[Any] = Future(side.waiter, id, self._withdraw)
        try:
            encoded = self._encode(channel, kind, payload, lasts=retries > 0)
        except PayloadError as error:
            future.set_exception(error)
            return future
        asked = _Asked(kind, future, encoded)
        request = Request(channel.name, peer, timeout, retries, asked, id)
        requests.begin(request, time.monotonic())
        channel.sent += 1
        self._send(request)
        side.flush()
        return future

    def refused(self, channel: Channel, error: BaseException) -> Future[Any]:
        """Returns the future of a request that cannot be made."""
        channel.failed += 1
        future: Future[Any] = Future(self.side.waiter, 0, self._withdraw)
        future.set_exception(error)
        return future

    def _encode(self, channel: Channel, kind: str, payload: Any, lasts: bool = False) -> Any:
        try:
            return self.side.encode((channel.name, kind, payload), lasts)
        except PayloadError as error:
            text = f"the message {kind!r} on channel {channel.name!r} cannot be sent: {error}"
            raise PayloadError(text) from error

    def _send(self, request: Request[_Asked]) -> None:
        peer, what = request.peer, request.what
        self._log("request", peer, request.channel, what.kind)
        self.side.send(peer, Kind.REQUEST, request.id, what.encoded, time.time())
        if request.deadline < math.inf:
            self.side.remind(request.deadline)

    def _log(self, what: str, peer: int, channel: str, kind: str) -> None:
        if _logger.isEnabledFor(logging.DEBUG):
            names = self.side.name, self.side.called(peer)
            _logger.debug("%s from %s to %s: %r on channel %r", what, *names, kind, channel)

    def check_room(self, channel: Channel, count: int) -> None:
        """Raises QueueFull if a channel does not allow so many more requests."""
        if not self._has_room(channel, count):
            raise QueueFull(
                f"{channel.max_pending} requests on channel {channel.name!r} may wait for their "
                "answers, as its max_pending says, and there are as many: `await channel.room()`"
            )

    def _has_room(self, channel: Channel, count: int) -> bool:
        return self.requests.waiting(channel.name) + count <= channel.max_pending

    async def room(self, channel: Channel) -> None:
        """Waits until a channel allows one more request."""
        while not self._has_room(channel, 1):
            waiting = asyncio.get_running_loop().create_future()
            self._queue.append(waiting)
            await waiting

    def answering(self, channel: str) -> int:
        """Returns how many requests on a channel are being answered here."""
        return sum(answering.channel == channel for answering in self._answering.values())

    def _withdraw(self, id: int, running: bool) -> bool:
        request = self.requests.withdrawn(id)
        if request is None:
            return False
        self._tell_withdrawn(request)
        self.side.flush()
        self._ended()
        return True

    def _tell_withdrawn(self, request: Request[_Asked]) -> None:
        self._log("withdrawal", request.peer, request.channel, request.what.kind)
        self.side.send(request.peer, Kind.WITHDRAW, request.id, self.side.encode(None), 0.0)

    def _ended(self) -> None:
        """A request is over, so that there may be room for others."""
        queue, self._queue = self._queue, []
        for waiting in queue:
            if not waiting.done():
                waiting.set_result(None)

    def _end(self, request: Request[_Asked], value: Any, error: BaseException | None) -> None:
        """Settles a request that does not wait any more, when all is in order."""
        self.side.after(partial(self._settle, request.what.future, value, error))

    def _settle(self, future: Future[Any], value: Any, error: BaseException | None) -> None:
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
        self._ended()

    def tick(self, now: float) -> float | None:
        """Ends or repeats the requests whose time is over; returns when the next one's is."""
        again, over = self.requests.expired(now)
        for request in again:
            self._tell_withdrawn(request)
            self._send(request)
        for request in over:
            self._tell_withdrawn(request)
            self.channels[request.channel].timed_out += 1
            who, what = self.side.called(request.peer), request.what.kind
            text = (
                f"{who} did not answer {what!r} on channel {request.channel!r} "
                f"within {request.timeout:g} s"
            )
            self._end(request, None, TimeoutError(text))
        return self.requests.next_due()

    def lost(self, peer: int, error: BaseException) -> None:
        """Another side is gone: fails what it was to answer, and drops what was for it."""
        for request in self.requests.lost(peer):
            self.channels[request.channel].failed += 1
            self._end(request, None, error)
        for key in [key for key in self._answering if key[0] == peer]:
            self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        answering = self._answering.pop(key, None)
        if answering is not None and answering.task is not None:
            answering.task.cancel()

    def handle(
        self, kind: Kind, peer: int, id: int, number: float, read: Callable[[], Any]
    ) -> None:
        """Acts on what the other side sent.

        Args:
            kind: of the frame.
            peer: who sent it.
            id: of the request; 0 of a message without an answer.
            number: of the frame.
            read: returns what came with it.

        Raises:
            ProtocolError: it cannot have been sent by code like this.
        """
        if kind is Kind.REQUEST or kind is Kind.POST:
            self._hear(peer, id if kind is Kind.REQUEST else 0, number, read)
        elif kind is Kind.WITHDRAW:
            self._drop((peer, id))
        elif id == 0:
            self._post_failed(peer, read)
        else:
            self._answered(kind, peer, id, read)

    def _hear(self, peer: int, id: int, sent: float, read: Callable[[], Any]) -> None:
        answering = _Answering(peer, id, "", "")
        if id:
            self._drop((peer, id))
            self._answering[peer, id] = answering
        try:
            channel, kind, payload = read()
        except ProtocolError:
            raise
        except Exception as error:
            text = f"a message cannot be read by {self.side.name}: {error}"
            self._fail(answering, chained(PayloadError(text), error))
            return
        answering.channel, answering.kind = channel, kind
        serve = partial(self._serve, answering, payload, sent)
        self.side.after(partial(self.side.apart, serve))

    def _is_wanted(self, answering: _Answering) -> bool:
        key = answering.peer, answering.id
        return not answering.id or self._answering.get(key) is answering

    def _serve(self, answering: _Answering, payload: Any, sent: float) -> None:
        if not self._is_wanted(answering):
            return
        peer, name, kind = answering.peer, answering.channel, answering.kind
        channel = self.channels.get(name)
        handler = None
        if channel is not None:
            channel.received += 1
            handler = channel.handler(kind)
        handler = handler or SERVICES.get((name, kind))
        answering.began = time.perf_counter()
        if handler is None:
            self._fail(answering, NoHandler(self.side.name, name, kind))
            return
        worker, report = self.side.number_of(peer), partial(self._report, answering)
        message = Message(name, kind, payload, worker, answering.id or None, sent, report)
        try:
            value = handler(message)
        except BaseException as error:
            self._fail(answering, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if type(value) is CoroutineType:
            answering.task = self.side.beside(value, partial(self._served, answering))
        else:
            self._answer(answering, value)

    def _served(self, answering: _Answering, outcome: Callable[[], Any]) -> None:
        try:
            value = outcome()
        except BaseException as error:
            self._fail(answering, error)
        else:
            self._answer(answering, value)

    def _report(
        self, answering: _Answering, done: float, total: float | None, message: str
    ) -> None:
        if answering.id and self._is_wanted(answering):
            encoded = self.side.encode((done, total, message))
            self.side.send(answering.peer, Kind.REPORT, answering.id, encoded, 0.0)
            self.side.flush()

    def _answer(self, answering: _Answering, value: Any) -> None:
        if not answering.id:
            return
        try:
            encoded = self.side.encode(value)
        except PayloadError as error:
            text = f"what the handler of {answering.kind!r} returned cannot be sent: {error}"
            self._fail(answering, chained(PayloadError(text), error))
        else:
            self._reply(answering, Kind.RESPONSE, encoded)

    def _fail(self, answering: _Answering, error: BaseException) -> None:
        told = self.side.describe(error)
        encoded = self.side.encode((answering.channel, answering.kind, told))
        self._reply(answering, Kind.FAILURE, encoded)

    def _reply(self, answering: _Answering, kind: Kind, encoded: Any) -> None:
        if not self._is_wanted(answering):
            return
        self._answering.pop((answering.peer, answering.id), None)
        seconds = time.perf_counter() - answering.began if answering.began else 0.0
        self._log(kind.name.lower(), answering.peer, answering.channel, answering.kind)
        self.side.send(answering.peer, kind, answering.id, encoded, seconds)

    def _post_failed(self, peer: int, read: Callable[[], Any]) -> None:
        name, kind, told = read()
        channel = self.channels.get(name)
        if channel is not None:
            channel.failed += 1
        error, who = self.side.restore(told), self.side.called(peer)
        _logger.error(
            "%s failed with the message %r on channel %r", who, kind, name, exc_info=error
        )

    def _answered(self, kind: Kind, peer: int, id: int, read: Callable[[], Any]) -> None:
        request = self.requests.find(id, peer)
        if request is None:
            return
        try:
            value = read()
            error = self.side.restore(value[2]) if kind is Kind.FAILURE else None
        except ProtocolError:
            raise
        except Exception as unreadable:
            text = f"what {self.side.called(peer)} answered cannot be read here: {unreadable}"
            error = chained(PayloadError(text), unreadable)
        if kind is Kind.REPORT and error is None:
            self.side.after(partial(request.what.future.report, *value))
            return
        self.requests.end(request)
        if error is not None:
            self.channels[request.channel].failed += 1
        self._end(request, value if error is None else None, error)
