"""A hub that tabs share: who keeps it, what is each one's own, what becomes of it when tabs go."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page

from tests.windows import hide, set_frozen

pytestmark = pytest.mark.timeout(60)

Enter = Callable[..., Page]

BEGIN = """({ n, options }) => {
    window.output = [];
    window.restarts = 0;
    window.caught = (promise) => promise.then(
        (value) => ["value", value],
        ({ name, message }) => [name, message],
    );
    window.ready = caught(import("/page.mjs").then(async ({ connect }) => {
        window.py = await connect({
            size: 2,
            tabs: true,
            onOutput: ({ text }) => output.push(text),
            onRestart: () => { restarts++; },
            ...options,
        });
        await py.exec(`
import asyncio, os, time
from pyworkers import page, WorkerPool
me = ${n}

def times(n):
    return n * me

def forever():
    while True:
        time.sleep(0.01)
`);
        return [py.mode, py.tabs];
    }));
    return null;
}"""

HELD = "navigator.locks.query().then(({ held }) => held.map(({ name }) => name))"
LOST = "the tab that had the hub is gone: another one starts, without what was defined there"


@pytest.fixture
def chromium_context(caching_chromium: Browser) -> Iterator[BrowserContext]:
    """The same, for what only Chromium's driver can do."""
    opened = caching_chromium.new_context()
    yield opened
    opened.close()


def opened(context: BrowserContext, url: str) -> Page:
    """A page of the site in which nothing has begun."""
    page = context.new_page()
    page.goto(f"{url}/pyworkers.json")
    return page


def begin(page: Page, n: int = 1, **options: Any) -> Page:
    """Begins to connect; ``ready`` is the promise, ``times`` of the tab multiplies by ``n``."""
    page.evaluate(BEGIN, {"n": n, "options": options})
    return page


def tabs_of(context: BrowserContext, url: str, count: int, **options: Any) -> list[Page]:
    """Tabs that share a hub, one after the other; the first keeps it."""
    pages = []
    for n in range(1, count + 1):
        page = begin(opened(context, url), n, **options)
        name, value = page.evaluate("ready")
        assert name == "value", value
        pages.append(page)
    return pages


def later(page: Page, promise: str) -> None:
    """Begins what is awaited by ``outcome``."""
    page.evaluate(f"() => {{ window.outcome = caught({promise}); return null; }}")


def wait_until_held(page: Page, prefix: str, *counts: int) -> None:
    """Waits until so many locks of this origin have such a name; the browser frees one late."""
    names: list[str] = []
    for _ in range(200):
        names = [name for name in page.evaluate(HELD) if name.startswith(prefix)]
        if len(names) in counts:
            return
        page.wait_for_timeout(50)
    assert len(names) in counts, names


ONCE_OR_TWICE = (1, 2)
"""So often does a tab hear that a hub is gone with another tab: the introducer may go with it."""


def wait_until_restarted(page: Page, times: int = 1) -> None:
    """Waits until a tab knows that its hub is gone; what it calls before is rejected."""
    for _ in range(1_500):
        if page.evaluate("restarts") >= times:
            return
        page.wait_for_timeout(20)
    assert page.evaluate("restarts") >= times, page.evaluate(HELD)


THREADS = "pyworkers-"


@pytest.mark.smoke
def test_tabs_that_open_at_the_same_instant_have_one_hub_and_one_pool(
    context: BrowserContext, url: str, mode: str
) -> None:
    """A-13: each with names, output and channels of its own."""
    pages = [opened(context, url) for _ in range(3)]
    for n, page in enumerate(pages, 1):
        begin(page, n, warmUp=True)
    for page in pages:
        assert page.evaluate("ready") == ["value", [mode, True]]
    wait_until_held(pages[0], THREADS, 3)
    for n, page in enumerate(pages, 1):
        assert page.evaluate("py.run('times', [10])") == 10 * n
        page.evaluate(f"() => {{ py.channel('c').on('who', () => {n}); }}")
        asked = "await page.channel('c').request('who')"
        assert page.evaluate(f"py.exec(`print('tab', me)\n{asked}`)") == n
        assert page.evaluate("output") == [f"tab {n}\n"]
    ids = {
        page.evaluate("py.exec('id(asyncio.get_running_loop()), os.getpid()')")[0] for page in pages
    }
    assert len(ids) == 1


