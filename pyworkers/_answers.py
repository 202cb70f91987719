"""Answering messages: calling the handlers of one side, and telling what becomes of it.

Owns what is being answered. A handler is called once all that has arrived is in order, in a context
of its own. Knows nothing of what this side asks itself.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import CoroutineType
from typing import Any, Final, Protocol

from pyworkers._futures import Future
from pyworkers._protocol import Kind
from pyworkers._results import chained
from pyworkers._sides import Side, log
from pyworkers.errors import NoHandler, PayloadError, ProtocolError


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


class Handles(Protocol):
    """What is needed of a channel."""

    received: int
    """How many messages came to it."""

    def handler(self, kind: str) -> Handler | None:
        """Returns the handler for a kind; None if there is none."""


@dataclass(slots=True, eq=False)
class _Answering:
    """A message whose handler has not returned."""

    peer: int
    id: int
    channel: str
    kind: str
    began: float = 0.0
    task: "asyncio.Task[Any] | Future[Any] | None" = None


class Answers:
    """The messages that one side is answering.

    Args:
        side: how answers travel.
        channels: by name, those that this side has.
    """

    def __init__(self, side: Side, channels: Mapping[str, Handles]) -> None:
        self._side = side
        self._channels = channels
        self._answering: dict[tuple[int, int], _Answering] = {}

    def count(self, channel: str) -> int:
        """Returns how many requests on a channel are being answered here."""
        return sum(answering.channel == channel for answering in self._answering.values())

    def lost(self, peer: int) -> None:
        """Another side is gone: drops what was for it."""
        for key in [key for key in self._answering if key[0] == peer]:
            self.drop(key)

    def drop(self, key: tuple[int, int]) -> None:
        """An answer is not wanted any more, by the number of who waited for it and its id."""
        answering = self._answering.pop(key, None)
        if answering is not None and answering.task is not None:
            answering.task.cancel()

    def hear(self, peer: int, id: int, sent: float, read: Callable[[], Any]) -> None:
        """Has a message handled.

        Args:
            peer: who sent it.
            id: of the request; 0 of a message without an answer.
            sent: when, in seconds since the epoch.
            read: returns channel, kind and payload.

        Raises:
            ProtocolError: it cannot have been sent by code like this.
        """
        answering = _Answering(peer, id, "", "")
        if id:
            self.drop((peer, id))
            self._answering[peer, id] = answering
        try:
            channel, kind, payload = read()
        except ProtocolError:
            raise
        except Exception as error:
            text = f"a message cannot be read by {self._side.name}: {error}"
            self._fail(answering, chained(PayloadError(text), error))
            return
        answering.channel, answering.kind = channel, kind
        serve = partial(self._serve, answering, payload, sent)
        self._side.after(partial(self._side.apart, serve))

    def _is_wanted(self, answering: _Answering) -> bool:
        key = answering.peer, answering.id
        return not answering.id or self._answering.get(key) is answering

    def _serve(self, answering: _Answering, payload: Any, sent: float) -> None:
        if not self._is_wanted(answering):
            return
        peer, name, kind = answering.peer, answering.channel, answering.kind
        channel = self._channels.get(name)
        handler = None
        if channel is not None:
            channel.received += 1
            handler = channel.handler(kind)
        handler = handler or SERVICES.get((name, kind))
        answering.began = time.perf_counter()
        if handler is None:
            self._fail(answering, NoHandler(self._side.name, name, kind))
            return
        worker, report = self._side.number_of(peer), partial(self._report, answering)
        message = Message(name, kind, payload, worker, answering.id or None, sent, report)
        try:
            value = handler(message)
        except BaseException as error:
            self._fail(answering, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if type(value) is CoroutineType:
            answering.task = self._side.beside(value, partial(self._served, answering))
        elif isinstance(value, Future):
            answering.task = value
            value.add_done_callback(partial(self._came, answering))
        else:
            self._answer(answering, value)

    def _came(self, answering: _Answering, future: Any) -> None:
        self._served(answering, partial(future.result, 0))
        self._side.flush()

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
            encoded = self._side.encode((done, total, message))
            self._side.send(answering.peer, Kind.REPORT, answering.id, encoded, 0.0)
            self._side.flush()

    def _answer(self, answering: _Answering, value: Any) -> None:
        if not answering.id:
            return
        try:
            encoded = self._side.encode(value)
        except PayloadError as error:
            text = f"what the handler of {answering.kind!r} returned cannot be sent: {error}"
            self._fail(answering, chained(PayloadError(text), error))
        else:
            self._reply(answering, Kind.RESPONSE, encoded)

    def _fail(self, answering: _Answering, error: BaseException) -> None:
        told = self._side.describe(error)
        encoded = self._side.encode((answering.channel, answering.kind, told))
        self._reply(answering, Kind.FAILURE, encoded)

    def _reply(self, answering: _Answering, kind: Kind, encoded: Any) -> None:
        if not self._is_wanted(answering):
            return
        self._answering.pop((answering.peer, answering.id), None)
        seconds = time.perf_counter() - answering.began if answering.began else 0.0
        log(self._side, kind.name.lower(), answering.peer, answering.channel, answering.kind)
        self._side.send(answering.peer, kind, answering.id, encoded, seconds)
