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
def halves(numbers):
    with numbers.checkout() as view:
        for i in range(len(view)):
            view[i] /= 2
    return repr(numbers), 2 * sum(numbers) * 1.0, 2 * numbers[3], numbers[998:].tolist()
def shift(part, whole, by):
    part[3] = 0
    part[3] = whole[10]
    part.write([n + by for n in part])
    return part, whole
def wait_for(flag):
    import time
    while not flag.load(0):
        time.sleep(0.01)
def plus(array, index, value):
    return str(array.add(index, value))
def keep(array):
    sys.kept = array
    return array
def use_kept(value):
    array = getattr(sys, "kept", None)
    if array is not None:
        array[1] = value
        return array[1]
def drop_kept():
    sys.kept = None
def die_with_kept():
    import os
    if getattr(sys, "kept", None) is not None:
        os._exit(1)
def beside():
    import gc
    from pyworkers._arena import is_beside
    from pyworkers._store import stores
    gc.collect()
    return sum(map(is_beside, stores["shared"].attached()))
def blocks():
    import gc
    gc.collect()
    return hub_pool.memory().blocks
def allocations():
    return hub_pool.memory().allocations
hub_pool = WorkerPool(1)
"""


@pytest.fixture
def py(py: Page) -> Page:
    """The same, with functions to call."""
    py.evaluate("(source) => py.exec(source)", DEFINE)
    return py


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
            await refused(py.run("__main__:nothing_of_that_name", [data]));
            await refused(py.run("__main__:whole", [data, data]));
            await refused(py.run("__main__:whole", [data, () => 0]));
            return [lent, before, await py.exec("blocks()")];
        }"""
    )
    assert answer[0] == 5
    assert answer[1] == answer[2]