@pytest.mark.smoke
def test_when_the_tab_with_the_hub_is_closed_another_one_starts_it_anew(
    context: BrowserContext, url: str
) -> None:
    """A-13: what was under way is rejected, once; calls, events and handlers go on."""
    first, second, third = tabs_of(context, url, 3)
    for page in (second, third):
        page.evaluate(
            """() => {
                window.events = [];
                py.on("task_done", ({ outcome }) => events.push(outcome));
                py.channel("c").on("who", () => "still here");
            }"""
        )
        page.evaluate(
            """() => {
                window.settled = [];
                for (const promise of [
                    py.run("forever"),
                    py.exec("await asyncio.sleep(1000)"),
                    py.channel("c").request("nobody", null, { timeout: null }),
                    py.run("forever", [], { signal: new AbortController().signal }),
                ]) {
                    promise.then(() => settled.push("value"), ({ name }) => settled.push(name));
                }
            }"""
        )
    assert second.evaluate("py.exec('1 + 1')") == 2
    first.close()
    for page in (second, third):
        wait_until_restarted(page)
        assert page.evaluate("py.run('math:sqrt', [16])") == 4
        assert page.evaluate("restarts") in ONCE_OR_TWICE
        assert sorted(page.evaluate("settled")) == ["HubLost"] * 3 + ["NoHandler"]
        lost = page.evaluate("caught(py.run('times', [1]))")
        assert lost[0] == "LookupError"
        page.evaluate("() => { events.length = 0; }")
        page.evaluate("py.run('math:sqrt', [9])")
        page.wait_for_function("events.includes('done')")
        asked = "from pyworkers import page; await page.channel('c').request('who')"
        assert page.evaluate(f'py.exec("{asked}")') == "still here"
    wait_until_held(second, "pyworkers tab", 2)


def test_a_tab_that_is_reloaded_in_the_middle_takes_part_again(
    context: BrowserContext, url: str
) -> None:
    """A-13: as the one with the hub, and as another."""
    first, second = tabs_of(context, url, 2)
    later(second, "py.run('forever')")
    first.reload()
    assert second.evaluate("outcome") == ["HubLost", LOST]
    assert begin(first).evaluate("ready.then(() => py.run('times', [5]))") == 5
    assert second.evaluate("py.run('math:sqrt', [16])") == 4
    first.reload()
    assert begin(first).evaluate("ready.then(() => py.run('times', [6]))") == 6
    assert second.evaluate("restarts") in ONCE_OR_TWICE
    wait_until_held(second, "pyworkers tab", 2)


def test_what_a_tab_has_begun_ends_with_it(context: BrowserContext, url: str) -> None:
    """A-13 X-02: tasks, sources, pools and questions; the others notice nothing."""
    first, second = tabs_of(context, url, 2)
    first.evaluate("py.warmUp()")
    wait_until_held(first, THREADS, 3)
    second.evaluate(
        """async () => {
            py.run("forever");
            py.run("forever");
            py.run("forever");
            await py.exec("own = WorkerPool(1)\\nawait own.submit(pow, 2, 3)");
            window.asked = new Promise((resolve) => {
                py.channel("c").on("ask", () => {
                    resolve();
                    return new Promise(() => {});
                });
            });
            py.exec(`
import builtins
builtins.ends = []
try:
    await page.channel("c").request("ask", timeout=None)
except BaseException as error:
    builtins.ends.append(type(error).__name__)
`);
            await asked;
        }"""
    )
    wait_until_held(first, THREADS, 4)
    second.close()
    assert first.evaluate("py.run('times', [3], { timeout: 30 })") == 3
    # Where a task could not be interrupted, its worker was ended, and is not needed any more.
    wait_until_held(first, THREADS, 2, 3)
    ends = first.evaluate("py.exec('import builtins; builtins.ends')")
    assert ends == ["CancelledError"]
    assert first.evaluate("restarts") == 0


def test_nothing_is_left_when_the_last_tab_goes(context: BrowserContext, url: str) -> None:
    """A-13: by closing its connection, or itself."""
    watcher = opened(context, url)
    first, second = tabs_of(context, url, 2)
    first.evaluate("py.warmUp()")
    wait_until_held(watcher, THREADS, 3)
    first.evaluate("py.close()")
    assert first.evaluate("caught(py.run('times', [3]))") == [
        "ConnectionClosed",
        "the connection was closed",
    ]
    assert first.evaluate("py.closed.then(({ name }) => name)") == "ConnectionClosed"
    wait_until_restarted(second)
    assert second.evaluate("py.run('math:sqrt', [16])") == 4
    second.close()
    wait_until_held(watcher, THREADS, 0)
    wait_until_held(watcher, "pyworkers tab", 0)


def test_a_tab_that_crashes_takes_no_other_with_it(
    chromium_context: BrowserContext, url: str
) -> None:
    """A-13: even if the introducer lived in its process. Firefox's driver cannot crash a tab."""
    first, second, third = tabs_of(chromium_context, url, 3)
    for page in (second, third):
        later(page, "py.run('forever')")
    with pytest.raises(Error):
        first.goto("chrome://crash", timeout=5_000)
    for page in (second, third):
        assert page.evaluate("outcome") == ["HubLost", LOST]
        assert page.evaluate("py.run('math:sqrt', [16])") == 4
    wait_until_held(second, "pyworkers tab", 2)
    wait_until_held(second, THREADS, 2)


