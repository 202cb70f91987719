"""Which requests wait for an answer, from whom and until when.

Owns their ids and deadlines. Pure: no I/O, the clock is handed in; knows nothing of what a request
says, nor of who waits for its answer.
"""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from pyworkers.errors import ProtocolError

T = TypeVar("T")

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds."""

DEFAULT_PENDING: Final = 100
"""So many requests of a channel may wait for their answers."""

_MAX_ID: Final = 0xFFFFFFFF
_SLACK: Final = 64
"""So many deadlines of what was answered may lie about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """What has happened on a channel, as one side knows it.

    Attributes:
        sent: messages that this side sent; one that was sent again counts once.
        received: messages that came here.
        failed: messages sent that came to nothing: the handler raised, there was none, or its
            worker ended.
        timed_out: requests made that were not answered in time.
        pending: requests made that wait for their answers.
        oldest: seconds that the oldest of these has waited; 0 if there is none.
        answering: requests received whose handlers have not returned.
    """

    sent: int
    received: int
    failed: int
    timed_out: int
    pending: int
    oldest: float
    answering: int


@dataclass(slots=True)
class Request(Generic[T]):
    """A request that waits for its answer.

    Attributes:
        channel: name of its channel.
        peer: number of who is to answer.
        timeout: seconds that each try has; None means for ever.
        retries: how many more tries there are.
        what: belongs to who made it.
        id: among the requests of this side; all tries have the same.
        since: when it was first sent, in seconds of some clock.
        deadline: when this try is over, by the same clock.
    """

    channel: str
    peer: int
    timeout: float | None
    retries: int
    what: T
    id: int = 0
    since: float = 0.0
    deadline: float = math.inf


@dataclass(slots=True)
class Requests(Generic[T]):
    """The requests of one side that wait for their answers."""

    _pending: dict[int, Request[T]] = field(default_factory=dict)
    _deadlines: list[tuple[float, int]] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _last: int = 0

    def __bool__(self) -> bool:
        """Says whether any waits."""
        return bool(self._pending)

    def new_id(self) -> int:
        """Returns an id that no request which waits has."""
        while True:
            self._last = self._last % _MAX_ID + 1
            if self._last not in self._pending:
                return self._last

    def begin(self, request: Request[T], now: float) -> None:
        """A request is sent, and waits from now on.

        Args:
            request: with its id.
            now: by the clock.
        """
        request.since = now
        self._pending[request.id] = request
        self._counts[request.channel] += 1
        self._give_time(request, now)

    def _give_time(self, request: Request[T], now: float) -> None:
        if request.timeout is None or request.timeout == math.inf:
            return
        request.deadline = now + request.timeout
        if len(self._deadlines) > 2 * len(self._pending) + _SLACK:
            live = (other for other in self._pending.values() if other.deadline < math.inf)
            self._deadlines = [(other.deadline, other.id) for other in live]
            heapq.heapify(self._deadlines)
        else:
            heapq.heappush(self._deadlines, (request.deadline, request.id))

    def find(self, id: int, peer: int) -> Request[T] | None:
        """Returns the request that a peer speaks of; None if nobody waits for it any more.

        Raises:
            ProtocolError: it was made to somebody else.
        """
        request = self._pending.get(id)
        if request is not None and request.peer != peer:
            raise ProtocolError(f"worker {peer} spoke of request {id}, which it was not sent")
        return request

    def end(self, request: Request[T]) -> None:
        """A request does not wait any more."""
        del self._pending[request.id]
        self._counts[request.channel] -= 1

    def withdrawn(self, id: int) -> Request[T] | None:
        """Ends a request by its id; returns it, or None if it does not wait."""
        request = self._pending.get(id)
        if request is not None:
            self.end(request)
        return request

    def lost(self, peer: int) -> list[Request[T]]:
        """Ends all requests to a peer that answers no more, and returns them."""
        requests = [request for request in self._pending.values() if request.peer == peer]
        for request in requests:
            self.end(request)
        return requests

    def expired(self, now: float) -> tuple[list[Request[T]], list[Request[T]]]:
        """Takes those whose time is over.

        Returns:
            Those that are to be sent again, which go on waiting, and those that are over.
        """
        again, over = [], []
        while (due := self.next_due()) is not None and due <= now:
            _, id = heapq.heappop(self._deadlines)
            request = self._pending[id]
            if request.retries:
                request.retries -= 1
                self._give_time(request, now)
                again.append(request)
            else:
                self.end(request)
                over.append(request)
        return again, over

    def next_due(self) -> float | None:
        """Returns when the next time is over; None if never."""
        deadlines = self._deadlines
        while deadlines:
            when, id = deadlines[0]
            request = self._pending.get(id)
            if request is not None and request.deadline == when:
                return when
            heapq.heappop(deadlines)
        return None

    def waiting(self, channel: str) -> int:
        """Returns how many requests of a channel wait."""
        return self._counts[channel]

    def oldest(self, channel: str, now: float) -> float:
        """Returns for how many seconds the oldest of them has waited; 0 if there is none."""
        since = (r.since for r in self._pending.values() if r.channel == channel)
        return now - min(since, default=now)
