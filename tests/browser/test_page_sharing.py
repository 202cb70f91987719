"""Typed arrays between a page and Python: copied once, or shared."""

import pytest
from playwright.sync_api import Page

DEFINE = """
import sys
from pyworkers import WorkerPool, SharedArray
def about(data, more=None):
    import array
    ends = bytes(data[:2]) + bytes(data[-2:])
    data[0] = 1
    return type(data).__name__, data.format, list(data.shape), ends.hex(), more is data
def fill(array, start):
    with array.checkout(start, start + 2) as rows:
        for row in range(2):
            for column in range(3):
                rows[row, column] = 10 * (start + row) + column
    return array
def count(array, times):
    for _ in range(times):
        array.add(0, 1)
def whole(data):
    return data
def blocks():
    import gc
    gc.collect()
    return hub_pool.memory().blocks
def allocations():
    return hub_pool.memory().allocations
hub_pool = WorkerPool(1)
"""


@pytest.fixture(params=["shared", "transfer"])
def py(request: pytest.FixtureRequest, page: Page, isolated_url: str, plain_url: str) -> Page:
    """A page with a connection in ``window.py``, in each mode, and functions to call."""
    page.goto(f"{isolated_url if request.param == 'shared' else plain_url}/pyworkers.json")
    page.evaluate(
        """async (source) => {
            const { connect } = await import("/page.mjs");
            window.py = await connect({ size: 2 });
            await py.exec(source);
            window.caught = (promise) => promise.then(() => "nothing", (error) => error.message);
        }""",
        DEFINE,
    )
    assert page.evaluate("py.mode") == request.param
    return page


@pytest.mark.parametrize("transferred", [False, True])
def test_a_large_array_reaches_a_task_from_anywhere_in_the_arguments(
    py: Page, transferred: bool
) -> None:
    """D-02: and only what was given up is unusable afterwards."""
    answer = py.evaluate(
        """async (transferred) => {
            const data = new Uint8Array(5_000_000).fill(7);
            const args = { transfer: transferred ? [data.buffer] : [] };
            const first = await py.run("__main__:about", [data, data], args);
            const floats = new Float64Array(50_000).fill(0.5);
            const [nested] = await py.run("__main__:whole", [[{ floats, n: 1 }]]);
            return [first, data.length, floats[0], nested.floats.constructor.name,
                nested.floats[49_999], nested.n];
        }""",
        transferred,
    )
    assert answer == [
        ["memoryview", "B", [5_000_000], "07070707", py.evaluate("py.mode") == "shared"],
        0 if transferred else 5_000_000,
        0.5,
        "Float64Array",
        0.5,
        1,
    ]


def test_what_a_page_has_lent_is_freed(py: Page) -> None:
    """A-03"""
    if py.evaluate("py.mode") == "transfer":
        pytest.skip("only shared memory has blocks")
    answer = py.evaluate(
        """async () => {
            await py.run("__main__:whole", [1]);
            const before = await py.exec("blocks()");
            const data = new Int32Array(100_000);
            const allocations = await py.exec("allocations()");
            for (let i = 0; i < 5; i++) await py.run("__main__:about", [data]);
            const lent = (await py.exec("allocations()")) - allocations;
            await caught(py.run("__main__:nothing_of_that_name", [data]));
            await caught(py.run("__main__:whole", [data, data]));
            await caught(py.run("__main__:whole", [data, () => 0]));
            return [lent, before, await py.exec("blocks()")];
        }"""
    )
    assert answer[0] == 5
    assert answer[1] == answer[2]


def test_a_page_and_its_tasks_share_an_array(py: Page) -> None:
    """A-03 D-02: made by the page or by Python, passed by handle, seen by all at once."""
    if py.evaluate("py.mode") == "transfer":
        message = py.evaluate("caught(py.sharedArray(10))")
        assert "mode transfer has no shared memory" in message
        return
    answer = py.evaluate(
        """async () => {
            const made = await py.sharedArray([4, 3], "float32");
            const back = await py.run("__main__:fill", [made, 2]);
            made[0] = 42;
            const same = [back[0], made[11], back.length, made.buffer.constructor.name];
            const counter = await py.exec("counter = SharedArray(1, 'int32'); counter");
            const runs = [1, 2, 3].map(() => py.run("__main__:count", [counter, 1000]));
            let seen = 0;
            Atomics.add(counter, 0, 5);
            await Promise.all(runs);
            const part = caught(py.run("__main__:whole", [made.subarray(1)]));
            const foreign = new Uint8Array(new SharedArrayBuffer(100_000)).fill(3);
            const copy = await py.run("__main__:about", [foreign]);
            return [same, counter[0], await py.exec("counter[0]"), await part, copy, foreign[0]];
        }"""
    )
    same, counted, in_python, part, copy, foreign = answer
    assert same == [42, 32, 12, "SharedArrayBuffer"]
    assert counted == in_python == 3005
    assert "a part of a shared array cannot be passed" in part or "is not one that" in part
    assert copy[:3] == ["memoryview", "B", [100_000]]
    assert foreign == 3


def test_what_a_page_has_dropped_is_freed(py: Page) -> None:
    """A-03: once the browser has collected it."""
    if py.evaluate("py.mode") == "transfer":
        pytest.skip("only shared memory has blocks")
    before = py.evaluate("py.exec('blocks()')")
    py.evaluate("(async () => { for (let i = 0; i < 10; i++) await py.sharedArray(100_000); })()")
    assert py.evaluate("py.exec('blocks()')") > before
    session = py.context.new_cdp_session(py)
    for _ in range(100):
        session.send("HeapProfiler.collectGarbage")
        if py.evaluate("py.exec('blocks()')") == before:
            return
    raise AssertionError("what was dropped is still there")
