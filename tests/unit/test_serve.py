"""The development server, over real sockets, and its command, in real processes."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pyworkers import __version__
from pyworkers.cli.serve import Isolation, create_app, serving

pytestmark = pytest.mark.timeout(60)

CHECKOUT = Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files, with a secret beside it."""
    root = tmp_path_factory.mktemp("served")
    (root / "secret.txt").write_text("secret")
    site = root / "site"
    for folder in (".git", "sub dir?", "no index", "links"):
        (site / folder).mkdir(parents=True)
    (site / "index.html").write_text("<p>home")
    (site / "sub dir?" / "index.html").write_text("<p>sub")
    (site / ".git" / "config").write_text("secret")
    (site / ".env").write_text("secret")
    (site / "empty").touch()
    for name in ("both.js", "only-gz.js", "stale.js", "folder.js", "linked.js"):
        (site / name).write_bytes(PLAIN)
    (site / "both.js.br").write_bytes(b"brotli")
    (site / "both.js.gz").write_bytes(b"gzip")
    (site / "only-gz.js.gz").write_bytes(b"gzip")
    (site / "stale.js.br").write_bytes(b"brotli")
    before = (site / "stale.js").stat().st_mtime - 10
    os.utime(site / "stale.js.br", (before, before))
    (site / "folder.js.br").mkdir()
    if sys.platform != "win32":
        (site / "links" / "inside.mjs").symlink_to(site / "both.js")
        (site / "links" / "outside.txt").symlink_to(root / "secret.txt")
        (site / "links" / "out").symlink_to(root)
        (site / "links" / "loop").symlink_to(site / "links" / "loop")
        (site / "linked.js.br").symlink_to(root / "secret.txt")
    return site


@pytest.fixture(scope="module")
def get(site: Path) -> Iterator[Client]:
    with serving(site) as base_url:
        yield Client(base_url)


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


def test_a_missing_directory_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not exist"):
        create_app(tmp_path / "missing", isolation="off")


# The command


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


@contextlib.contextmanager
def command(*arguments: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python with arguments, in the checkout; killed if it is still there at the end."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=CHECKOUT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def outcome(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that ends by itself."""
    with command(*arguments) as process:
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


def ready_url(process: subprocess.Popen[str], directory: Path, mode: str) -> str:
    """Wait for the ready line, check it, and return the URL it names."""
    assert process.stdout is not None
    line = process.stdout.readline()
    start, end = f"Serving {directory.resolve()} at ", f"/ ({mode})\n"
    assert line.startswith(start), line
    assert line.endswith(end), line
    return line.removeprefix(start).removesuffix(end)


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [("-m", "pyworkers", "serve"), ("serve.py",)])
def test_a_signal_ends_the_server_cleanly_in_the_middle_of_a_download(
    tmp_path: Path, program: tuple[str, ...], number: signal.Signals
) -> None:
    """E-07"""
    make_big(tmp_path)
    with command(*program, tmp_path, "--port", 0) as process, contextlib.ExitStack() as stack:
        base_url = ready_url(process, tmp_path, "cross-origin isolated")
        for target in ("/", "/big"):
            stack.enter_context(reading(base_url, target))
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")


@posix_only
def test_a_signal_that_follows_the_ready_line_at_once_is_not_lost(tmp_path: Path) -> None:
    with command("-m", "pyworkers", "serve", tmp_path, "--port", 0) as process:
        ready_url(process, tmp_path, "cross-origin isolated")
        process.terminate()
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("options", "mode", "policy"),
    [
        ([], "cross-origin isolated", "require-corp"),
        (["--credentialless"], "cross-origin isolated, credentialless", "credentialless"),
        (["--no-isolation"], "not isolated", None),
    ],
)
def test_the_options_choose_the_isolation(
    site: Path, options: list[str], mode: str, policy: str | None
) -> None:
    """E-07"""
    with command("-m", "pyworkers", "serve", site, "--port", 0, *options) as process:
        answer = Client(ready_url(process, site, mode))("/")
    assert answer.headers.get("cross-origin-embedder-policy") == policy


def test_the_current_directory_is_the_default() -> None:
    with command("serve.py", "--port", 0) as process:
        base_url = ready_url(process, CHECKOUT, "cross-origin isolated")
        assert Client(base_url)("/serve.py").body == (CHECKOUT / "serve.py").read_bytes()


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")]
)
def test_the_url_shown_can_be_opened_on_this_machine(site: Path, host: str, shown: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    with serving(site, host=host) as base_url:
        assert base_url.startswith(f"http://{shown}:")
        assert Client(base_url)("/").status == 200


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_port_in_use_is_one_line(site: Path) -> None:
    """E-07"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = outcome("-m", "pyworkers", "serve", site, "--port", port)
    assert (code, out) == (1, "")
    assert err == (
        f"Error: port {port} on 127.0.0.1 is in use; end the program that uses it, "
        "or take another with --port (0 for any free one)\n"
    )


def test_an_address_that_cannot_be_had_is_one_line(site: Path) -> None:
    code, out, err = outcome("-m", "pyworkers", "serve", site, "--host", "192.0.2.1")
    assert (code, out) == (1, "")
    assert err.startswith("Error: cannot listen on port 8000 of 192.0.2.1: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_directory_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    """E-07"""
    (tmp_path / "file").touch()
    code, out, err = outcome("-m", "pyworkers", "serve", tmp_path / name)
    assert (code, out) == (2, "")
    assert err == f"Error: there is no directory {str(tmp_path / name)!r}\n"


@posix_only
def test_open_shows_the_page_in_the_browser(site: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    browser = tmp_path / "browser.py"
    browser.write_text(f"import sys\nwith open({str(pipe)!r}, 'w') as f: f.write(sys.argv[1])\n")
    arguments = ("-m", "pyworkers", "serve", site, "--port", 0, "--open")
    with command(*arguments, BROWSER=f"{sys.executable} {browser} %s") as process:
        base_url = ready_url(process, site, "cross-origin isolated")
        assert pipe.read_text() == f"{base_url}/"


def test_a_command_whose_dependency_is_missing_leaves_the_others_usable() -> None:
    without = "import sys; sys.modules['starlette'] = None; from pyworkers.cli import main; main()"
    code, out, err = outcome("-c", without, "--help")
    assert (code, err) == (0, "")
    assert "(unavailable: " in out
    code, out, err = outcome("-c", without, "serve", "--port", 0)
    assert (code, out) == (1, "")
    assert err.startswith("Error: 'serve' cannot be loaded (")
    assert err.endswith("; try pip install 'pyworkers[serve]'\n")
    assert err.count("\n") == 1


def test_a_checkout_without_the_dependencies_says_what_is_missing() -> None:
    code, out, err = outcome("-S", "-E", "serve.py")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"serve\.py needs \w+: pip install -e '\.\[serve\]'\n", err)


@pytest.mark.parametrize(
    "program", [("-m", "pyworkers"), ("-c", "import pyworkers.cli as c; c.main()")]
)
def test_the_version_is_the_packages(program: tuple[str, ...]) -> None:
    assert outcome(*program, "--version") == (0, f"pyworkers, version {__version__}\n", "")


def test_an_unknown_command_is_a_usage_error() -> None:
    code, _, err = outcome("-m", "pyworkers", "nothing")
    assert code == 2
    assert "No such command 'nothing'" in err
