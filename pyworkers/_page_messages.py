"""Messages between a hub and the JavaScript that holds its connection.

Owns how messages become those of ``_protocol.MESSAGES``, and come back. Values are plain data, as
those of ``run``: nothing that a page sends is unpickled.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from pyworkers import _js
from pyworkers._messages import DirectChannel, Messenger
from pyworkers._protocol import Kind
from pyworkers._sides import PARTNER, Alarm
from pyworkers._worker import apart
from pyworkers.errors import ModeError, NoHandler, PageError, PayloadError

_KINDS = {
    "post": Kind.POST,
    "request": Kind.REQUEST,
    "answer": Kind.RESPONSE,
    "refuse": Kind.FAILURE,
    "report": Kind.REPORT,
}
"""What a page says, by the kind of its message."""

current: "PageMessages | None" = None
"""The conversation with who holds the connection to this interpreter; None if several do."""

here: Final[ContextVar["PageMessages | None"]] = ContextVar("here", default=None)
"""The conversation with the tab whose code runs, where tabs share this interpreter."""


class PageMessages:
    """A hub's side of its conversation with a page, and the waiter of its requests.

    Args:
        port: posts to the page.
        reply: posts a result there: its id, its value and the buffers to be transferred.
        described: returns name, message and traceback of an exception, for JavaScript.
        view: returns the view of shared memory that a value is; None if it is none.
        shared: finds what a view of shared memory stands for.
    """

    name = "the hub"

    def __init__(
        self,
        port: Any,
        reply: Callable[..., object],
        described: Callable[[BaseException], dict[str, str]],
        view: Callable[[Any], Any],
        shared: Callable[[Any], Any],
    ) -> None:
        self.waiter = self
        self.messenger: Messenger = Messenger(self)
        self.describe = described
        self.apart = partial(apart, None)
        self.remind = Alarm(lambda: self.messenger.tick(time.monotonic())).set
        self._port = port
        self._reply = reply
        self._view = view
        self._shared = shared
        self._running: set[asyncio.Task[Any]] = set()
        self._gone = False

    def gone(self) -> None:
        """The page is gone: fails what it was to answer, and drops what was for it."""
        self._gone = True
        self.messenger.lost(PARTNER, PageError("ConnectionClosed", "the page is gone", ""))

    def channel(self, name: str) -> DirectChannel:
        """Returns the channel of a name, made at the first call."""
        channel = self.messenger.channels.get(name)
        if channel is None:
            channel = self.messenger.channels[name] = DirectChannel(name, self.messenger)
        assert isinstance(channel, DirectChannel)
        return channel

    def heard(self, message: Any) -> None:
        """Acts on a message of the page."""
        kind = _KINDS[message.kind]
        id = 0 if kind is Kind.POST else message.id
        sent = getattr(message, "time", 0.0)
        self.messenger.handle(kind, PARTNER, id, sent, partial(self._read, kind, message))

    def withdrawn(self, id: int) -> None:
        """The page does not want an answer any more."""
        self.messenger.handle(Kind.WITHDRAW, PARTNER, id, 0.0, lambda: None)

    def _read(self, kind: Kind, message: Any) -> Any:
        if kind is Kind.REPORT:
            return message.done, getattr(message, "total", None), message.message
        if kind is Kind.FAILURE:
            told = message.error, message.message, message.stack, message.channel, message.name
            return message.channel, message.name, told
        payload = _js.from_page(getattr(message, "payload", None), self._shared)
        return payload if kind is Kind.RESPONSE else (message.channel, message.name, payload)

    # What a Side does.

    def encode(self, value: Any, lasts: bool = False) -> Any:
        try:
            # What is sent again cannot be something whose uses are counted.
            return _js.to_page(value, (lambda _: None) if lasts else self._view)
        except Exception as error:  # whatever converting raises
            raise PayloadError(f"{type(error).__name__}: {error}") from error

    def restore(self, value: Any) -> BaseException:
        name, text, stack, channel, kind = value
        if name == NoHandler.__name__:
            return NoHandler("the page", channel, kind)
        return PageError(name, text, stack)

    def send(self, peer: int, kind: Kind, id: int, value: Any, number: float) -> None:
        if kind is Kind.RESPONSE:
            _js.reply_converted(self._reply, id, value)
        elif kind is Kind.FAILURE:
            told = value[2]
            fields = {name: getattr(told, name) for name in ("name", "message", "pythonTraceback")}
            _js.post(self._port, "error", id=id, **fields)
        elif kind is Kind.REPORT:
            _js.post(self._port, "progress", id=id, done=value[0], total=value[1], message=value[2])
        elif kind is Kind.WITHDRAW:
            _js.post(self._port, "withdraw", id=id)
        else:
            fields = {"channel": value[0], "name": value[1], "payload": value[2], "time": number}
            if kind is Kind.REQUEST:
                fields["id"] = id
                if self._gone:
                    asyncio.get_running_loop().call_soon(self.gone)
            _js.post(self._port, kind.name.lower(), **fields)

    def flush(self) -> None:
        pass

    def after(self, call: Callable[[], object]) -> None:
        call()

    def beside(
        self, work: Coroutine[Any, Any, Any], then: Callable[[Callable[[], Any]], None]
    ) -> "asyncio.Task[Any] | None":
        running = asyncio.get_running_loop().create_task(work)
        self._running.add(running)

        def done(_: object) -> None:
            self._running.discard(running)
            then(running.result)

        running.add_done_callback(done)
        return running

    def undisturbed(self) -> AbstractContextManager[None]:
        return nullcontext()

    def called(self, peer: int) -> str:
        return "the page"

    def number_of(self, peer: int) -> int | None:
        return None

    # What a Waiter does.

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        raise ModeError("the page answers by a message, which nobody hears who blocks: use `await`")

    def wait_briefly(self, is_done: Callable[[], bool]) -> bool:
        return False

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(callback)
