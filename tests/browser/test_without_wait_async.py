"""Mode shared where there is no Atomics.waitAsync: messages wake who waits without blocking."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pyworkers.cli.serve import serving
from tests.hubs import Hub, NodeHub, PageHub

PREAMBLE = "delete Atomics.waitAsync;"


@pytest.fixture(scope="module", params=["chromium", "node"])
def bare(
    request: pytest.FixtureRequest, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A hub in mode shared, none of whose threads has ever seen waitAsync."""
    if request.param == "node":
        node = NodeHub(site, "shared", PREAMBLE)
        yield node
        node.close()
        return
    copy = tmp_path_factory.mktemp("bare") / "site"
    shutil.copytree(site, copy, ignore=shutil.ignore_patterns("*.br", "*.gz"))
    script = copy / "worker.mjs"
    script.write_text(PREAMBLE + script.read_text(encoding="utf-8"), encoding="utf-8")
    browser: Browser = request.getfixturevalue("chromium")
    with serving(copy) as url:
        context = browser.new_context()
        yield PageHub(context.new_page(), url, "shared")
        context.close()


def test_tasks_are_awaited_and_blocked_on(bare: Hub) -> None:
    """A-01 A-02"""
    outcome = bare.run(
        """
        async def nap(n):
            await asyncio.sleep(0.01)
            return n
        async with WorkerPool(2) as pool:
            awaited = await asyncio.gather(*[pool.submit(nap, n) for n in range(50)])
            blocked = sum(pool.map(abs, range(-1000, 0)))
            again = [await pool.submit(pow, 2, n) for n in range(200)]
        return capabilities().wait_async, pool.mode, sum(awaited), blocked, again[-1] == 2**199
        """
    )
    assert outcome == [False, "shared", 1225, 500_500, True]


def test_a_worker_that_dies_is_noticed_by_who_awaits_and_by_who_blocks(bare: Hub) -> None:
    """B-04"""
    names = bare.run(
        """
        names = []
        async with WorkerPool(1) as pool:
            try:
                await pool.submit(os._exit, 1)
            except WorkerLost as error:
                names.append(type(error).__name__)
            try:
                pool.submit(os._exit, 1).result(60)
            except WorkerLost as error:
                names.append(type(error).__name__)
            names.append(await pool.submit(str.upper, "x"))
        return names
        """
    )
    assert names == ["WorkerLost", "WorkerLost", "X"]


def test_memory_of_a_page_reaches_workers_that_wait_for_messages(bare: Hub) -> None:
    """D-02: through the port that also wakes them."""
    if not isinstance(bare, PageHub):
        pytest.skip("this hub takes nothing but source")
    bare.run("sys.modules['__main__'].add = lambda array, n: array.add(0, n)")
    answer = bare.page.evaluate(
        """async () => {
            const made = () => new Int32Array(new SharedArrayBuffer(4));
            const arrays = Array.from({ length: 20 }, made);
            const runs = arrays.flatMap((array) => [1, 2, 3].map((n) => py.run("add", [array, n])));
            await Promise.all(runs);
            return arrays.map((array) => array[0]);
        }"""
    )
    assert answer == [6] * 20
