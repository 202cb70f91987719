"""The plugin for other people's tests: used here, and in runs of pytest of their own (E-06)."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pyworkers.cli.headless import BrowserError, HeadlessPage, RemotePool
from tests.markdown import named

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
FACTOR = 2


def scaled(n: int) -> int:
    return n * FACTOR


def where() -> tuple[str, int]:
    return sys.platform, os.getpid()


def fails(n: int) -> int:
    raise LookupError(n)


def forever() -> None:
    while True:
        pass


def test_functions_run_in_a_browser(pyworkers_pool: RemotePool) -> None:
    """E-06: by their text, with what they refer to."""
    assert pyworkers_pool.submit(scaled, 21).result() == 42
    assert pyworkers_pool.map(scaled, range(5)) == [0, 2, 4, 6, 8]
    platform, pid = pyworkers_pool.submit(where).result()
    assert platform == "emscripten"
    assert pid != os.getpid()


def test_source_runs_beside_the_pool(pyworkers_pool: RemotePool) -> None:
    """E-06: with top-level await; its names are there for the next one."""
    pyworkers_pool.run("def double(n): return 2 * n\nprint('here')")
    source = "(b'x', {n async for n in pool.map(double, [1, 2])}, 2**70)"
    assert pyworkers_pool.run(source) == (b"x", {2, 4}, 2**70)
    assert "here\n" in pyworkers_pool.page.output


def test_errors_of_the_browser_are_told(pyworkers_pool: RemotePool) -> None:
    """E-06: with name, message and traceback."""
    with pytest.raises(BrowserError, match="LookupError: 7") as caught:
        pyworkers_pool.submit(fails, 7).result()
    assert caught.value.name == "LookupError"
    assert "in fails" in caught.value.traceback
    with pytest.raises(BrowserError, match="only plain data can be returned to a test"):
        pyworkers_pool.run("object()")
    with pytest.raises(TypeError, match="only plain data"):
        pyworkers_pool.submit(scaled, object())


def test_what_takes_too_long_is_given_up(pyworkers_pool: RemotePool) -> None:
    """E-06: and the pool is ended all the same."""
    with pytest.raises(BrowserError, match=r"no answer within 0\.5 s"):
        pyworkers_pool.submit(forever).result(timeout=0.5)


def test_a_page_can_be_asked_in_javascript(pyworkers_page: HeadlessPage) -> None:
    """E-06"""
    assert pyworkers_page.mode == "shared"
    assert pyworkers_page.evaluate("(n) => py.run('math:sqrt', [n])", 16) == 4
    assert pyworkers_page.call(lambda page: page.title()) == ""


def run_theirs(pytester: pytest.Pytester, source: str, *options: str) -> Any:
    """Runs tests of somebody who has nothing of ours but the plugin."""
    pytester.makepyfile(textwrap.dedent(source))
    pytester.makepyprojecttoml(
        "[tool.pytest.ini_options]\n"
        f"pyworkers_site = '{ROOT / '.build' / 'site'}'\n"
        "pyworkers_files = ['mine', 'single.py']\n"
    )
    pytester.mkpydir("mine").joinpath("deep.py").write_text("def answer(): return 42\n")
    pytester.path.joinpath("single.py").write_text("NAME = 'single'\n")
    plugins = ["-p", "pytest_pyworkers", "-p", "no:cacheprovider", "-p", "no:playwright"]
    return pytester.runpytest_subprocess(*plugins, *options)


def test_the_example_of_the_documentation_passes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-06"""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    example = named(ROOT / "docs" / "testing.md", "test_squares.py")
    run_theirs(pytester, example.text).assert_outcomes(passed=2)


THEIRS = """
    import asyncio
    from mine.deep import answer

    def asked():
        import single
        return answer(), single.NAME

    def test_there(pyworkers_pool):
        mode = pyworkers_pool.run("pool.mode")
        assert pyworkers_pool.submit(asked).result() == (42, "single")
        assert (mode, pyworkers_pool.page.mode) == ({mode!r}, {mode!r})

    def test_here_event_loops_go_on():
        asyncio.run(asyncio.sleep(0))
"""


@pytest.mark.parametrize(
    ("browser", "mode"), [("chromium", "shared"), ("chromium", "transfer"), ("firefox", "shared")]
)
def test_others_test_their_modules(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, browser: str, mode: str
) -> None:
    """E-06: in the browser and mode that they choose."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = [f"--pyworkers-browser={browser}", f"--pyworkers-mode={mode}"]
    result = run_theirs(pytester, THEIRS.replace("{mode!r}", repr(mode)), *options)
    result.assert_outcomes(passed=2)


def test_a_wrong_setting_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E-06"""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    source = "def test_it(pyworkers_pool): pass"
    result = run_theirs(pytester, source, "--pyworkers-browser=lynx")
    result.stdout.fnmatch_lines(["*pyworkers_browser is 'lynx', not one of chromium, firefox"])


def test_who_does_not_use_the_plugin_pays_nothing() -> None:
    """E-06: neither the package nor a browser's driver is imported."""
    program = (
        "import sys, pytest_pyworkers\n"
        "print([name for name in ('pyworkers', 'playwright', 'click') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "[]\n"
