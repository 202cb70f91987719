"""An ordinary host for static files: without headers of its own, slow if need be, and soon gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


class Handler(SimpleHTTPRequestHandler):
    """An ordinary host: files and their types, and the headers that its server was given."""

    server: Server

    def do_GET(self) -> None:
        if self.path.endswith(".html"):
            # With a 304 the browser would go on using the headers of an earlier answer.
            del self.headers["If-Modified-Since"]
        super().do_GET()

    def guess_type(self, path: str | PathLike[str]) -> str:
        is_script = str(path).endswith((".js", ".mjs"))
        return "text/javascript" if is_script else super().guess_type(path)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if not self.server.rate:
            super().copyfile(source, outputfile)
            return
        while piece := source.read(self.server.rate // 20):
            sleep(0.05)
            outputfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:
        self.server.asked.append(self.path)


class Server(ThreadingHTTPServer):
    headers: dict[str, str]
    asked: list[str]
    rate: int


class Host:
    """A site on a host.

    Attributes:
        site: its folder.
        url: without a slash at the end; the same after the host was gone.
        asked: the paths that browsers have asked for.
    """

    def __init__(self, site: Path) -> None:
        self.site = site
        self.asked: list[str] = []
        self._port = 0

    def write(self, html: str) -> None:
        """Makes ``page.html`` of that."""
        (self.site / "page.html").write_text(
            f"<!doctype html><meta charset=utf-8><link rel=icon href=data:,>{html}"
        )

    @contextmanager
    def up(self, headers: dict[str, str] | None = None, rate: int = 0) -> Iterator[str]:
        """Serves the site for as long as the block runs.

        Args:
            headers: of each answer.
            rate: bytes per second of each answer; 0 for as many as there can be.
        """
        server = Server(("127.0.0.1", self._port), partial(Handler, directory=str(self.site)))
        server.daemon_threads = True
        server.headers = headers or {}
        server.asked = self.asked
        server.rate = rate
        self._port = server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
