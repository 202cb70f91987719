"""A client of the development server, and what its answers bear."""

import contextlib
import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHECKOUT = Path(__file__).parents[3]
PLAIN = b"let plain = 1;\n" * 100
IMMUTABLE = "public, max-age=31536000, immutable"
ISOLATED = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
}
SHARED = {"cross-origin-resource-policy": "cross-origin", "access-control-allow-origin": "*"}

needs_symlinks = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


class Answer:
    """A response that has been read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


class Client:
    """Sends one request per connection, its target unchanged, to a base URL."""

    def __init__(self, base_url: str) -> None:
        self.address = urlsplit(base_url).netloc

    def __call__(self, target: str, method: str = "GET", **headers: str) -> Answer:
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            return Answer(connection.getresponse())


def make_big(directory: Path) -> Path:
    """Put a file into the directory that fills every buffer between two sockets."""
    with (directory / "big").open("wb") as file:
        file.truncate(1 << 28)
    return directory


@contextlib.contextmanager
def reading(base_url: str, target: str) -> Iterator[None]:
    """Hold a keep-alive connection whose response has been read up to its first bytes."""
    address = urlsplit(base_url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(12).startswith(b"HTTP/1.1")
        yield