def test_a_page_and_its_tasks_share_an_array(py: Page) -> None:
    """A-03 D-02: made by the page or by Python, passed by handle, seen by all at once."""
    if py.evaluate("py.mode") == "transfer":
        message = py.evaluate("refused(py.sharedArray(10))")
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
            const part = refused(py.run("__main__:whole", [made.subarray(1)]));
            return [same, counter[0], await py.exec("counter[0]"), await part];
        }"""
    )
    same, counted, in_python, part = answer
    assert same == [42, 32, 12, "SharedArrayBuffer"]
    assert counted == in_python == 3005
    assert "a part of a shared array cannot be passed" in part or "is not one that" in part


def test_memory_that_a_page_has_shared_itself_passes_by_handle(py: Page) -> None:
    """D-02: nothing is copied on the way there and back, wherever views stand, and all see it."""
    if py.evaluate("py.mode") == "transfer":
        pytest.skip("such a page has no SharedArrayBuffer")
    answer = py.evaluate(
        """async () => {
            const buffer = new SharedArrayBuffer(8 * 1000);
            const numbers = new Float64Array(buffer).fill(0.5);
            await py.run("__main__:whole", [1]);
            const allocations = await py.exec("allocations()");
            const about = await py.run("__main__:halves", [numbers]);
            const back = await py.run("__main__:whole", [[{ numbers }]]);
            const whole = back[0].numbers;
            const same = [whole.buffer === buffer, whole.constructor.name, whole.length];
            const part = numbers.subarray(10, 20);
            const [twice, once] = await py.run("__main__:shift", [part, numbers, 5]);
            const parts = [
                twice.buffer === buffer, twice.byteOffset, twice.length, once.length,
                numbers[9], numbers[10], numbers[19], numbers[20],
            ];
            const count = new Int32Array(new SharedArrayBuffer(4));
            const runs = [1, 2, 3, 4].map(() => py.run("__main__:count", [count, 1000]));
            for (let i = 0; i < 1000; i++) Atomics.add(count, 0, 1);
            await Promise.all(runs);
            const wide = new BigUint64Array(new SharedArrayBuffer(16)).fill(2n ** 64n - 1n);
            const bare = refused(py.run("__main__:whole", [buffer]));
            return [
                about, numbers[999], same, parts, count[0],
                await py.run("__main__:plus", [wide, 1, 2]), String(wide[1]),
                await py.run("__main__:whole", [new Uint8Array(new SharedArrayBuffer(0))]).then(
                    (empty) => empty.length),
                await bare, (await py.exec("allocations()")) - allocations,
            ];
        }"""
    )
    about, last, same, parts, counted, before, after, empty, bare, allocations = answer
    assert about == ["<SharedArray (1000,) of float64, mode shared>", 500, 0.5, [0.25, 0.25]]
    assert last == 0.25
    assert same == [True, "Float64Array", 1000]
    assert parts == [True, 80, 10, 1000, 0.25, 5.25, 5.25, 0.25]
    assert counted == 5000
    assert (int(before), after) == (2**64 - 1, "1")
    assert empty == 0
    assert "SharedArrayBuffer cannot be given to Python" in bare
    assert allocations == 0


def test_a_worker_gets_a_page_s_memory_though_the_hub_is_blocked(py: Page) -> None:
    """D-02: and though it has to be started first."""
    if py.evaluate("py.mode") == "transfer":
        pytest.skip("such a page has no SharedArrayBuffer")
    answer = py.evaluate(
        """async () => {
            const flag = await py.exec("flag = SharedArray(1, 'int32'); flag");
            const counts = new Int32Array(new SharedArrayBuffer(8));
            const runs = [
                py.run("__main__:count", [counts.subarray(0, 1), 500]),
                py.run("__main__:count", [counts.subarray(1), 500]),
            ];
            let over = false;
            const blocking = py.exec("hub_pool.submit(wait_for, flag).result()");
            blocking.then(() => { over = true; });
            while (Atomics.load(counts, 0) < 500 || Atomics.load(counts, 1) < 500) {
                await new Promise((resolve) => setTimeout(resolve, 10));
            }
            const before = over;
            Atomics.store(flag, 0, 1);
            await Promise.all([...runs, blocking]);
            return [before, over, ...counts];
        }"""
    )
    assert answer == [False, True, 500, 500]


def test_a_page_s_memory_is_let_go_of_when_nobody_uses_it(py: Page) -> None:
    """A-03: by tasks that are over, by a worker that has kept it, and by one that has died."""
    if py.evaluate("py.mode") == "transfer":
        pytest.skip("such a page has no SharedArrayBuffer")
    answer = py.evaluate(
        """async () => {
            const numbers = new Int32Array(new SharedArrayBuffer(4_000));
            const kept = await py.run("__main__:keep", [numbers]);
            const others = [1, 2, 3].map((n) => new Int32Array(new SharedArrayBuffer(4 * n)));
            await Promise.all(others.map((other) => py.run("__main__:count", [other, 1])));
            const later = await Promise.all([1, 2, 3, 4, 5, 6].map(
                () => py.run("__main__:use_kept", [7])));
            const held = await py.exec("beside()");
            const failed = await refused(py.run("__main__:nothing_of_that_name", [others[0]]));
            await Promise.all([1, 2, 3, 4].map(() => py.run("__main__:drop_kept")));
            while ((await py.exec("beside()")) > 0) await py.run("__main__:drop_kept");
            const again = await py.run("__main__:count", [numbers, 10]).then(() => numbers[1]);
            await py.run("__main__:keep", [numbers]);
            const died = await refused(py.run("__main__:die_with_kept"));
            while ((await py.exec("beside()")) > 0) {
                await refused(py.run("__main__:die_with_kept"));
            }
            await Promise.all([1, 2].map(() => py.run("__main__:count", [numbers, 1])));
            return [kept.buffer === numbers.buffer, later.some((n) => n === 7), numbers[1],
                others.map((other) => other[0]), held, failed, again, died, numbers[0]];
        }"""
    )
    same, used, second, others, held, failed, again, died, first = answer
    assert same
    assert used
    assert second == again == 7
    assert others == [1, 1, 1]
    assert held == 1
    assert "nothing_of_that_name" in failed
    assert "worker" in died
    assert first == 12


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
