"""Progress, cancellation, counters and flags that a page sees: the twins of Python's."""

import pytest
from playwright.sync_api import Page

DEFINE = """
import asyncio, time
from pyworkers import WorkerPool, page
from pyworkers.sync import (
    SharedCancellation, SharedCounter, SharedCounter32, SharedFlag, SharedProgress)
async def work(progress, n):
    for _ in range(n):
        progress.increment()
async def add(counter, n):
    for _ in range(n):
        counter.add()
async def until(token):
    await token.wait_async()
    return "stopped"
def whole(*values):
    return values
def busy(token):
    while not token.is_cancelled():
        pass
    return "was busy"
def blocks():
    import gc
    gc.collect()
    return pool.memory().blocks
def given():
    from pyworkers import _page_messages
    return len(_page_messages.current._view.__self__._memory._given)
pool = WorkerPool(1)
kept = {}
page.channel("give").on("get", lambda message: kept[message.payload])
page.channel("give").on("repr", lambda message: repr(message.payload["of"]))
None
"""


@pytest.fixture
def py(py: Page) -> Page:
    """The same, with functions to call."""
    py.evaluate(
        """async (source) => {
            window.until = async (is) => {
                while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 5));
            };
            await py.exec(source);
        }""",
        DEFINE,
    )
    return py


def test_a_page_sees_how_far_workers_are(py: Page) -> None:
    """B-12: what Python has made and the page is given, and what the page makes and gives."""
    answer = py.evaluate(
        """async () => {
            const told = await py.exec("kept['p'] = SharedProgress(300); [kept['p'], kept['p']]");
            const [progress, same] = told;
            const calls = [];
            const end = progress.subscribe((done, total) => calls.push([done, total]));
            const before = [progress === same, progress.get(), progress.total, progress.percent];
            await Promise.all([100, 150, 50].map((n) => py.run("__main__:work", [progress, n])));
            await until(() => progress.get() === 300 && calls.at(-1)[0] === 300);
            const ordered = calls.every(([done], i) => i === 0 || done >= calls[i - 1][0]);
            end();
            progress.set(75);
            progress.increment(-15);
            const quarter = [progress.get(), progress.percent, calls.at(-1)[0]];
            await until(() => py.exec("kept['p'].get() == 60"));
            await py.exec("kept['p'].reset(); None");
            await until(() => progress.total === undefined);
            const own = await py.sharedProgress(10);
            const [back] = await py.run("__main__:whole", [own]);
            return [before, calls[0], ordered, quarter, progress.percent, back === own, own.total,
                own.constructor.name];
        }"""
    )
    assert answer == [
        [True, 0, 300, 0],
        [0, 300],
        True,
        [60, 20, 300],
        None,
        True,
        10,
        "SharedProgress",
    ]


def test_a_page_cancels_and_is_told(py: Page) -> None:
    """B-13 B-03: by one store where memory is shared; its signal is aborted by anyone."""
    answer = py.evaluate(
        """async () => {
            const cancellation = await py.sharedCancellation();
            const runs = [py.run("__main__:until", [cancellation])];
            runs.push(py.run("__main__:busy", [cancellation]));
            let called = 0;
            cancellation.subscribe(() => { called += 1; });
            const before = [cancellation.cancelled, cancellation.signal.aborted];
            cancellation.cancel();
            const after = [cancellation.cancelled, cancellation.signal.aborted, called];
            const ends = await Promise.all(runs);
            const other = await py.exec("kept['c'] = SharedCancellation(); kept['c']");
            const { signal } = other;
            const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
            await py.exec("kept['c'].cancel()");
            await aborted;
            const late = await py.channel("give").request("get", "c");
            return [before, after, ends, signal.reason.name, late === other, late.cancelled];
        }"""
    )
    assert answer == [
        [False, False],
        [True, True, 1],
        ["stopped", "was busy"],
        "AbortError",
        True,
        True,
    ]


def test_no_addition_of_page_and_workers_is_lost(py: Page) -> None:
    """B-14 B-15: the sum is exact, and the page sees its own additions at once."""
    answer = py.evaluate(
        """async () => {
            const counter = await py.sharedCounter(10n ** 17n);
            const small = await py.exec("SharedCounter32(5)");
            const runs = [1, 2, 3, 4].map(() => py.run("__main__:add", [counter, 200]));
            let dropped = 0;
            for (let i = 0; i < 200; i++) {
                const before = counter.get();
                counter.add();
                if (counter.get() <= before) dropped += 1;
                if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
            }
            await Promise.all(runs);
            await counter.refresh();
            const sum = String(counter.get());
            counter.subtract(10n ** 17n);
            small.add(2 ** 31 - 5);
            const wrapped = small.get();
            const swapped = [
                await counter.compareAndSwap(1000, 7), await counter.compareAndSwap(1000, 8)];
            await counter.refresh();
            const wrong = await refused((async () => counter.add(0.5))());
            const shown = await py.channel("give").request("repr", { of: counter });
            return [dropped, sum, wrapped, swapped, wrong, shown];
        }"""
    )
    assert answer == [
        0,
        str(10**17 + 1000),
        -(2**31),
        [1000, 7],
        "an integer is needed, not 0.5",
        "<SharedCounter 7>",
    ]


def test_a_page_and_python_wait_for_each_other_s_flags(py: Page) -> None:
    """B-14: though the hub blocks, where it can."""
    answer = py.evaluate(
        """async () => {
            const flag = await py.sharedFlag();
            await py.channel("give").request("repr", { of: flag });
            await py.exec("kept['f'] = SharedFlag(); None");
            const other = await py.channel("give").request("get", "f");
            const blocked = py.exec(`kept['f'].set()
async def wait(flag):
    if pool.mode == "shared":
        return flag.wait(60)
    return await flag.wait_async(60)
await wait(kept['g'])`);
            const failed = await refused(blocked);
            await py.exec("kept['g'] = SharedFlag(); None");
            const third = await py.channel("give").request("get", "g");
            const waiting = py.exec(`kept['f'].clear(); kept['f'].set()
await wait(kept['g'])`);
            await other.wait();
            third.toggle();
            const found = [await waiting, third.isSet()];
            third.clear();
            return [failed, found, third.isSet(), flag.isSet()];
        }"""
    )
    assert answer == ["'g'", [True, True], False, False]


def test_what_a_page_has_dropped_is_let_go_of(py: Page) -> None:
    """B-16: by Python, once the browser has collected it; a twin that is no more is refused."""
    before = py.evaluate("py.exec('given(), blocks() if pool.mode == \"shared\" else 0')")
    py.evaluate(
        """(async () => {
            for (let i = 0; i < 5; i++) {
                const progress = await py.sharedProgress(5);
                progress.subscribe(() => {})();
                await py.run("__main__:work", [progress, 5]);
                await py.sharedCounter();
            }
        })()"""
    )
    assert py.evaluate("py.exec('given()')") > before[0]
    session = py.context.new_cdp_session(py)
    for _ in range(100):
        session.send("HeapProfiler.collectGarbage")
        py.evaluate("py.run('__main__:whole', [1])")
        now = py.evaluate("py.exec('given(), blocks() if pool.mode == \"shared\" else 0')")
        if now[0] == before[0] and now[1] <= before[1] + 1:  # and the table of seats
            return
    raise AssertionError(f"what was dropped is still there: {before}, {now}")
