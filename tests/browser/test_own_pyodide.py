"""Pools in a Pyodide that somebody else loaded in a browser, as notebook kernels do."""

from time import monotonic
from typing import Any

import pytest
from playwright.sync_api import Page, Route

IN_WORKER = """
import { loadPyodide } from "%s/pyodide/pyodide.mjs";
const pyodide = await loadPyodide();
await pyodide.loadPackage(["pyworkers", "cloudpickle"], { messageCallback() {} });
onmessage = async ({ data }) => {
    try {
        const value = await pyodide.runPythonAsync(data);
        postMessage([value?.toJs?.() ?? value]);
    } catch (error) {
        postMessage([String(error)]);
    }
};
postMessage("ready");
"""


def start_kernel(page: Page, url: str) -> None:
    """Starts Pyodide in a worker of an empty page, with ``ask`` to run source there."""
    page.goto(f"{url}/pyworkers.json")
    page.evaluate(
        """async (source) => {
            const blob = new Blob([source], { type: "text/javascript" });
            const worker = new Worker(URL.createObjectURL(blob), { type: "module" });
            const next = () => new Promise((resolve) => {
                worker.onmessage = ({ data }) => resolve(data);
            });
            await next();
            window.ask = (source) => {
                const answer = next();
                worker.postMessage(source);
                return answer.then(([value]) => value);
            };
        }""",
        IN_WORKER % url,
    )


def ask(page: Page, source: str) -> Any:
    return page.evaluate("(source) => ask(source)", source)


def test_a_kernel_blocks_natively(page: Page, isolated_url: str) -> None:
    """E-04: with a broker of its own, workers start and are replaced while it is blocked."""
    start_kernel(page, isolated_url)
    first = ask(
        page,
        "from pyworkers import WorkerPool, WorkerLost, capabilities\n"
        "import os\n"
        "pool = WorkerPool(2)\n"
        "await pool.ready()\n"
        "pool.mode",
    )
    assert first == "shared"
    assert ask(page, "list(pool.map(lambda n: n * n, range(5)))") == [0, 1, 4, 9, 16]
    replaced = ask(
        page,
        "try:\n"
        "    pool.submit(os._exit, 1).result()\n"
        "except WorkerLost as error:\n"
        "    lost = type(error).__name__\n"
        "with WorkerPool(1) as other:\n"
        "    new = other.submit(abs, -7).result()\n"
        "[lost, pool.submit(abs, -5).result(), new]",
    )
    assert replaced == ["WorkerLost", 5, 7]


def test_a_kernel_blocks_in_its_first_cell(page: Page, isolated_url: str) -> None:
    """E-04: by stack switching while the broker starts."""
    start_kernel(page, isolated_url)
    source = "from pyworkers import WorkerPool\nlist(WorkerPool(1).map(abs, [-1, -2]))"
    assert ask(page, source) == [1, 2]


def test_a_kernel_awaits_without_isolation(page: Page, plain_url: str) -> None:
    """E-04 B-06: in mode transfer."""
    start_kernel(page, plain_url)
    source = (
        "from pyworkers import WorkerPool\n"
        "async with WorkerPool(2) as pool:\n"
        "    answer = [pool.mode] + [n async for n in pool.map(abs, range(-3, 0))]\n"
        "answer"
    )
    assert ask(page, source) == ["transfer", 3, 2, 1]


KEPT = "caches.open('pyworkers').then((cache) => cache.matchAll()).then((kept) => kept.length)"

IS_RESTORED = """
import sys
from pyworkers import WorkerPool
def is_restored():
    return "pyworkers._snapshot" in sys.modules
async with WorkerPool(1) as pool:
    restored = await pool.submit(is_restored)
restored
"""


def wait_until_kept(page: Page) -> None:
    deadline = monotonic() + 60
    while not page.evaluate(KEPT):
        assert monotonic() < deadline
        page.wait_for_timeout(200)


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_kernel_makes_a_snapshot_once(
    page: Page, isolated_url: str, plain_url: str, isolated: bool
) -> None:
    """For later workers and later visits; the first worker does not wait for it."""
    url = isolated_url if isolated else plain_url
    start_kernel(page, url)
    assert ask(page, IS_RESTORED) is False
    assert page.evaluate(KEPT) == 0
    wait_until_kept(page)
    while not ask(page, IS_RESTORED):
        page.wait_for_timeout(100)
    start_kernel(page, url)
    assert ask(page, IS_RESTORED) is True
    assert page.evaluate(KEPT) == 1