def test_a_hidden_tab_keeps_the_hub_for_others(tabs: BrowserContext, url: str) -> None:
    """A-13: though its timers hardly run; new tabs find it, too."""
    first, second, third = tabs_of(tabs, url, 3)
    assert [page.evaluate("document.hidden") for page in (first, second, third)] == [
        True,
        True,
        False,
    ]
    third.evaluate("py.warmUp()")
    for n, page in enumerate((first, second, third), 1):
        assert page.evaluate("py.run('times', [2])") == 2 * n
        assert page.evaluate("restarts") == 0
    wait_until_held(third, THREADS, 3)


def test_a_frozen_tab_passes_the_hub_on(tabs: BrowserContext, url: str) -> None:
    """A-13: and takes part again when it goes on; the only one keeps what it has."""
    first, second = tabs_of(tabs, url, 2)
    later(first, "py.run('forever')")
    set_frozen(first, True)
    wait_until_restarted(second)
    assert second.evaluate("py.run('math:sqrt', [16])") == 4
    assert second.evaluate("restarts") == 1
    set_frozen(first, False)
    assert first.evaluate("outcome") == ["HubLost", LOST]
    assert first.evaluate("py.run('math:sqrt', [25])") == 5
    first.close()
    second.evaluate("py.exec('kept = 7')")
    hide(second)
    set_frozen(second, True)
    set_frozen(second, False)
    assert second.evaluate("py.exec('kept')") == 7


def test_who_comes_back_to_a_page_that_had_the_hub_takes_part_again(
    context: BrowserContext, site: Path, url: str
) -> None:
    """A-13 B-04: it gave up the hub when it was left, whether the browser kept it or not."""
    for name in ("left.html", "other.html"):
        (site / name).write_text("<!doctype html><link rel=icon href=data:,>", encoding="utf-8")
    page = context.new_page()
    page.goto(f"{url}/left.html")
    begin(page).evaluate("ready")
    (second,) = tabs_of(context, url, 1)
    later(second, "py.run('forever')")
    page.goto(f"{url}/other.html")
    assert second.evaluate("outcome") == ["HubLost", LOST]
    assert second.evaluate("py.run('math:sqrt', [16])") == 4
    page.go_back(wait_until="commit")
    if not page.evaluate("'py' in window"):
        begin(page).evaluate("ready")
    assert page.evaluate("py.run('math:sqrt', [25])") == 5
    assert second.evaluate("restarts") in ONCE_OR_TWICE
    wait_until_held(second, "pyworkers tab", 2)


def test_what_would_need_common_memory_is_refused(
    context: BrowserContext, isolated_url: str
) -> None:
    """A-13 A-07: in the tab that keeps the hub as in any other."""
    for page in tabs_of(context, isolated_url, 2):
        for made in ("py.sharedArray(3)", "py.sharedProgress(3)", "py.sharedFlag()"):
            name, message = page.evaluate(f"caught({made})")
            assert name == "ModeError"
            assert "connect without `tabs`" in message
        for given in (
            "new Uint8Array(new SharedArrayBuffer(8))",
            "new Map([[1, { a: new SharedArrayBuffer(8) }]])",
            "new DataView(new SharedArrayBuffer(8))",
        ):
            name, message = page.evaluate(f"caught(py.run('builtins:len', [{given}]))")
            assert name == "TypeError"
            assert message.startswith("a SharedArrayBuffer cannot be sent to a hub that other tabs")
        assert page.evaluate("py.run('builtins:sum', [new Uint8Array([1, 2, 3])])") == 6


def test_tabs_see_the_same_progress_where_memory_is_not_shared(
    context: BrowserContext, plain_url: str
) -> None:
    """A-13 B-12: by a twin each; that of a hub that is gone says so."""
    first, second = tabs_of(context, plain_url, 2)
    for page in (first, second):
        page.evaluate(
            """async () => {
                window.flag = await py.exec(`
import builtins
from pyworkers.sync import SharedFlag
builtins.flag = getattr(builtins, "flag", None) or SharedFlag()
builtins.flag`);
            }"""
        )
    later(second, "flag.wait()")
    first.evaluate("() => flag.set()")
    assert second.evaluate("outcome")[0] == "value"
    first.evaluate("() => flag.clear()")
    second.evaluate("flag.refresh()")
    later(second, "flag.wait()")
    first.close()
    assert second.evaluate("outcome") == ["HubLost", LOST]
    assert second.evaluate("py.run('math:sqrt', [16])") == 4
    assert second.evaluate("caught(flag.refresh())") == ["HubLost", LOST]
    name, message = second.evaluate("caught(py.run('builtins:print', [flag]))")
    assert (name, message) == (
        "TypeError",
        "this SharedFlag belongs to another hub, or one that is gone",
    )


