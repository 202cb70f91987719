"""A hub's conversation with its page: run functions, execute source, stream output.

Owns the pool behind ``run`` and the namespaces of ``exec``. Knows nothing of the DOM. The messages
are those of ``_protocol.MESSAGES``, checked by the shim before they come here; what a page sends
is plain data and is never unpickled.

Where tabs share a hub, the page that keeps it has one conversation, by which it says how the pool
is made and who takes part, and each tab has another: with a namespace, channels and output of its
own, and the same pool. What a tab has begun ends with it.
"""

import asyncio
import gc
import importlib
import io
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, Final

from pyworkers import _js, _page_messages
from pyworkers._arena import SharedArena
from pyworkers._env import capabilities, set_default_mode
from pyworkers._events import Event, EventKind
from pyworkers._futures import Future
from pyworkers._hub import hub_for
from pyworkers._lending import PageMemory, PageTwins, TabTwins
from pyworkers._page_messages import PageMessages
from pyworkers._policies import DEFAULT_PRIORITY
from pyworkers._pool import WorkerPool
from pyworkers._source import run_source
from pyworkers._store import ArenaStore

_MODULES: Final = Path("/home/pyodide/.pyworkers-page")

_Source = tuple["Page", int]

_source: Final[ContextVar[_Source | None]] = ContextVar("source", default=None)
"""Whose source runs, and its id."""


def call_named(target: str, *args: Any) -> Any:
    """Calls ``module:function`` in a worker."""
    module, _, name = target.partition(":")
    function: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return function(*args)


def _field(message: Any, name: str, default: Any) -> Any:
    """Returns an optional field, which may be absent or undefined."""
    value = getattr(message, name, None)
    return default if value is None else value


class _Common:
    """What all conversations of a hub have in common.

    Attributes:
        pages: those that hear what is printed by nobody's source.
        streams: where it is printed.
        ready: what each is told first, once the hub knows it.
    """

    def __init__(self) -> None:
        self.pages: set[Page] = set()
        self.streams = _Stream(self, "stdout"), _Stream(self, "stderr")
        self.pool_options: dict[str, Any] = {}
        self.ready: dict[str, str] = {}
        self._pool: WorkerPool | None = None

    def pool(self) -> WorkerPool:
        """Returns the pool behind ``run``, made at the first call."""
        if self._pool is None:
            self._pool = WorkerPool(**self.pool_options)
        return self._pool


class _Stream(io.TextIOBase):
    """A standard stream whose text goes to the page with the id of the ``exec`` that printed."""

    def __init__(self, common: _Common, name: str) -> None:
        self._common = common
        self._name = name
        self._lines: dict[_Source | None, str] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        source = _source.get()
        line = self._lines.pop(source, "") + text
        if "\n" in text or "\r" in text:
            self._post(source, line)
        else:
            self._lines[source] = line  # until the line, or the source, is at its end
        return len(text)

    def flush(self) -> None:
        source = _source.get()
        self._post(source, self._lines.pop(source, ""))

    def _post(self, source: _Source | None, text: str) -> None:
        if not text:
            return
        if source is not None:
            page, id = source
            page.printed(self._name, text, id=id)
            return
        for page in self._common.pages:
            page.printed(self._name, text)


