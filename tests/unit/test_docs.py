"""The documentation: its Python examples run on CPython, and its links lead somewhere.

The examples that need a browser or Pyodide are run by ``tests/browser/test_docs.py``.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import linecache
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.markdown import PAGES, ROOT, Block, anchors, blocks, commands, links, named

README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which a program finds itself and may leave what it wants."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    return tmp_path


async def run(block: Block, namespace: dict[str, Any]) -> str:
    """Runs a block with top-level await; returns what it printed."""
    # Code that is sent by value finds its lines by this name, as what a notebook defines does.
    filename = f"<{block}>"
    lines = block.text.splitlines(keepends=True)
    linecache.cache[filename] = (len(block.text), None, lines, filename)
    code: CodeType = compile(
        block.text, filename, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = eval(code, namespace)
        if inspect.iscoroutine(value):
            await value
    return printed.getvalue()


@pytest.mark.usefixtures("elsewhere")
def test_the_guide_runs_on_cpython() -> None:
    """B-06: all of it but what needs workers of their own, in one interpreter."""

    async def main() -> None:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for block in blocks(GUIDE, "python"):
            if block.name != "hub":
                assert await run(block, namespace) == (block.output or ""), str(block)

    asyncio.run(main())


def test_the_program_of_the_readme_runs_as_it_says(elsewhere: Path) -> None:
    """B-06 E-05: on CPython, and by ``pyworkers run``."""
    program = named(README, "squares.py")
    (elsewhere / program.name).write_text(program.text)
    tools = {"python": [sys.executable], "pyworkers": [sys.executable, "-m", "pyworkers"]}
    done = 0
    for command, output in commands(README).items():
        tool, *arguments = command.split()
        if program.name in arguments:
            run = subprocess.run(
                [*tools[tool], *arguments], capture_output=True, text=True, check=False
            )
            assert run.stdout == output, run.stderr
            done += 1
    assert done == 2


@pytest.mark.usefixtures("elsewhere")
def test_the_server_is_used_from_python_as_its_page_says() -> None:
    """E-07"""
    Path("site").mkdir()
    (block,) = blocks(ROOT / "docs" / "serve.md", "python")
    asyncio.run(run(block, {"__name__": "__main__"}))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_python_example_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compile(block.text, str(block), "exec", flags=flags, dont_inherit=True)


def test_every_script_that_is_named_is_there() -> None:
    for page in PAGES:
        for command in commands(page):
            program = command.split()[0]
            if program.startswith("scripts/"):
                assert (ROOT / program).is_file(), f"{page.name} names {program}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [README]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        for link in links(page):
            path = link.partition("#")[0]
            target = (page.parent / path).resolve()
            if path.endswith(".md") and ":" not in path and target not in reached:
                ahead.append(target)
    assert set(PAGES) - reached == set()
