"""What the development server answers, over real sockets."""

import contextlib
import os
import socket
import threading
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pyworkers.cli.serve import Isolation, create_app, serving
from tests.unit.server.tools import (
    IMMUTABLE,
    ISOLATED,
    PLAIN,
    SHARED,
    Client,
    make_big,
    needs_symlinks,
    reading,
)

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("isolation", "expected"),
    [
        ("require-corp", ISOLATED),
        ("credentialless", ISOLATED | {"cross-origin-embedder-policy": "credentialless"}),
        ("off", {}),
    ],
)
def test_every_response_bears_the_headers_of_its_isolation(
    site: Path, isolation: Isolation, expected: dict[str, str]
) -> None:
    """E-07"""
    with serving(site, isolation=isolation) as base_url:
        get = Client(base_url)
        answers = {
            200: get("/"),
            206: get("/both.js", Range="bytes=0-1"),
            304: get("/", If_None_Match="*"),
            307: get("/sub%20dir%3F"),
            400: get("/both.js", Range="bytes=x"),
            404: get("/missing"),
            405: get("/", method="POST"),
            416: get("/both.js", Range="bytes=999999-"),
        }
    for status, answer in answers.items():
        assert answer.status == status
        policies = {
            name: value
            for name, value in answer.headers.items()
            if name.startswith(("cross-origin-", "access-control-"))
        }
        assert policies == SHARED | expected, status


