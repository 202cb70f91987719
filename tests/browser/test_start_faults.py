"""Starts with something in the way: a storage that refuses, a slow host, a worker that hangs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, Route

from bench.browsers import FLAGS
from tests.browser.test_own_pyodide import IS_RESTORED, ask, start_kernel
from tests.hosts import ISOLATION, Host
from tests.hubs import Hub, PageHub

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def denied_page(playwright: Playwright, tmp_path: Path) -> Iterator[Page]:
    """A page of somebody who lets no site store anything."""
    profile = tmp_path / "profile" / "Default"
    profile.mkdir(parents=True)
    refuse = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (profile / "Preferences").write_text(json.dumps(refuse))
    context = playwright.chromium.launch_persistent_context(
        str(profile.parent), executable_path=shutil.which("chromium"), args=FLAGS
    )
    yield context.pages[0]
    context.close()


def listen(page: Page) -> list[str]:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    return told


def wait_for(page: Page, told: list[str], text: str) -> None:
    """Waits until the console has said it."""
    if not any(text in line for line in told):
        page.wait_for_event("console", lambda message: text in message.text, timeout=60_000)


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_kernel_starts_plainly_where_nothing_may_be_stored(
    denied_page: Page, isolated_url: str, plain_url: str, isolated: bool
) -> None:
    told = listen(denied_page)
    start_kernel(denied_page, isolated_url if isolated else plain_url)
    assert denied_page.evaluate("caches.open('any').catch(({ name }) => name)") == "SecurityError"
    assert ask(denied_page, IS_RESTORED) is False
    assert ask(denied_page, "await WorkerPool(1).submit(pow, 2, 10)") == 1024
    wait_for(denied_page, told, "pyworkers: no snapshot is kept: ")


def test_a_page_starts_where_nothing_may_be_stored(
    denied_page: Page, isolated_url: str, plain_url: str
) -> None:
    """With a hub from the site, in both modes."""
    for url, mode in ((isolated_url, "shared"), (plain_url, "transfer")):
        hub = PageHub(denied_page, url, mode)
        assert hub.run("return await WorkerPool(2).submit(pow, 2, 10)") == 1024


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_snapshot_for_which_there_is_no_room_serves_this_page(
    page: Page, isolated_url: str, plain_url: str, isolated: bool
) -> None:
    url = isolated_url if isolated else plain_url
    told = listen(page)
    page.goto(f"{url}/pyworkers.json")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": url, "quotaSize": 100_000})
    start_kernel(page, url)
    assert ask(page, IS_RESTORED) is False
    wait_for(page, told, "pyworkers: the snapshot is not kept: ")
    while not ask(page, IS_RESTORED):
        page.wait_for_timeout(100)
    assert (
        page.evaluate("caches.match('/', { cacheName: 'pyworkers' }).then(String)") == "undefined"
    )
    start_kernel(page, url)
    assert ask(page, IS_RESTORED) is False


@pytest.mark.parametrize("kind", ["application/wasm; charset=utf-8", "application/octet-stream"])
def test_a_host_may_give_webassembly_another_type(page: Page, isolated_url: str, kind: str) -> None:
    asked: list[str] = []

    def change(route: Route) -> None:
        asked.append(route.request.url)
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"content-type": kind})

    page.route("**/pyodide.asm.wasm", change)
    hub = PageHub(page, isolated_url, "shared")
    assert hub.run("return await WorkerPool(1).submit(pow, 2, 10)") == 1024
    assert len(asked) == 1


def test_a_slow_host_takes_longer(page: Page, site: Path) -> None:
    """Three megabytes a second, and no time-out strikes."""
    host = Host(site)
    with host.up(ISOLATION, rate=3_000_000) as url:
        hub = PageHub(page, url, "shared")
        assert hub.run("return [n async for n in WorkerPool(2).map(abs, [-1, -2])]") == [1, 2]
        slowest = hub.run("return max(asset.milliseconds for asset in boot_report().assets)")
    assert slowest > 3_000  # 10 MB


HASTE = """
    import pyworkers
    for module in list(sys.modules.values()):
        if getattr(module, "__package__", None) == "pyworkers" and hasattr(module, "BOOT_TIMEOUT"):
            module.BOOT_TIMEOUT = seconds
"""


def test_workers_that_do_not_get_ready_break_their_pool(hub: Hub) -> None:
    """X-01: three in a row; whoever waits is told, and other pools go on."""
    body = f"""
    seconds = 1.0
    {HASTE}
    def forever():
        while True:
            pass
    try:
        pool = WorkerPool(1, initializer=forever)
        outcome = []
        for _ in range(2):
            try:
                await pool.submit(abs, -1)
            except Exception as error:
                outcome.append([type(error).__name__, str(error)])
        await pool.aclose()
    finally:
        seconds = 120.0
        {HASTE}
    async with WorkerPool(1) as other:
        return [*outcome, await other.submit(abs, -2)]
    """
    first, second, other = hub.run(body)
    assert first[0] == second[0] == "BrokenWorkerPool"
    assert "it was not ready after 1 s" in first[1]
    assert other == 2


def test_a_worker_whose_script_never_arrives_is_given_up(page: Page, isolated_url: str) -> None:
    """The next one is started in its place."""
    hub = PageHub(page, isolated_url, "shared")
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/worker.mjs", hold_first)
    body = f"""
    seconds = 3.0
    {HASTE}
    async with WorkerPool(1) as pool:
        return await pool.submit(pow, 2, 10)
    """
    assert hub.run(body) == 1024
    assert len(held) == 1
    held[0].abort()
