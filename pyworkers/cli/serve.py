"""The development server: static files with the headers that make a page cross-origin isolated.

Owns the response headers, the choice among precompressed files and the life of the server. Files,
ranges and validators are Starlette's, sockets and HTTP uvicorn's. Knows nothing of workers or
Pyodide beyond the types of their files.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import stat
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

import click
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Message, Receive, Scope, Send

Isolation: TypeAlias = Literal["require-corp", "credentialless", "off"]

_ISOLATION_NAMES: dict[Isolation, str] = {
    "require-corp": "cross-origin isolated",
    "credentialless": "cross-origin isolated, credentialless",
    "off": "not isolated",
}

# Not the mimetypes module: it reads the system's registry, and a module script or a streamed
# WebAssembly instantiation fails outright on a type that is only nearly right.
_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".ipynb": "application/json",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".toml": "application/toml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".whl": "application/zip",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
    ".zip": "application/zip",
}

_CONTENT_HASH = re.compile(r"(?:^|[.-])[0-9a-fA-F]{16,}(?=[.-]|$)")
_IMMUTABLE = "public, max-age=31536000, immutable"

_SUFFIXES = {"br": ".br", "gzip": ".gz"}  # the better one first
# One element of Accept-Encoding: RFC 9110, 12.4.2 and 12.5.3.
_CODING = re.compile(r"\s*([^\s;,]+)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?")

_START_SECONDS = 30
_LOOK_SECONDS = 0.05
_LAST_TURNS = 5
"""Of the event loop, in which a connection that was accepted is made."""


def create_app(directory: str | os.PathLike[str], *, isolation: Isolation) -> Starlette:
    """Make the ASGI application that serves a directory.

    Arguments:
        directory: what is served; its dotfiles, and links that lead out of it, are not.
        isolation: the value of Cross-Origin-Embedder-Policy, "off" for neither it nor
            Cross-Origin-Opener-Policy.

    Raises RuntimeError when there is no such directory.
    """
    return _Site(directory, isolation)


@contextlib.contextmanager
def serving(
    directory: str | os.PathLike[str],
    *,
    isolation: Isolation = "require-corp",
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serve a directory from a background thread for as long as the block runs.

    Arguments:
        directory, isolation: see `create_app`.
        host: the name or address to listen on.
        port: 0 for any free one.

    Yields the base URL, without a slash at its end. Downloads still open at the end of the block
    are cut off. Raises RuntimeError when there is no such directory, OSError when the address
    cannot be had.
    """
    app = create_app(directory, isolation=isolation)
    started = threading.Event()
    with _listen(host, port) as listener:
        server = _Server(app, started.set)
        thread = threading.Thread(
            target=server.run, args=([listener],), name="pyworkers-serve", daemon=True
        )
        thread.start()
        try:
            if not started.wait(_START_SECONDS):
                raise RuntimeError(f"the server did not start within {_START_SECONDS} s")
            yield _base_url(host, listener)
        finally:
            server.should_exit = True
            thread.join()


@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=".")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--no-isolation",
    "isolation",
    flag_value="off",
    help="Do not isolate pages: they get no SharedArrayBuffer.",
)
@click.option(
    "--credentialless",
    "isolation",
    flag_value="credentialless",
    help="Isolate pages, and let them load from other origins without cookies.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the web browser.")
def serve(
    directory: Path, host: str, port: int, isolation: Isolation | None, open_browser: bool
) -> None:
    """Serve DIR to cross-origin isolated pages.

    DIR is the current directory by default. Ctrl-C ends the server.
    """
    if not directory.is_dir():
        raise _NoDirectoryError(f"there is no directory {str(directory)!r}")
    isolation = isolation or "require-corp"
    app = create_app(directory, isolation=isolation)
    try:
        listener = _listen(host, port)
    except OSError as error:
        raise click.ClickException(_why_not_listening(error, host, port)) from error
    url = f"{_base_url(host, listener)}/"

    def announce() -> None:
        click.echo(f"Serving {directory.resolve()} at {url} ({_ISOLATION_NAMES[isolation]})")
        if open_browser:
            # A text browser holds its caller until it is closed.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    server = _Server(app, announce)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal that ended it once more, for whoever handled it before.
        signal.signal(number, server.handle_exit)
    with listener:
        server.run(sockets=[listener])


class _NoDirectoryError(click.ClickException):
    """A mistake in the command line that one line explains; click adds three to a UsageError."""

    exit_code = 2


class _Site(Starlette):
    """The application: `_Files`, and its headers on every response, failures included."""

    def __init__(self, directory: str | os.PathLike[str], isolation: Isolation) -> None:
        super().__init__(routes=[Mount("/", _Files(directory=directory))])
        # Pages of other origins may use what is here, isolated ones among them. The headers do not
        # depend on the request's Origin: a cached response must serve both kinds of request.
        self._headers = {
            "cross-origin-resource-policy": "cross-origin",
            "access-control-allow-origin": "*",
        }
        if isolation != "off":
            self._headers["cross-origin-opener-policy"] = "same-origin"
            self._headers["cross-origin-embedder-policy"] = isolation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        await super().__call__(scope, receive, send_with_headers)


