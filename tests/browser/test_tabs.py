"""What tabs go through: hidden, frozen, reloaded, left and come back to, and several at once."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.windows import hide, set_frozen

pytestmark = pytest.mark.timeout(60)

DEFINE = """
import asyncio, os, time
from pyworkers import WorkerPool

def square(n):
    time.sleep(0.01)
    return n * n

async def tick(n):
    for _ in range(n):
        await asyncio.sleep(0.05)
    return n

async def total(pool, n):
    return sum(await asyncio.gather(*[pool.submit(square, k) for k in range(n)]))
"""

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<script>
    window.shown = [];
    addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
</script>
"""

START = """async (source) => {
    window.py = await pyworkers.ready;
    await py.exec(source);
}"""

TAG = '<script src="pyworkers.js" data-size="2"></script>'
TOTAL = sum(n * n for n in range(100))


def connected(page: Page, url: str) -> Page:
    """Starts Python in an empty page, with a pool in ``window.py``."""
    page.goto(f"{url}/pyworkers.json")
    page.evaluate(
        """async (source) => {
            const { connect } = await import("/page.mjs");
            window.py = await connect({ size: 2 });
            await py.exec(source);
        }""",
        DEFINE,
    )
    return page


def run_total(page: Page) -> Any:
    return page.evaluate(
        """py.exec(`
async with WorkerPool(2) as pool:
    found = await total(pool, 100)
found`)"""
    )


def threads(page: Page) -> int:
    """How many hubs and workers of this origin live."""
    return int(
        page.evaluate(
            """navigator.locks.query().then(({ held }) =>
                held.filter(({ name }) => name.startsWith("pyworkers-")).length)"""
        )
    )


def wait_for_threads(page: Page, expected: int) -> None:
    for _ in range(200):
        if threads(page) == expected:
            return
        page.wait_for_timeout(50)
    assert threads(page) == expected


CHAIN = """() => {
    window.turns = 0;
    const turn = () => { turns++; setTimeout(turn, 4); };
    turn();
}"""


def test_a_hidden_tab_computes_as_others_do(tabs: BrowserContext, url: str) -> None:
    """A-02 A-08: it starts, tasks end, time-outs hold, though the timers of its page hardly run."""
    page = tabs.new_page()
    page.goto(f"{url}/pyworkers.json")
    hide(page)
    connected(page, url)
    page.evaluate(CHAIN)
    assert run_total(page) == TOTAL
    assert page.evaluate("py.run('square', [7])") == 49
    found = page.evaluate(
        """py.exec(`
async with WorkerPool(2) as pool:
    late = pool.submit_with(time.sleep, [1000], timeout=0.2)
    ticks = await pool.submit(tick, 5)
    try:
        await late
    except TimeoutError:
        ticks += 1
    again = await pool.submit(square, 2)
[ticks, again]`)"""
    )
    assert found == [6, 4]
    late = page.evaluate("py.run('time:sleep', [1000], { timeout: 0.2 }).catch(({ name }) => name)")
    assert late == "TimeoutError"
    asked = page.evaluate(
        "py.channel('c').request('nobody').catch(({ name }) => [name, document.hidden])"
    )
    assert asked == ["NoHandler", True]
    assert page.evaluate("turns") < 100  # which it makes in half a second in front


def test_a_worker_that_hangs_in_a_hidden_tab_is_replaced(tabs: BrowserContext, url: str) -> None:
    """C-09 B-05: and none that works counts as one."""
    page = connected(tabs.new_page(), url)
    hide(page)
    page.evaluate(CHAIN)
    found = page.evaluate(
        """py.exec(`
def hang_soon():
    import js
    js.setTimeout(js.Function.new("for (;;);"), 0)

gone = asyncio.get_running_loop().create_future()
async with WorkerPool(2, heartbeat=0.5) as pool:
    pool.on("worker_lost", lambda event: gone.set_result(event.reason))
    await pool.submit(hang_soon)
    found = ["gave no sign of life" in await gone, await total(pool, 200)]
    found.append(pool.stats().workers_lost)
found`)"""
    )
    assert found == [True, sum(n * n for n in range(200)), 1]


