"""The boundary: the only module that imports JavaScript.

Owns the translation between Python and the shim: where the shim comes from, addresses in the
heap, buffers, promises, and a page's values. Knows nothing of frames or tasks. Importable on
CPython, where ``IN_PYODIDE`` is False and nothing else may be called.
"""

import asyncio
import ctypes
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Final, NamedTuple

from pyworkers._shim_source import hub_script, worker_module
from pyworkers.errors import BrokenWorkerPool, ModeError, ProtocolError

IN_PYODIDE: Final = sys.platform == "emscripten"

if IN_PYODIDE:
    import js
    import pyodide_js
    from pyodide.code import run_js
    from pyodide.ffi import JsException, JsProxy, can_run_sync, create_proxy, run_sync, to_js


class _Broker(NamedTuple):
    broker: Any
    ready: Awaitable[None] | None


@cache
def _shim() -> Any:
    """Returns what hub.mjs offers: as ``worker.mjs`` registered it, or from our own copy."""
    try:
        import _pyworkers_shim  # noqa: PLC0415 - not everywhere
    except ImportError:
        return run_js(hub_script())
    return _pyworkers_shim


@cache
def _broker(separate: bool) -> _Broker:
    shim = _shim()
    given = getattr(shim, "broker", None)
    if given is not None:
        return _Broker(given, None)
    started = shim.startBroker(_site(), _worker_url(), separate)
    return _Broker(started.broker, started.ready)


def _site() -> Any:
    """Describes where this Pyodide came from, so that workers are made of the same."""
    config = pyodide_js._api.config
    return _object(
        indexURL=_url(config.indexURL),
        packageBaseURL=_url(config.packageBaseUrl),
        lock=js.JSON.stringify(pyodide_js.lockfile),
    )


def _url(folder: str) -> str:
    """Returns a folder as a URL; in Node, Pyodide names it by its path."""
    return folder if ":/" in folder else f"file://{folder}"


def _worker_url() -> str:
    text = worker_module()
    if hasattr(js, "process"):
        return f"data:text/javascript,{js.encodeURIComponent(text)}"
    blob = js.Blob.new(to_js([text]), _object(type="text/javascript"))
    return str(js.URL.createObjectURL(blob))


def _object(**fields: Any) -> Any:
    return to_js(fields, dict_converter=js.Object.fromEntries)


def detect() -> dict[str, Any]:
    """Returns what the shim finds out about this thread."""
    found: dict[str, Any] = _shim().detect().to_py()
    return found


def boot_measures(measured: Any) -> tuple[list[tuple[str, float]], list[dict[str, Any]], str]:
    """Returns what the shim measured while this interpreter started.

    Returns:
        Phases, files, and why it was not made of a fork that there was; empty if it was, or if
        there was none.
    """
    unforked = str(getattr(measured, "unforked", None) or "")
    return measured.phases.to_py(), measured.files.to_py(), unforked


def own_boot() -> tuple[list[tuple[str, float]], list[dict[str, Any]], str] | None:
    """Returns the same of a hub; None where the shim did not start it."""
    measured = getattr(_shim(), "measured", None)
    return None if measured is None else boot_measures(measured)


def open_hub(mode: str, can_block: bool, separate_broker: bool, version: int) -> Any:
    """Opens the shim's half of a hub.

    Args:
        mode: "shared" or "transfer".
        can_block: whether this thread may wait in Atomics.wait.
        separate_broker: whether a broker that has to be made needs a thread of its own.
        version: of the protocol that Python speaks.

    Raises:
        ProtocolError: the shim speaks another one.
    """
    check_version(_shim().PROTOCOL_VERSION, version)
    return _shim().Hub.new(pyodide_js, mode, can_block, _broker(separate_broker).broker)


def check_version(shim: int, version: int) -> None:
    """Raises ProtocolError if the shim speaks another version of the protocol than Python."""
    if shim != version:
        raise ProtocolError(
            f"the JavaScript shim speaks protocol {shim}, the Python package {version}: they must "
            "come from one release of pyworkers; build the site again, or reload the page without "
            "its cache"
        )


def is_broker_ready(separate_broker: bool) -> bool:
    """Returns whether there is a broker that this thread may rely on while it is blocked."""
    return _broker(separate_broker).ready is None


async def broker_ready(separate_broker: bool) -> None:
    """Waits until this thread may block.

    Raises:
        BrokenWorkerPool: the broker did not start.
    """
    starting = _broker(separate_broker).ready
    if starting is None:
        return
    try:
        await starting
    except JsException as error:
        raise BrokenWorkerPool(str(error.message)) from None


