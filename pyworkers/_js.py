"""The boundary: the only module that imports JavaScript.

Owns the translation between Python and the shim: where the shim comes from, addresses in the
heap, buffers, promises, and a page's values. Knows nothing of frames or tasks. Importable on
CPython, where ``IN_PYODIDE`` is False and nothing else may be called.
"""

import ctypes
import re
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Final, NamedTuple

from pyworkers._shim_source import hub_script, worker_module
from pyworkers.errors import ModeError

IN_PYODIDE: Final = sys.platform == "emscripten"

if IN_PYODIDE:
    import js
    import pyodide_js
    from pyodide.code import run_js
    from pyodide.ffi import JsProxy, can_run_sync, create_proxy, run_sync, to_js


class _Broker(NamedTuple):
    broker: Any
    ready: Awaitable[None] | None


@cache
def _shim() -> Any:
    """Returns what hub.mjs offers: as ``worker.mjs`` registered it, or from our own copy."""
    try:
        import _pyworkers_shim  # noqa: PLC0415
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


def open_hub(mode: str, separate_broker: bool) -> Any:
    """Opens the shim's half of a hub.

    Args:
        mode: "shared" or "transfer".
        separate_broker: whether a broker that has to be made needs a thread of its own.
    """
    return _shim().Hub.new(pyodide_js, mode, _broker(separate_broker).broker)


def broker_ready(separate_broker: bool) -> Awaitable[None] | None:
    """Returns what to await before this thread may block; None if nothing."""
    return _broker(separate_broker).ready


def address(buffer: bytearray) -> int:
    """Returns where a buffer lies in the heap; it must not be resized afterwards."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def to_uint8array(data: bytes) -> Any:
    """Copies bytes into a new JavaScript array."""
    array = js.Uint8Array.new(len(data))
    array.assign(data)
    return array


def proxy(function: Callable[..., Any]) -> Any:
    """Returns a JavaScript function that lives until its ``destroy`` is called."""
    return create_proxy(function)


def can_block_by_jspi() -> bool:
    """Says whether Python was entered in a way that lets it wait for a promise, right now."""
    return IN_PYODIDE and can_run_sync()


def block_on(awaitable: Awaitable[Any]) -> Any:
    """Waits for an awaitable by switching stacks; other callbacks run meanwhile."""
    return run_sync(awaitable)


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
    import micropip  # noqa: PLC0415

    await micropip.install(packages)


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


def from_page(value: Any) -> Any:
    """Converts a structured clone: objects to dicts, arrays to lists, buffers to memoryviews.

    Raises:
        TypeError: something in it is no plain data; the message names its type.
    """
    return _plain(value.to_py() if isinstance(value, JsProxy) else value)


def _plain(value: Any) -> Any:
    """Converts what ``to_py`` leaves alone: null and ArrayBuffers."""
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    if not isinstance(value, JsProxy):
        return None if type(value).__name__ == "JsNull" else value
    kind = str(js.Object.prototype.toString.call(value))[len("[object ") : -1]
    if kind == "ArrayBuffer":
        return js.Uint8Array.new(value).to_py()
    raise TypeError(
        f"a JavaScript {kind} cannot be given to Python: use numbers, strings, arrays, plain "
        "objects, or typed arrays"
    )


def to_page(value: Any) -> Any:
    """Converts plain data: dicts to objects, sequences to arrays, buffers to typed arrays.

    Raises:
        TypeError: something in it is no plain data; the message names its type.
    """
    return to_js(_with_arrays(value), dict_converter=js.Object.fromEntries)


def _with_arrays(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str, JsProxy)):
        return value
    if isinstance(value, dict):
        return {str(key): _with_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_with_arrays(item) for item in value]
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


def buffers_of(value: Any) -> list[Any]:
    """Returns the ArrayBuffers of the typed arrays in a converted value, to be transferred."""
    if not isinstance(value, JsProxy):
        return []
    if js.ArrayBuffer.isView(value):
        return [value.buffer]
    if js.Array.isArray(value):
        return [buffer for item in value for buffer in buffers_of(item)]
    return [buffer for item in js.Object.values(value) for buffer in buffers_of(item)]


def post(port: Any, kind: str, value: Any = None, **fields: Any) -> None:
    """Posts a message; buffers in ``value`` are transferred, not copied."""
    message = _object(kind=kind, **fields)
    if kind == "result":
        converted = to_page(value)
        message.value = converted
        port.postMessage(message, to_js(buffers_of(converted)))
    else:
        port.postMessage(message)