def test_a_frozen_tab_goes_on_where_it_was(tabs: BrowserContext, url: str) -> None:
    """X-02: every task that was under way has its result, and no worker counts as hung."""
    page = connected(tabs.new_page(), url)
    hide(page)
    page.evaluate(
        """() => {
            window.events = [];
            document.addEventListener("freeze", () => events.push("freeze"));
            window.done = py.exec(`
async with WorkerPool(2, heartbeat=0.25, silence=0.5) as pool:
    ticks = [pool.submit(tick, 40) for _ in range(3)]
    found = [await total(pool, 100), sum([await tick for tick in ticks])]
    found.append(pool.stats().workers_lost)
found`);
            return null;
        }"""
    )
    set_frozen(page, True)
    tabs.new_page().wait_for_timeout(3_000)
    set_frozen(page, False)
    assert page.evaluate("events") == ["freeze"]
    assert page.evaluate("done") == [TOTAL, 120, 0]
    assert run_total(page) == TOTAL


def test_a_page_that_is_reloaded_in_the_middle_starts_afresh(
    context: BrowserContext, url: str
) -> None:
    """B-04: nothing of the old one lives on."""
    page = connected(context.new_page(), url)
    page.evaluate(
        """() => {
            py.exec("pool = WorkerPool(2)\\nawait total(pool, 3_000)").catch(() => {});
            return py.run("square", [2]);
        }"""
    )
    page.reload()
    wait_for_threads(page, 0)
    connected(page, url)
    assert run_total(page) == TOTAL


@pytest.mark.smoke
def test_who_comes_back_to_a_page_finds_its_pools_working(
    context: BrowserContext, site: Path, url: str
) -> None:
    """B-04: it was either not kept by the browser, or goes on; nothing hangs."""
    (site / "left.html").write_text(PAGE + TAG, encoding="utf-8")
    (site / "other.html").write_text(PAGE, encoding="utf-8")
    page = context.new_page()
    page.goto(f"{url}/left.html")
    page.evaluate(START, DEFINE)
    page.evaluate(
        """() => {
            window.done = py.exec("pool = WorkerPool(2)\\nawait total(pool, 500)");
            return py.run("square", [2]);
        }"""
    )
    page.goto(f"{url}/other.html")
    page.go_back(wait_until="commit")
    if not page.evaluate("shown.at(-1)"):
        page.evaluate(START, DEFINE)
        wait_for_threads(page, 1)
    else:
        assert page.evaluate("done") == sum(n * n for n in range(500))
    assert run_total(page) == TOTAL
    assert page.evaluate("py.run('square', [7])") == 49


def test_a_page_without_pools_is_kept_by_this_browser(
    caching_chromium: Browser, site: Path, isolated_url: str
) -> None:
    """Else the test before this one would show nothing."""
    context = caching_chromium.new_context()
    for name in ("empty.html", "other.html"):
        (site / name).write_text(PAGE, encoding="utf-8")
    page = context.new_page()
    page.goto(f"{isolated_url}/empty.html")
    page.goto(f"{isolated_url}/other.html")
    page.go_back(wait_until="commit")
    assert page.evaluate("shown") == [False, True]
    context.close()


@pytest.mark.smoke
def test_several_tabs_have_pools_at_once(context: BrowserContext, url: str) -> None:
    """A-02: of their own, started at the same time; the end of one is nothing to the others."""
    pages = [context.new_page() for _ in range(3)]
    for page in pages:
        page.goto(f"{url}/pyworkers.json")
        page.evaluate(
            """(source) => {
                window.ready = import("/page.mjs").then(async ({ connect }) => {
                    window.py = await connect({ size: 2, warmUp: true });
                    await py.exec(source);
                });
                return null;
            }""",
            DEFINE,
        )
    for page in pages:
        page.evaluate("ready")
    first, *others = pages
    assert threads(first) == 9
    for page in pages:
        page.evaluate(
            "() => { window.done = py.exec('await total(WorkerPool(2), 200)'); return null; }"
        )
    first.close()
    for page in others:
        assert page.evaluate("done") == sum(n * n for n in range(200))
        assert run_total(page) == TOTAL
    wait_for_threads(others[0], 6)