def test_a_hub_that_does_not_start_or_ends_by_itself_ends_all_connections(
    context: BrowserContext, url: str
) -> None:
    """A-13 A-08: with the reason; the next one that connects begins anew."""
    pages = [begin(opened(context, url), size="two") for _ in range(2)]
    for page in pages:
        name, message = page.evaluate("ready")
        assert (name, message) == ("ProtocolError", "message configure: field size must be count")
    first, second = (begin(page) for page in pages)
    for page in (first, second):
        page.evaluate("ready")
    later(second, "py.run('forever')")
    later(first, "py.exec('os.abort()')")
    for page in (first, second):
        name, message = page.evaluate("outcome")
        assert name == "ConnectionClosed"
        assert message.startswith("the hub ended: ")
        assert begin(page).evaluate("ready.then(() => py.run('times', [2]))") == 2
    wait_until_held(first, "pyworkers tab", 2)


def test_other_options_mean_another_hub(context: BrowserContext, url: str) -> None:
    """A-13"""
    pages = tabs_of(context, url, 2) + tabs_of(context, url, 1, size=1)
    wait_until_held(pages[0], THREADS, 2)
    assert [page.evaluate("py.run('times', [4])") for page in pages] == [4, 8, 4]


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ("delete globalThis.SharedWorker", "there is no SharedWorker here"),
        ("Object.defineProperty(navigator, 'locks', { value: undefined })", "are no Web Locks"),
        (
            "globalThis.SharedWorker = class { constructor() { throw new Error('forbidden') } }",
            "forbidden",
        ),
    ],
)
def test_where_tabs_cannot_share_each_has_a_hub_of_its_own(
    context: BrowserContext, url: str, lacking: str, reason: str
) -> None:
    """A-13 A-01: and the console says why."""
    page = opened(context, url)
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text))
    page.evaluate(f"() => {{ {lacking}; }}")
    assert begin(page).evaluate("ready.then(([, [, tabs]]) => tabs)") is False
    assert page.evaluate("py.run('times', [4])") == 4
    assert any("a hub of its own" in text and reason in text for text in warnings)
    page.evaluate("py.close()")


def test_a_tab_may_not_say_what_is_for_who_keeps_the_hub(context: BrowserContext, url: str) -> None:
    """A-13 A-07: and what nobody may say harms nobody."""
    first, second = tabs_of(context, url, 2)
    second.evaluate(
        """() => {
            window.errors = [];
            console.error = ({ message }) => errors.push(message);
            py.port.postMessage({ kind: "configure", packages: [], modules: {} });
            py.port.postMessage({ kind: "admit", lock: "mine", port: [] });
            py.port.postMessage(null);
        }"""
    )
    assert second.evaluate("py.run('times', [4])") == 8
    errors = second.evaluate("errors")
    assert [text.split(";")[0] for text in errors] == [
        'unknown message kind "configure"',
        'unknown message kind "admit"',
        "unknown message kind undefined",
    ]
    assert first.evaluate("py.run('times', [4])") == 4


BLOCKS = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<pre id="out"></pre><script>window.times = 0</script>
<script src="pyworkers.js" data-size="1" data-tabs></script>
<script type="text/x-pyworkers" data-output="#out">
    visits = globals().get("visits", 0) + 1
    print("visits", visits)
</script>
<script type="text/x-pyworkers" data-output="#out">
    def double(n):
        return visits * 2 * n
</script>
"""


def test_blocks_run_again_in_another_hub(context: BrowserContext, site: Path, url: str) -> None:
    """A-13 E-01: what they define is there, and their output is shown once."""
    (site / "blocks.html").write_text(BLOCKS, encoding="utf-8")
    pages = [context.new_page() for _ in range(2)]
    for page in pages:
        page.goto(f"{url}/blocks.html")
        assert page.evaluate("pyworkers.ready.then((py) => py.tabs)") is True
        assert page.inner_text("#out") == "visits 1\n"
    first, second = pages
    second.evaluate(
        """() => {
            window.again = new Promise((resolve) => {
                let left = 2;
                document.addEventListener("pyworkers:done", () => --left || resolve());
            });
            return null;
        }"""
    )
    first.close()
    second.evaluate("again")
    assert second.inner_text("#out") == "visits 1\n"
    assert second.evaluate("pyworkers.ready.then((py) => py.run('double', [21]))") == 42
