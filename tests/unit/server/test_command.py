"""The command ``serve``, in real processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyworkers import __version__
from pyworkers.cli.serve import serving
from tests.unit.server.tools import CHECKOUT, Client, make_big, posix_only, reading

pytestmark = pytest.mark.timeout(60)


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
