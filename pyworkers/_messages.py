"""Messages between users' code on two sides: named channels, handlers, requests and answers.

Owns the channels of one side, and who waits for an answer. Both ends of a conversation run this
same code, over a ``Side`` that knows how things travel there. When a request is over is decided in
``_requests``, and how one is answered in ``_answers``.

::

    request ──> Requests (pending) ──> REQUEST ──> handler of the other side
    future <─── RESPONSE, FAILURE, REPORT <───────────┘   (settled once: who ends it settles it)
       └─ cancel, time over ──> WITHDRAW ──> its coroutine is cancelled
"""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pyworkers._answers import Answers, Handler
from pyworkers._futures import Future
from pyworkers._protocol import Kind
from pyworkers._requests import (
    DEFAULT_PENDING,
    DEFAULT_TIMEOUT,
    ChannelStatistics,
    Request,
    Requests,
)
from pyworkers._results import chained
from pyworkers._sides import PARTNER, Side, log, logger
from pyworkers.errors import PayloadError, ProtocolError, QueueFull


class _Asked(NamedTuple):
    """What belongs to a request: who waits, and what to send again."""

    kind: str
    future: Future[Any]
    encoded: Any


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
        ``async``, or return the future of a task, which is answered when it is done, and cancelled
        if nobody waits for it any more. There is one handler for a kind: a later one takes the
        place.

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
            payload: what a task can be given; for a page, what can become a value of JavaScript.
            timeout: seconds until it fails with TimeoutError; None means never.
            retries: how many more times it is sent if the time is over; only for what may be
                handled more than once.

        Raises:
            ValueError: the timeout or retries are out of their range.
            QueueFull: ``max_pending`` requests of this side wait on this channel.
        """
        with self._messenger.side.undisturbed():
            return self._messenger.request(self, PARTNER, kind, payload, timeout, retries)


class Messenger:
    """All messages of one side.

    Args:
        side: how they travel.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.channels: dict[str, Channel] = {}
        self.requests: Requests[_Asked] = Requests()
        self._answers = Answers(side, self.channels)
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
            log(self.side, "post", peer, channel.name, kind)
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
        log(self.side, "request", peer, request.channel, what.kind)
        self.side.send(peer, Kind.REQUEST, request.id, what.encoded, time.time())
        if request.deadline < math.inf:
            self.side.remind(request.deadline)

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
        return self._answers.count(channel)

    def _withdraw(self, id: int, running: bool) -> bool:
        request = self.requests.withdrawn(id)
        if request is None:
            return False
        self._tell_withdrawn(request)
        self.side.flush()
        self._ended()
        return True

    def _tell_withdrawn(self, request: Request[_Asked]) -> None:
        log(self.side, "withdrawal", request.peer, request.channel, request.what.kind)
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
        self._answers.lost(peer)

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
            self._answers.hear(peer, id if kind is Kind.REQUEST else 0, number, read)
        elif kind is Kind.WITHDRAW:
            self._answers.drop((peer, id))
        elif id == 0:
            self._post_failed(peer, read)
        else:
            self._answered(kind, peer, id, read)

    def _post_failed(self, peer: int, read: Callable[[], Any]) -> None:
        name, kind, told = read()
        channel = self.channels.get(name)
        if channel is not None:
            channel.failed += 1
        error, who = self.side.restore(told), self.side.called(peer)
        logger.error("%s failed with the message %r on channel %r", who, kind, name, exc_info=error)

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