def address(buffer: bytearray) -> int:
    """Returns where a buffer lies in the heap; it must not be resized afterwards."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def to_uint8array(data: bytes) -> Any:
    """Copies bytes into a new JavaScript array."""
    array = js.Uint8Array.new(len(data))
    array.assign(data)
    return array


def copied(view: Any, length: int, frozen: bool) -> bytes | bytearray:
    """Copies a JavaScript array of bytes: into a ``bytes`` if it shall be frozen."""
    if frozen:
        return bytes(view.to_bytes())
    target = bytearray(length)
    if length:
        view.assign_to(target)
    return target


def wait_for_word(words: Any, index: int, value: int, milliseconds: float) -> None:
    """Blocks as long as a word in shared memory has a value, or until the time is over."""
    js.Atomics.wait(words, index, value, milliseconds)


def notify_word(words: Any, index: int) -> None:
    """Wakes who waits for a word in shared memory."""
    js.Atomics.notify(words, index)


def proxy(function: Callable[..., Any]) -> Any:
    """Returns a JavaScript function that lives until its ``destroy`` is called."""
    return create_proxy(function)


def can_block_by_jspi() -> bool:
    """Says whether Python was entered in a way that lets it wait for a promise, right now."""
    return IN_PYODIDE and can_run_sync()


class _Waits:
    """Waits by switching stacks that are going on."""

    count = 0
    interrupted = False


def block_on(awaitable: Awaitable[Any]) -> Any:
    """Waits for an awaitable by switching stacks; other callbacks run meanwhile.

    Raises:
        KeyboardInterrupt: ``interrupt_wait`` was called meanwhile.
    """
    _Waits.count += 1
    try:
        result = run_sync(awaitable)
    finally:
        _Waits.count -= 1
    if _Waits.interrupted:
        _Waits.interrupted = False
        raise KeyboardInterrupt
    return result


def interrupt_wait() -> bool:
    """Has ``block_on`` raise KeyboardInterrupt at its end; returns False if nobody is in it.

    A signal whose handler raises may hit it where Pyodide converts values, and makes another error
    of whatever is raised there.
    """
    if not _Waits.count:
        return False
    _Waits.interrupted = True
    return True


def listen_for_stop(name: str, stop: Callable[[], object]) -> Callable[[], object]:
    """Has requests of a page to stop heard; returns what has the handler of SIGINT called soon.

    Args:
        name: of the BroadcastChannel on which they come.
        stop: called for one that comes while the event loop turns; any other is a SIGINT.
    """
    listening = _shim().listenForStop(pyodide_js, name, proxy(stop))
    if can_block_by_jspi():
        block_on(listening.ready)
    signal: Callable[[], object] = listening.signal
    return signal


def _is_installed(requirement: str) -> bool:
    name = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
    try:
        distribution(name)
    except (PackageNotFoundError, ValueError):
        return False
    return True


async def install(packages: list[str]) -> None:
    """Installs packages by name or URL, from the lock file or the package index.

    Raises:
        ModeError: this is CPython, and pip has to do it.
        Exception: micropip's own error, which names the package.
    """
    if not IN_PYODIDE:
        missing = [package for package in packages if not _is_installed(package)]
        if missing:
            raise ModeError(f"packages cannot be installed here: use pip for {', '.join(missing)}")
        return
    await pyodide_js.loadPackage("micropip", messageCallback=lambda _: None)
    import micropip  # noqa: PLC0415 - it was loaded just now

    await micropip.install(packages)


@cache
def route_executors(kind: type[Executor]) -> None:
    """Has Pyodide's event loop give functions to executors of a kind; CPython's does so.

    Without it, ``run_in_executor`` ignores the executor and calls the function where it is. What
    it does with other executors, and with None, stays as it is.
    """
    if not IN_PYODIDE:
        return
    from pyodide.webloop import WebLoop  # noqa: PLC0415 - only in Pyodide

    in_place = WebLoop.run_in_executor

    def run_in_executor(loop: Any, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        if isinstance(executor, kind):
            return asyncio.wrap_future(executor.submit(func, *args), loop=loop)
        return in_place(loop, executor, func, *args)

    WebLoop.run_in_executor = run_in_executor


_ARRAYS: Final = {
    "?": "Uint8Array",
    "c": "Uint8Array",
    "b": "Int8Array",
    "B": "Uint8Array",
    "h": "Int16Array",
    "H": "Uint16Array",
    "i": "Int32Array",
    "l": "Int32Array",
    "I": "Uint32Array",
    "L": "Uint32Array",
    "q": "BigInt64Array",
    "Q": "BigUint64Array",
    "f": "Float32Array",
    "d": "Float64Array",
}


def from_page(value: Any, shared: Callable[[Any], Any]) -> Any:
    """Converts a structured clone: objects to dicts, arrays to lists, buffers to memoryviews.

    Args:
        value: what the page sent.
        shared: finds what a view of shared memory or a twin stands for, by a ``Shared`` or ``Twin``
            of ``js_shim/lending.mjs``.

    Raises:
        TypeError: something in it is no plain data; the message names its type.
    """
    return _plain(value.to_py() if isinstance(value, JsProxy) else value, shared)


def _plain(value: Any, shared: Callable[[Any], Any]) -> Any:
    """Converts what ``to_py`` leaves alone: null, ArrayBuffers, and views of shared memory."""
    if type(value) is list:
        return [_plain(item, shared) for item in value]
    if type(value) is dict:
        return {key: _plain(item, shared) for key, item in value.items()}
    if not isinstance(value, JsProxy):
        return None if type(value).__name__ == "JsNull" else value
    kind = str(js.Object.prototype.toString.call(value))[len("[object ") : -1]
    if kind in ("Shared", "Twin"):
        return shared(value)
    if kind == "ArrayBuffer":
        return js.Uint8Array.new(value).to_py()
    raise TypeError(
        f"a JavaScript {kind} cannot be given to Python: use numbers, strings, arrays, plain "
        "objects, or typed arrays"
    )


def to_page(value: Any, shared: Callable[[Any], Any]) -> Any:
    """Converts plain data: dicts to objects, sequences to arrays, buffers to typed arrays.

    Args:
        value: what the page shall get.
        shared: returns what stands for a value that is no plain data; None if nothing does.

    Raises:
        TypeError: something in it is no plain data; the message names its type.
    """
    return to_js(_with_arrays(value, shared), dict_converter=js.Object.fromEntries)


def _with_arrays(value: Any, shared: Callable[[Any], Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str, JsProxy)):
        return value
    if isinstance(value, dict):
        return {str(key): _with_arrays(item, shared) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_with_arrays(item, shared) for item in value]
    view = shared(value)
    if view is not None:
        return view
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"a {type(value).__name__} cannot be given to JavaScript: return numbers, strings, "
            "lists, dicts, or buffers such as bytes and array"
        ) from None
    kind = _ARRAYS.get(view.format.lstrip("@=<"))
    if kind is None:
        raise TypeError(f"a buffer of format {view.format!r} has no typed array in JavaScript")
    array = getattr(js, kind).new(view.nbytes // view.itemsize)
    native = view.format in _ARRAYS and view.c_contiguous and view.nbytes
    js.Uint8Array.new(array.buffer).assign(view.cast("B") if native else view.tobytes())
    return array


def twin(id: int, kind: str, state: list[Any]) -> Any:
    """Returns what a page makes a twin of an object from, by ``js_shim/twins.mjs``."""
    return _shim().Twin.new(id, kind, to_js(state))


def abort_controller() -> Any:
    """Returns a new AbortController."""
    return js.AbortController.new()


def buffers_of(value: Any) -> list[Any]:
    """Returns the ArrayBuffers of the typed arrays in a converted value, to be transferred."""
    if not isinstance(value, JsProxy):
        return []
    if js.ArrayBuffer.isView(value):
        return [value.buffer] if value.buffer.constructor.name == "ArrayBuffer" else []
    if js.Array.isArray(value):
        return [buffer for item in value for buffer in buffers_of(item)]
    return [buffer for item in js.Object.values(value) for buffer in buffers_of(item)]


def listen(port: Any, heard: Callable[[str, Any], object]) -> Callable[[], None]:
    """Has a function called with kind and entries of each message of a port.

    Returns:
        What ends it.
    """

    def own(event: Any) -> None:
        kind = getattr(event.data, "kind", None)
        entries = getattr(event.data, "entries", None)
        if kind in ("hello", "entries") and entries is not None:
            heard(kind, from_page(entries, lambda _: None))

    listener = create_proxy(own)
    port.addEventListener("message", listener)
    port.start()

    def end() -> None:
        port.removeEventListener("message", listener)
        listener.destroy()

    return end


def post(port: Any, kind: str, **fields: Any) -> None:
    """Posts a message."""
    port.postMessage(_object(kind=kind, **fields))


def reply(answer: Callable[..., object], id: int, value: Any, shared: Callable[[Any], Any]) -> None:
    """Answers with plain data; buffers in it are transferred, not copied.

    Args:
        answer: posts to the page.
        id: of what is answered.
        value: the answer.
        shared: as for ``to_page``.

    Raises:
        TypeError: something in it is no plain data; the message names its type.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        answer(id, value)
    else:
        reply_converted(answer, id, to_page(value, shared))


def reply_converted(answer: Callable[..., object], id: int, value: Any) -> None:
    """Answers with what ``to_page`` returned."""
    answer(id, value, to_js(buffers_of(value)))