class _Files(StaticFiles):
    """StaticFiles that hides dotfiles, knows its types and sends precompressed siblings."""

    def __init__(self, *, directory: str | os.PathLike[str]) -> None:
        super().__init__(directory=directory)
        self._root = os.fspath(directory)

    def get_path(self, scope: Scope) -> str:
        for part in scope["path"].split("/"):
            if part.startswith(".") or "\\" in part or "\0" in part:
                raise HTTPException(404)
        return super().get_path(scope)

    async def get_response(self, path: str, scope: Scope) -> Response:
        index = os.path.join(path, "index.html")
        if scope["path"].endswith("/"):
            return await super().get_response(index, scope)
        if self.lookup_path(index)[1] is not None:
            # Relative, so that it survives proxies and says nothing about the host's name.
            query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
            name = scope["path"].rpartition("/")[2]
            return RedirectResponse(f"./{quote(name)}/{query}")
        return await super().get_response(path, scope)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Find what a path names, "" and None when it is not there or not to be read.

        The result bears the name that was asked for, even where that is a link: the name decides
        on the type and the siblings.
        """
        try:
            _, found = super().lookup_path(path)
        except (OSError, ValueError):
            return "", None
        full_path = os.path.join(self._root, path)
        if found is None or not os.access(full_path, os.R_OK):
            return "", None
        return full_path, found

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        request = Headers(scope=scope)
        name = os.path.basename(full_path)
        headers = {
            "cache-control": _IMMUTABLE if _CONTENT_HASH.search(name) else "no-cache",
            "vary": "Accept-Encoding",
        }
        body_path, body_stat = os.fspath(full_path), stat_result
        for coding in _accepted_codings(request):
            sibling, found = self.lookup_path(
                os.path.relpath(full_path, self._root) + _SUFFIXES[coding]
            )
            # One older than its file was left behind by an edit.
            if (
                found is not None
                and stat.S_ISREG(found.st_mode)
                and found.st_mtime_ns >= stat_result.st_mtime_ns
            ):
                body_path, body_stat = sibling, found
                headers["content-encoding"] = coding
                break
        headers["etag"] = _etag(body_stat, headers.get("content-encoding", "identity"))
        response = FileResponse(
            body_path,
            status_code,
            headers,
            media_type=_TYPES.get(Path(name).suffix.lower(), "application/octet-stream"),
            stat_result=body_stat,
        )
        if self.is_not_modified(response.headers, request):
            return NotModifiedResponse(response.headers)
        return response


class _Server(uvicorn.Server):
    """A uvicorn server that reports when it listens, and ends without waiting for its clients."""

    def __init__(self, app: Starlette, on_listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app, http="h11", ws="none", lifespan="off", log_config=None, log_level="warning"
            )
        )
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._accept_no_more()
        ending = asyncio.ensure_future(super().shutdown(sockets))
        # Again and again, for where more were accepted all the same.
        while not ending.done():
            for connection in self.server_state.connections:
                connection.transport.abort()
            await asyncio.wait([ending], timeout=_LOOK_SECONDS)
        await ending

    async def _accept_no_more(self) -> None:
        """Has asyncio finish what it is accepting, which it would lose when the server closes."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # of the event loop of Windows
            for server in self.servers:
                for listener in server.sockets:
                    loop.remove_reader(listener.fileno())
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)


def _accepted_codings(request: Headers) -> list[str]:
    """The codings of `_SUFFIXES` that a request prefers to none, best first.

    None for a request with a Range: ranges are ranges of the plain file.
    """
    if "range" in request:
        return []
    weights: dict[str, float] = {}
    for element in ",".join(request.getlist("accept-encoding")).lower().split(","):
        if match := _CODING.fullmatch(element):
            weights[match[1]] = float(match[2] or 1)
    wanted = {coding: weights.get(coding, weights.get("*", 0)) for coding in _SUFFIXES}
    least = weights.get("identity", 0)
    return sorted(
        (coding for coding, weight in wanted.items() if weight > 0 and weight >= least),
        key=lambda coding: -wanted[coding],
    )


def _etag(found: os.stat_result, coding: str) -> str:
    # The change time as well: tools that restore the modification time cannot restore it.
    return f'"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}-{found.st_size:x}-{coding}"'


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _base_url(host: str, listener: socket.socket) -> str:
    """The URL to reach a listener by, which for "every address" is this machine's own.

    Only there, and not at 0.0.0.0, does a browser isolate a page that comes by plain HTTP.
    """
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = listener.getsockname()[1]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _why_not_listening(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use; end the program that uses it, "
            "or take another with --port (0 for any free one)"
        )
    return f"cannot listen on port {port} of {host}: {error.strerror}"