@pytest.mark.thorough
def test_a_kept_snapshot_that_is_damaged_is_made_anew(page: Page, isolated_url: str) -> None:
    start_kernel(page, isolated_url)
    assert ask(page, IS_RESTORED) is False
    wait_until_kept(page)
    page.evaluate(
        """async () => {
            const cache = await caches.open("pyworkers");
            const [key] = await cache.keys();
            const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
            bytes[bytes.length >> 1] ^= 1;
            await cache.put(key, new Response(bytes));
        }"""
    )
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    start_kernel(page, isolated_url)
    assert ask(page, IS_RESTORED) is False
    assert any("the snapshot that is kept is not used" in text for text in told)
    wait_until_kept(page)


def run_on_page(page: Page, url: str, source: str) -> Any:
    """Runs Python on the page's own thread, in a Pyodide that pyworkers did not start."""
    return page.evaluate(
        """async ([url, source]) => {
            const { loadPyodide } = await import(`${url}/pyodide/pyodide.mjs`);
            const pyodide = await loadPyodide();
            await pyodide.loadPackage(["pyworkers", "cloudpickle"], { messageCallback() {} });
            return (await pyodide.runPythonAsync(source)).toJs();
        }""",
        [url, source],
    )


@pytest.mark.parametrize("isolated", [True, False])
def test_a_page_blocks_by_stack_switching(
    page: Page, isolated_url: str, plain_url: str, isolated: bool
) -> None:
    """E-03: ``result()`` and ``map`` on the page's own thread, where the engine can switch."""
    url = isolated_url if isolated else plain_url
    page.goto(f"{url}/pyworkers.json")
    outcome = run_on_page(
        page,
        url,
        """
from pyworkers import WorkerPool
with WorkerPool(2) as pool:
    outcome = [pool.mode, pool.submit(pow, 2, 10).result(), sum(pool.map(abs, range(-50, 0)))]
outcome
""",
    )
    assert outcome == ["shared" if isolated else "transfer", 1024, sum(range(51))]


@pytest.mark.timeout(240)
def test_a_kernel_starts_workers_from_what_was_set_up(page: Page, isolated_url: str) -> None:
    """The broker of a hub that pyworkers did not start keeps forks as others do."""
    start_kernel(page, isolated_url)
    found = ask(
        page,
        "import asyncio\n"
        "from pyworkers import WorkerPool\n"
        "def prepare():\n"
        "    import builtins\n"
        "    builtins.table = list(range(1000))\n"
        "def look():\n"
        "    return len(table)\n"
        "pool = WorkerPool(\n"
        "    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1\n"
        ")\n"
        "await pool.ready()\n"
        "await pool.submit(look)\n"
        "while pool.stats().fork.state in ('waiting', 'making'):\n"
        "    await asyncio.sleep(0.02)\n"
        "[pool.stats().fork.reason, await pool.submit(look), pool.stats().fork.workers]",
    )
    assert found == ["", 1000, 1]


@pytest.mark.parametrize("isolated", [True, False])
def test_where_the_page_refuses_workers_tasks_fail_soon(
    page: Page, isolated_url: str, plain_url: str, isolated: bool
) -> None:
    """X-01: with the reason, those of a pool that is made later too."""
    url = isolated_url if isolated else plain_url

    def refuse(route: Route) -> None:
        answer = route.fetch()
        policy = {"content-security-policy": "worker-src 'none'"}
        route.fulfill(response=answer, headers=answer.headers | policy)

    page.route("**/pyworkers.json", refuse)
    page.goto(f"{url}/pyworkers.json")
    outcome = run_on_page(
        page,
        url,
        """
from pyworkers import WorkerPool
outcome = []
for _ in range(2):
    async with WorkerPool(1) as pool:
        outcome.append(pool.mode)
        for attempt in (pool.submit(abs, -1), pool.ready()):
            try:
                await attempt
            except Exception as error:
                outcome.append([type(error).__name__, str(error)])
outcome
""",
    )
    mode = "shared" if isolated else "transfer"
    assert outcome[::3] == [mode, mode]
    for name, text in outcome[1:3] + outcome[4:]:
        assert name == "BrokenWorkerPool"
        assert "the broker did not start: its script was not loaded" in text