def test_an_error_of_the_server_itself_bears_the_headers(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-07"""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pyworkers.cli.serve._etag", fail)
    with serving(site) as base_url:
        answer = Client(base_url)("/")
    assert answer.status == 500
    assert (ISOLATED | SHARED).items() <= answer.headers.items()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.JS", "text/javascript; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.py", "text/x-python; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.js.map", "application/json"),
        ("a.wasm", "application/wasm"),
        ("a-1.0-py3-none-any.whl", "application/zip"),
        ("a.zip", "application/zip"),
        ("a.js.gz", "application/gzip"),
        ("a.js.br", "application/octet-stream"),
        ("a.ts", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_type_depends_on_the_name_alone(tmp_path: Path, name: str, content_type: str) -> None:
    """E-07"""
    (tmp_path / name).write_bytes(b"x")
    with serving(tmp_path) as base_url:
        answer = Client(base_url)(f"/{name}", Accept_Encoding="br, gzip")
    assert (answer.status, answer.body) == (200, b"x")
    assert answer.headers["content-type"] == content_type
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("br, gzip", "br"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("gzip ; q=0.5 , br ; q=0.8", "br"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0, gzip;q=0.000", None),
        ("*", "br"),
        ("*, br;q=0", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("deflate, zstd", None),
        ("br;q=2", None),
        ("br;q=", None),
        (",;,", None),
        ("", None),
    ],
)
def test_the_precompressed_sibling_that_the_client_prefers_is_sent(
    get: Client, accepted: str, coding: str | None
) -> None:
    """E-07"""
    answer = get("/both.js", Accept_Encoding=accepted)
    assert answer.headers.get("content-encoding") == coding
    assert answer.body == {"br": b"brotli", "gzip": b"gzip", None: PLAIN}[coding]
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/only-gz.js", b"gzip"),
        ("/stale.js", PLAIN),
        ("/folder.js", PLAIN),
        ("/linked.js", PLAIN),
        ("/both.js.br", b"brotli"),
    ],
)
def test_a_sibling_is_sent_only_if_it_is_a_file_as_new_and_inside(
    get: Client, target: str, body: bytes
) -> None:
    answer = get(target, Accept_Encoding="br, gzip")
    assert (answer.status, answer.body) == (200, body)


def test_a_range_is_a_range_of_the_plain_file(get: Client) -> None:
    """E-07"""
    answer = get("/both.js", Range="bytes=4-8", Accept_Encoding="br, gzip")
    assert (answer.status, answer.body) == (206, b"plain")
    assert answer.headers["content-range"] == f"bytes 4-8/{len(PLAIN)}"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-2", 206, PLAIN[:3]),
        ("bytes=-5", 206, PLAIN[-5:]),
        ("bytes=1490-", 206, PLAIN[1490:]),
        ("bytes=1490-9999", 206, PLAIN[1490:]),
        ("bytes=1500-", 416, b""),
        ("bytes=9999-", 416, b""),
    ],
)
def test_ranges(get: Client, asked: str, status: int, body: bytes) -> None:
    answer = get("/both.js", Range=asked)
    assert (answer.status, answer.body) == (status, body)
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(PLAIN)}"


def test_several_ranges_come_as_one_multipart_body(get: Client) -> None:
    answer = get("/both.js", Range="bytes=0-2,4-8")
    assert answer.status == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert b"\r\n\r\nlet\r\n" in answer.body
    assert b"\r\n\r\nplain\r\n" in answer.body


def test_a_range_of_a_file_that_has_changed_is_the_whole_file(get: Client) -> None:
    answer = get("/both.js", Range="bytes=0-2", If_Range='"other"', Accept_Encoding="br")
    assert (answer.status, answer.body) == (200, PLAIN)


@pytest.mark.parametrize("target", ["/", "/both.js", "/empty", "/missing"])
def test_head_is_get_without_a_body(get: Client, target: str) -> None:
    head, whole = get(target, method="HEAD"), get(target)
    del head.headers["date"], whole.headers["date"]
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")


@pytest.mark.parametrize("accepted", ["br", "gzip", "identity"])
def test_a_representation_the_client_holds_is_not_sent_again(get: Client, accepted: str) -> None:
    """E-07"""
    first = get("/both.js", Accept_Encoding=accepted)
    etag = first.headers["etag"]
    again = get("/both.js", Accept_Encoding=accepted, If_None_Match=f'"other", {etag}')
    assert (again.status, again.body) == (304, b"")
    for name in ("etag", "vary", "cache-control"):
        assert again.headers[name] == first.headers[name]
    since = get("/both.js", If_Modified_Since=first.headers["last-modified"])
    assert since.status == 304


def test_representations_have_different_strong_etags(get: Client) -> None:
    etags = {
        get("/both.js", Accept_Encoding=accepted).headers["etag"]
        for accepted in ("br", "gzip", "identity")
    }
    assert len(etags) == 3
    assert all(etag.startswith('"') for etag in etags)


def test_an_etag_tells_contents_of_the_same_size_and_date_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.js"
    with serving(tmp_path) as base_url:
        get = Client(base_url)
        answers = []
        for text in ("1", "2"):
            file.write_text(text)
            os.utime(file, (1e9, 1e9))
            answers.append(get("/a.js"))
    assert [answer.headers["last-modified"] for answer in answers] == [
        formatdate(1e9, usegmt=True)
    ] * 2
    assert answers[0].headers["etag"] != answers[1].headers["etag"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("snapshot.3f9a0123456789c1.bin", IMMUTABLE),
        ("app-3F9A0123456789C1.js", IMMUTABLE),
        ("3f9a0123456789c1.bin", IMMUTABLE),
        ("core.3f9a0123456789c1", IMMUTABLE),
        ("core-3f9a0123456789c1-py3.whl", IMMUTABLE),
        ("snapshot.3f9a0123456789c.bin", "no-cache"),
        ("snapshot_3f9a0123456789c1.bin", "no-cache"),
        ("snapshot.3f9a0123456789c1g.bin", "no-cache"),
        ("plain.js", "no-cache"),
    ],
)
def test_only_what_is_named_by_its_content_is_kept_for_good(
    tmp_path: Path, name: str, expected: str
) -> None:
    """E-07"""
    (tmp_path / name).touch()
    with serving(tmp_path) as base_url:
        get = Client(base_url)
        found, head = get(f"/{name}"), get(f"/{name}", method="HEAD")
        (tmp_path / name).unlink()
        missing = get(f"/{name}")
    assert found.headers["cache-control"] == head.headers["cache-control"] == expected
    assert (missing.status, missing.headers["cache-control"]) == (404, "no-cache")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/sub%20dir%3F", "./sub%20dir%3F/"),
        ("/sub%20dir%3F?a=1&b=%20", "./sub%20dir%3F/?a=1&b=%20"),
        ("//sub%20dir%3F", "./sub%20dir%3F/"),
    ],
)
def test_a_directory_is_sent_to_its_slash(get: Client, target: str, location: str) -> None:
    answer = get(target)
    assert (answer.status, answer.headers["location"]) == (307, location)


@pytest.mark.parametrize(
    ("target", "body"), [("/", b"<p>home"), ("/?x", b"<p>home"), ("/sub%20dir%3F/", b"<p>sub")]
)
def test_a_directory_is_its_index(get: Client, target: str, body: bytes) -> None:
    answer = get(target)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "target",
    [
        "/missing",
        "/no%20index",
        "/no%20index/",
        "/both.js/",
        "/both.js/more",
        "/.env",
        "/.git/config",
        "/%2eenv",
        "/../secret.txt",
        "/./index.html",
        "/links/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/%252e%252e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%5csecret.txt",
        "/links%5c..%5cindex.html",
        "/..%c0%afsecret.txt",
        "/index.html%00",
        "/index.html%00.txt",
        "/%00",
        "/%ff",
        "/%0a",
        "/" + "x" * 5000,
        "http://localhost/index.html",
    ],
)
def test_what_is_not_to_be_served_is_not_found(get: Client, target: str) -> None:
    """E-07"""
    answer = get(target, Accept_Encoding="br, gzip")
    assert (answer.status, answer.body) == (404, b"Not Found")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_an_absolute_path_stays_below_the_directory(get: Client, site: Path) -> None:
    for target in (f"/{site.parent}/secret.txt", f"//{site.parent}/secret.txt"):
        assert get(target).status == 404


@needs_symlinks
def test_a_link_is_followed_inside_the_directory_only(get: Client) -> None:
    """E-07"""
    inside = get("/links/inside.mjs")
    assert (inside.status, inside.body) == (200, PLAIN)
    assert inside.headers["content-type"] == "text/javascript; charset=utf-8"
    for target in ("/links/outside.txt", "/links/out/secret.txt", "/links/out", "/links/loop"):
        assert get(target).status == 404, target


@needs_symlinks
def test_a_directory_may_be_served_by_a_link_to_it(site: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site)
    with serving(tmp_path / "link") as base_url:
        assert Client(base_url)("/").body == b"<p>home"


def test_what_the_server_may_not_read_is_not_found(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with serving(site) as base_url:
        assert Client(base_url)("/both.js").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(get: Client, method: str) -> None:
    answer = get("/both.js", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_port_is_free_again_after_serving(site: Path) -> None:
    with serving(site) as base_url:
        port = urlsplit(base_url).port
        assert port is not None
        with pytest.raises(OSError, match="in use"), serving(site, port=port):
            pass
    with serving(site, port=port) as again:
        assert again == base_url
        assert Client(again)("/").status == 200


def test_serving_ends_without_waiting_for_its_clients(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack, serving(make_big(tmp_path)) as base_url:
        for target in ("/", "/big"):
            stack.enter_context(reading(base_url, target))


def test_serving_ends_while_clients_go_on_to_connect(tmp_path: Path) -> None:
    """E-07: one that connects at the end is cut off like those that were there."""
    clients: list[socket.socket] = []

    def connect(address: tuple[str, int], many: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while len(clients) < 800:
                clients.append(socket.create_connection(address, timeout=10))
                if len(clients) == 20:
                    many.set()

    many = threading.Event()
    with contextlib.ExitStack() as stack:
        with serving(tmp_path) as base_url:
            url = urlsplit(base_url)
            assert url.hostname
            assert url.port
            connecting = threading.Thread(target=connect, args=((url.hostname, url.port), many))
            connecting.start()
            assert many.wait(10)
        connecting.join()
        for client in clients:
            stack.enter_context(client)


def test_a_missing_directory_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not exist"):
        create_app(tmp_path / "missing", isolation="off")
