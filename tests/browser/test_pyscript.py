"""Pools in PyScript, whose Python runs on the page's own thread, or in a worker of PyScript's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.markdown import ROOT, named

Shown = Callable[[str, bool], str]

pytestmark = pytest.mark.timeout(180)

PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script type="module" src="./pyscript/core.js"></script>
<pre id="out"></pre>
<script type="py" {attributes} config='{config}'>
{source}
</script>
"""

AWAITS = """
import json
import os
from pyscript import document
from pyworkers import WorkerPool

def square(n):
    return n * n, os.getpid()

async with WorkerPool(2) as pool:
    futures = [pool.submit(square, n) for n in range(4)]
    squares = [(await future)[0] for future in futures]
    streamed = [n async for n in pool.map(abs, range(-3, 0))]
    mode = pool.mode
document.querySelector("#out").textContent = json.dumps([mode, squares, streamed])
"""

BLOCKS = """
import json
from pyscript import document
from pyworkers import WorkerPool

pool = WorkerPool(2)
await pool.ready()
with pool:
    answer = [pool.mode, pool.submit(pow, 2, 10).result(), list(pool.map(abs, [-1, -2]))]
document.querySelector("#out").textContent = json.dumps(answer)
"""


@pytest.fixture
def shown(page: Page, site: Path, isolated_url: str, plain_url: str) -> Shown:
    """Opens a page of PyScript and returns what its program has written into it."""
    shutil.copytree(
        ROOT / "js_shim" / "node_modules" / "@pyscript" / "core" / "dist",
        site / "pyscript",
        dirs_exist_ok=True,
    )

    def open(html: str, isolated: bool) -> str:
        (site / "pyscript.html").write_text(html, encoding="utf-8")
        page.goto(f"{isolated_url if isolated else plain_url}/pyscript.html")
        page.wait_for_function(
            "document.querySelector('#out').textContent || document.querySelector('.py-error')",
            timeout=100_000,
        )
        assert page.locator(".py-error").all_inner_texts() == []
        return page.inner_text("#out")

    return open


@pytest.fixture
def said(shown: Shown) -> Callable[..., Any]:
    """Opens a page with a program, and returns the JSON that it has written."""
    config = {"interpreter": "./pyodide/pyodide.mjs", "packages": ["pyworkers"]}

    def open(source: str, isolated: bool, attributes: str = "") -> Any:
        html = PAGE.format(config=json.dumps(config), source=source, attributes=attributes)
        return json.loads(shown(html, isolated))

    return open


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_script_of_pyscript_awaits(said: Any, isolated: bool) -> None:
    """E-03: on the page's thread, with and without shared memory."""
    mode = "shared" if isolated else "transfer"
    assert said(AWAITS, isolated) == [mode, [0, 1, 4, 9], [3, 2, 1]]


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_script_of_pyscript_blocks_by_stack_switching(said: Any, isolated: bool) -> None:
    """E-03: where the engine can."""
    mode = "shared" if isolated else "transfer"
    assert said(BLOCKS, isolated) == [mode, 1024, [1, 2]]


def test_a_worker_of_pyscript_blocks_natively(said: Any) -> None:
    """E-04: with the attribute ``worker``."""
    assert said(BLOCKS, True, "worker") == ["shared", 1024, [1, 2]]


def test_the_page_of_the_guide_shows_what_it_promises(shown: Shown) -> None:
    """E-03"""
    block = named(ROOT / "docs" / "guide.md", "pyscript.html")
    assert f"{shown(block.text, True)}\n" == block.output
