"""Pipes: two connections, over a queue for each way.

Owns what ``multiprocessing.connection`` offers of them. How messages travel, the queues know.
"""

from types import TracebackType
from typing import Any, Self

from pyworkers._cancel import undisturbed
from pyworkers._env import Mode
from pyworkers.sync._lines import END, NOTHING
from pyworkers.sync._local_queue import ENDED, Item
from pyworkers.sync._queues import CAPACITY, SimpleQueue, encoded


class Connection:
    """One end of a pipe; give it to tasks as any argument. ``Pipe`` makes it.

    An end that is closed is closed for all who have it.
    """

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: SimpleQueue | None, writer: SimpleQueue | None) -> None:
        self._reader = reader
        self._writer = writer

    def __reduce__(self) -> tuple[Any, ...]:
        return Connection, (self._reader, self._writer)

    @property
    def readable(self) -> bool:
        """Whether this end can receive."""
        return self._reader is not None

    @property
    def writable(self) -> bool:
        """Whether this end can send."""
        return self._writer is not None

    def _incoming(self) -> SimpleQueue:
        if self._reader is None:
            raise OSError("this end of the pipe can only send")
        return self._reader

    def _outgoing(self) -> SimpleQueue:
        if self._writer is None:
            raise OSError("this end of the pipe can only receive")
        return self._writer

    def send(self, obj: Any) -> None:
        """Sends an object; waits while the pipe is full.

        Raises:
            BrokenPipeError: one of the ends is closed.
            OSError: this end can only receive.
            PayloadError: the object cannot be pickled.
        """
        _sent(self._outgoing()._line.put((encoded(obj),), None))

    async def send_async(self, obj: Any) -> None:
        """Like ``send``, without blocking."""
        _sent(await self._outgoing()._line.put_async((encoded(obj),), None))

    def recv(self) -> Any:
        """Returns what the other end has sent; waits for it.

        Raises:
            EOFError: one of the ends is closed, and nothing is left.
            OSError: this end can only send.
        """
        return _received(self._incoming()._line.get(None))

    async def recv_async(self) -> Any:
        """Like ``recv``, without blocking."""
        return _received(await self._incoming()._line.get_async(None))

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Sends bytes as one message, which ``recv_bytes`` returns.

        Args:
            buf: anything with contiguous bytes.
            offset: of the first of them.
            size: how many; None means all behind that.

        Raises:
            ValueError: there are not so many.
            BrokenPipeError: one of the ends is closed.
            OSError: this end can only receive.
        """
        _sent(self._outgoing()._line.put(((_part(buf, offset, size), []),), None))

    async def send_bytes_async(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Like ``send_bytes``, without blocking."""
        item: Item = (_part(buf, offset, size), [])
        _sent(await self._outgoing()._line.put_async((item,), None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Returns the bytes of one message of ``send_bytes``; waits for it.

        Args:
            maxlength: no more than so many are expected; None means any number.

        Raises:
            OSError: there were more, which are lost; or this end can only send.
            EOFError: one of the ends is closed, and nothing is left.
        """
        return _limited(_received(self._incoming()._line.get(None, True)), maxlength)

    async def recv_bytes_async(self, maxlength: int | None = None) -> bytes:
        """Like ``recv_bytes``, without blocking."""
        return _limited(_received(await self._incoming()._line.get_async(None, True)), maxlength)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Says whether ``recv`` would return or raise at once.

        Args:
            timeout: seconds to wait for that; None means for ever.
        """
        some = self._incoming()._line.some
        return bool(some.attempt(0) or some.wait(timeout))

    async def poll_async(self, timeout: float | None = 0.0) -> bool:
        """Like ``poll``, without blocking."""
        some = self._incoming()._line.some
        return bool(some.attempt(0) or await some.wait_async(timeout))

    def close(self) -> None:
        """Ends the pipe: what was sent can still be received, and then comes ``EOFError``."""
        for each in (self._reader, self._writer):
            if each is not None:
                each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        ways = [f"receives: {self._reader!r}"] if self._reader else []
        ways += [f"sends: {self._writer!r}"] if self._writer else []
        return f"<Connection {', '.join(ways)}>"


def Pipe(
    duplex: bool = True, *, capacity: int = CAPACITY, mode: Mode | None = None
) -> tuple[Connection, Connection]:
    """Returns the two ends of a new pipe.

    Args:
        duplex: whether both can send; if not, the first receives what the second sends.
        capacity: bytes of the ring of each way, as for ``Queue``.
        mode: of the pools whose tasks shall get them; None means the default one.

    Raises:
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """
    there = SimpleQueue(capacity=capacity, mode=mode)
    if not duplex:
        return Connection(there, None), Connection(None, there)
    back = SimpleQueue(capacity=capacity, mode=mode)
    return Connection(there, back), Connection(back, there)


def _sent(count: int) -> None:
    if count == ENDED:
        raise BrokenPipeError("the pipe is closed")


@undisturbed
def _received(value: Any) -> Any:
    assert value is not NOTHING
    if value is END:
        raise EOFError("the pipe is closed, and nothing is left in it")
    return value


def _part(buf: Any, offset: int, size: int | None) -> bytes:
    view = memoryview(buf).cast("B")
    end = len(view) if size is None else offset + size
    if not 0 <= offset <= end <= len(view):
        raise ValueError(f"bytes {offset} to {end} of a buffer of {len(view)} bytes")
    return bytes(view[offset:end])


@undisturbed
def _limited(data: bytes, maxlength: int | None) -> bytes:
    if maxlength is not None and len(data) > maxlength:
        raise OSError(f"a message of {len(data)} bytes, where {maxlength} were expected")
    return data