class Page:
    """The hub's end of a conversation.

    Args:
        port: posts to the page.
        reply: posts a result there: its id, its value and the buffers to be transferred.
        common: what it has in common with other conversations.
        namespace: in which its sources run.
        memory: what it sees of shared memory, and by twins.
    """

    def __init__(
        self,
        port: Any,
        reply: Callable[..., object],
        common: _Common,
        namespace: dict[str, Any],
        memory: PageTwins,
    ) -> None:
        self._port = port
        self._reply = reply
        self._common = common
        self._main = namespace
        self._memory = memory
        self._futures: dict[int, Future[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._subscriptions: dict[EventKind, Callable[[], None]] = {}
        self._messages = PageMessages(port, reply, _described, self._view, self._shared)
        self._handlers: dict[str, Callable[[Any], Any]] = {
            "drop": self._drop,
            "configure": self._configure,
            "exec": self._exec,
            "warm": self._warm,
            "cancel": self._cancel,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            **dict.fromkeys(("post", "request", "answer", "refuse", "report"), self._heard),
        }

    def admit(self, port: Any, reply: Callable[..., object]) -> "Tab":
        """Begins the conversation with a tab that shares this hub; arguments as above."""
        if self in self._common.pages:
            self._common.pages.remove(self)
            _page_messages.current = None
        tab = Tab(port, reply, self._common, {"__name__": "__main__"}, TabTwins())
        self._common.pages.add(tab)
        _js.post(port, "ready", **self._common.ready)
        return tab

    def printed(self, stream: str, text: str, **fields: int) -> None:
        """Tells the page what was printed."""
        _js.post(self._port, "output", stream=stream, text=text, **fields)

    def serve(self, message: Any) -> Any:
        """Acts on a message; what goes wrong is answered.

        Returns:
            After ``configure`` the link of the shim, if memory is shared with the page.
        """
        try:
            return self._handlers[message.kind](message)
        except Exception as error:
            self._fail(_field(message, "id", 0), error)
            return None

    def _configure(self, message: Any) -> Any:
        sources = message.modules.to_py()
        if sources:
            _MODULES.mkdir(parents=True, exist_ok=True)
            for name, source in sources.items():
                (_MODULES / f"{name}.py").write_text(source, encoding="utf-8")
            sys.path.insert(0, str(_MODULES))
            importlib.invalidate_caches()
        mode = set_default_mode(_field(message, "mode", None))
        common = self._common
        common.pool_options = {
            "max_workers": _field(message, "size", None),
            "packages": message.packages.to_py(),
            "modules": list(sources),
        }
        reason = capabilities().reason if mode == capabilities().mode else "it was asked for"
        common.ready = {"mode": mode, "reason": reason}
        store = hub_for(mode).store
        if isinstance(store, ArenaStore) and isinstance(store.arena, SharedArena):
            self._memory = PageMemory(mode, store, store.arena)
            link = store.arena.link
            shared = {"arena": link.arena.memory, "bell": link.hub}
            _js.post(self._port, "ready", **common.ready, **shared)
            return link
        _js.post(self._port, "ready", **common.ready)
        return None

    def _drop(self, message: Any) -> None:
        self._memory.drop(message.id)

    def _shared(self, view: Any) -> Any:
        return self._memory.found(view)

    def _view(self, value: Any) -> Any:
        return self._memory.view(value)

    def run(
        self, id: int, target: str, args: Any, priority: int | str | None, timeout: float | None
    ) -> None:
        """Acts on a message ``run``, by its fields: each costs less so than as an attribute."""
        try:
            future = self._submit(target, _js.from_page(args, self._shared), priority, timeout)
        except Exception as error:
            self._fail(id, error)
            return
        self._futures[id] = future
        future.add_progress_callback(
            lambda done, total, text: self._progress(id, done, total, text)
        )
        future.add_done_callback(lambda done: self._finished(id, done))
        future.is_done_soon()

    def _warm(self, message: Any) -> None:
        id = message.id
        future = self._futures[id] = self._common.pool().warm_up()
        future.add_done_callback(lambda done: self._finished(id, done))

    def _submit(
        self, target: str, args: list[Any], priority: int | str | None, timeout: float | None
    ) -> Future[Any]:
        pool = self._common.pool()
        if priority is None:
            priority = DEFAULT_PRIORITY
        module, _, name = target.rpartition(":")
        if module in ("", "__main__"):
            if name not in self._main:
                raise LookupError(f"__main__ has no function {name!r}; define it with exec first")
            return pool.submit_with(self._main[name], args, priority=priority, timeout=timeout)
        return pool.submit_with(call_named, (target, *args), priority=priority, timeout=timeout)

    def _progress(self, id: int, done: float, total: float | None, text: str) -> None:
        fields = {} if total is None else {"total": total}
        _js.post(self._port, "progress", id=id, done=done, message=text, **fields)

    def _finished(self, id: int, future: Any) -> None:
        del self._futures[id]
        if future.cancelled():
            self._fail(id, CancelledError("the task was cancelled"))
        elif (error := future.exception()) is not None:
            self._fail(id, error)
        else:
            self._answer(id, future.result())

    def _cancel(self, message: Any) -> None:
        future = self._futures.get(message.id)
        if future is not None:
            future.cancel(running=True)
        else:
            self._messages.withdrawn(message.id)

    def _heard(self, message: Any) -> None:
        self._messages.heard(message)

    def _subscribe(self, message: Any) -> None:
        kind = message.event
        if kind not in self._subscriptions:
            self._subscriptions[kind] = self._common.pool().on(kind, self._happened)

    def _unsubscribe(self, message: Any) -> None:
        end = self._subscriptions.pop(message.event, None)
        if end is not None:
            end()

    def _happened(self, event: Event) -> None:
        fields = {name: value for name, value in event._asdict().items() if value is not None}
        if event.progress is not None:
            done, total, text = event.progress
            known = {} if total is None else {"total": total}
            fields["progress"] = {"done": done, "message": text, **known}
        _js.post(self._port, "event", event=fields)

    def _exec(self, message: Any) -> None:
        running = asyncio.get_running_loop().create_task(self._execute(message))
        self._background.add(running)
        running.add_done_callback(self._background.discard)

    async def _execute(self, message: Any) -> None:
        id = message.id
        _source.set((self, id))
        try:
            argv = _field(message, "argv", None)
            if argv is not None:
                sys.argv = argv.to_py()
            value = await run_source(message.source, message.filename, self._main)
        except BaseException as error:
            self._flush()
            self._fail(id, error)
        else:
            self._flush()
            self._answer(id, value)

    def _flush(self) -> None:
        for stream in self._common.streams:
            stream.flush()

    def _answer(self, id: int, value: Any) -> None:
        try:
            _js.reply(self._reply, id, value, self._view)
        except Exception as error:  # whatever converting raises, the page is told
            self._fail(id, error)

    def _fail(self, id: int, error: BaseException) -> None:
        _js.post(self._port, "error", id=id, **_described(error))


class Tab(Page):
    """The conversation with one of the tabs that share a hub."""

    def serve(self, message: Any) -> Any:
        return copy_context().run(self._serve, message)

    def _serve(self, message: Any) -> Any:
        _page_messages.here.set(self._messages)
        return super().serve(message)

    def leave(self) -> None:
        """The tab is gone: ends what it has begun."""
        self._common.pages.discard(self)
        for future in [*self._futures.values()]:
            future.cancel(running=True)
        for running in self._background:
            running.cancel()
        for end in self._subscriptions.values():
            end()
        self._subscriptions.clear()
        self._messages.gone()
        self._main = {}
        ended = asyncio.gather(*self._background, return_exceptions=True)
        ended.add_done_callback(lambda _: gc.collect())  # pools that nobody has any more end then


def _described(error: BaseException) -> dict[str, str]:
    """Returns what JavaScript is told of an exception."""
    text = str(error)
    if isinstance(error, SystemExit):
        text = str(error.code)
    trace = "".join(traceback.format_exception(_without_our_frames(error)))
    return {"name": type(error).__name__, "message": text, "pythonTraceback": trace}


def _without_our_frames(error: BaseException) -> BaseException:
    """Cuts the frames of this module off the traceback of what was executed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


def converse(port: Any, reply: Callable[..., object]) -> Page:
    """Starts the conversation; called by ``worker.mjs``, which gives the messages to the result."""
    common = _Common()
    sys.stdout, sys.stderr = common.streams
    page = Page(port, reply, common, sys.modules["__main__"].__dict__, PageTwins())
    common.pages.add(page)
    _page_messages.current = page._messages
    return page
