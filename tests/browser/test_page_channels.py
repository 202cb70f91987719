"""Messages between a page and Python in its hub, by named channels on both sides."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.timeout(120)

PYTHON = """
import asyncio, sys
from array import array
from pyworkers import NoHandler, PageError, QueueFull, SharedArray, page

channel = page.channel("test")
told = []
channel.on("twice", lambda message: message.payload * 2)
channel.on("sum", lambda message: sum(message.payload))
channel.on("note", lambda message: told.append((message.payload, message.id)))
channel.on("noted", lambda message: told)

def fails(message):
    raise KeyError(message.payload)
channel.on("fails", fails)

async def steps(message):
    for n in range(message.payload):
        message.progress(n, message.payload, "step")
        await asyncio.sleep(0)
    return [message.worker, message.id is not None, message.channel, message.kind]
channel.on("steps", steps)

ended = asyncio.Event()
async def waits(message):
    message.progress(0)
    try:
        await asyncio.sleep(3600)
    finally:
        ended.set()
channel.on("waits", waits)

async def failure(future):
    (error,) = await asyncio.gather(future, return_exceptions=True)
    return [type(error).__name__, str(error)]
"""


@pytest.fixture
def py(py: Page) -> Page:
    """The same, whose hub has handlers."""
    py.evaluate(
        """async (source) => {
            window.channel = py.channel("test");
            await py.exec(source);
        }""",
        PYTHON,
    )
    return py


def test_python_answers_its_page(py: Page) -> None:
    """B-01 B-02 C-08: plain and async handlers, with progress; in order, and many at a time."""
    outcome = py.evaluate(
        """async () => {
            const seen = [];
            const onProgress = ({ done, total, message }) => seen.push([done, total, message]);
            const told = await channel.request("steps", 2, { onProgress });
            const many = [];
            for (let n = 0; n < 50; n++) many.push(channel.request("twice", n));
            const numbers = new Float64Array(100_000).fill(0.5);
            const sum = await channel.request("sum", numbers, { transfer: [numbers.buffer] });
            for (let n = 0; n < 3; n++) channel.post("note", n);
            return [told, seen, (await Promise.all(many)).every((twice, n) => twice === 2 * n), sum,
                numbers.length, await channel.request("noted"), py.channel("test") === channel];
        }"""
    )
    assert outcome == [
        [None, True, "test", "steps"],
        [[0, 2, "step"], [1, 2, "step"]],
        True,
        50_000,
        0,
        [[0, None], [1, None], [2, None]],
        True,
    ]


def test_a_page_answers_python(py: Page) -> None:
    """B-01 B-02 C-08"""
    outcome = py.evaluate(
        """async () => {
            const noted = [];
            channel.on("twice", ({ payload }) => payload * 2);
            channel.on("note", ({ payload, id }) => noted.push([payload, id ?? null]));
            channel.on("slowly", async ({ payload, progress, kind, channel, time }) => {
                progress(1, 2, "half");
                await null;
                return { array: payload, known: [kind, channel, time > 1e9] };
            });
            const back = await py.exec(`
seen = []
for n in range(3):
    channel.post("note", n)
future = channel.request("slowly", array("d", [1, 2]))
future.add_progress_callback(lambda *progress: seen.append(progress))
answer = await future
many = await asyncio.gather(*[channel.request("twice", n) for n in range(50)])
[answer["array"].tolist(), answer["known"], seen, many == [2 * n for n in range(50)],
 channel.stats().pending]
`);
            return [back, noted];
        }"""
    )
    assert outcome == [
        [[1, 2], ["slowly", "test", True], [[1, 2, "half"]], True, 0],
        [[0, None], [1, None], [2, None]],
    ]


def test_what_goes_wrong_in_python_is_the_pages(py: Page) -> None:
    """B-01 C-08: with Python's traceback; what has no answer is told by the console."""
    errors: list[str] = []
    py.on("console", lambda message: errors.append(message.text))
    outcome = py.evaluate(
        """async () => {
            channel.post("nothing");
            const outcome = [
                await caught(channel.request("fails", "a")),
                await caught(channel.request("nothing")),
                await caught(py.channel("other").request("twice", 1)),
                await caught(channel.request("twice", new Date())),
                await caught(channel.request("twice", () => 1)),
                await caught(channel.request("twice", 1, { timeout: -1 })),
            ];
            return [outcome.map(([name, message]) => [name, message]), outcome[0][2],
                await channel.request("twice", 1)];
        }"""
    )
    (fails, nothing, other, date, function, timeout), trace, twice = outcome
    assert fails == ["KeyError", "'a'"]
    assert "in fails" in trace
    assert nothing == ["NoHandler", "the hub has no handler for 'nothing' on channel 'test'"]
    assert other == ["NoHandler", "the hub has no handler for 'twice' on channel 'other'"]
    assert date[0] == "PayloadError"
    assert "a JavaScript Date cannot be given to Python" in date[1]
    assert function[0] == "DataCloneError"
    assert timeout == ["RangeError", "timeout must be 0 seconds or more, or null, not -1"]
    assert twice == 2
    assert ["NoHandler" in error for error in errors] == [True]


def test_what_goes_wrong_in_the_page_is_pythons(py: Page) -> None:
    """B-01 C-08"""
    outcome = py.evaluate(
        """() => {
            channel.on("fails", async ({ payload }) => { throw new TypeError(payload); });
            channel.on("throws", () => { throw "a string"; });
            channel.on("unsendable", () => () => 1);
            channel.on("date", () => new Date());
            channel.on("waits", () => new Promise(() => {}));
            return py.exec(`
channel.max_pending = 1
waiting = channel.request("waits")
full = False
try:
    channel.request("waits")
except QueueFull:
    full = True
try:
    waiting.result()
except RuntimeError as error:
    blocked = str(error)
waiting.cancel()
channel.max_pending = 100
failed = channel.request("fails", "of the page")
[
    await failure(failed), "Error" in failed.exception().stack,
    await failure(channel.request("throws")),
    (await failure(channel.request("unsendable")))[1].startswith("DataCloneError"),
    (await failure(channel.request("date")))[0],
    await failure(channel.request("nothing")),
    await failure(channel.request("waits", timeout=0.01)),
    (await failure(channel.request("nothing", object())))[0],
    full, blocked, channel.stats().timed_out,
]
`);
        }"""
    )
    assert outcome == [
        ["PageError", "TypeError: of the page"],
        True,
        ["PageError", "Error: a string"],
        True,
        "PayloadError",
        ["NoHandler", "the page has no handler for 'nothing' on channel 'test'"],
        ["TimeoutError", "the page did not answer 'waits' on channel 'test' within 0.01 s"],
        "PayloadError",
        True,
        "the page answers by a message, which nobody hears who blocks: use `await`",
        1,
    ]


def test_a_request_of_a_page_that_is_not_wanted_ends_its_handler(py: Page) -> None:
    """B-01 B-03: aborted, or over its time."""
    outcome = py.evaluate(
        """async () => {
            const controller = new AbortController();
            const { signal } = controller;
            const onProgress = () => controller.abort();
            const aborted = await caught(channel.request("waits", 1, { signal, onProgress }));
            await py.exec("await ended.wait(); ended.clear()");
            const never = await caught(channel.request("waits", 1, { signal }));
            const late = await caught(channel.request("waits", 1, { timeout: 0.1 }));
            await py.exec("await ended.wait()");
            channel.maxPending = 0;
            const full = await caught(channel.request("twice", 1));
            channel.maxPending = 1;
            return [aborted[0], never[0], late.slice(0, 2), full.slice(0, 2),
                await channel.request("twice", 1), await py.exec("channel.stats().answering")];
        }"""
    )
    assert outcome == [
        "AbortError",
        "AbortError",
        ["TimeoutError", "the hub did not answer waits on channel test within 0.1 s"],
        [
            "QueueFull",
            "0 requests on channel test wait for their answers, as its maxPending allows",
        ],
        2,
        0,
    ]


def test_a_handler_of_a_page_hears_that_it_is_not_wanted(py: Page) -> None:
    """B-01 B-03: by an AbortSignal; a repeated request comes again."""
    outcome = py.evaluate(
        """async () => {
            let asked = 0;
            const aborted = [];
            channel.on("waits", ({ signal, progress }) => new Promise((resolve) => {
                asked++;
                signal.addEventListener("abort", () => aborted.push(asked));
                progress(0);
                if (asked === 3) resolve("third");
            }));
            const cancelled = await py.exec(`
future = channel.request("waits")
begun = asyncio.Event()
future.add_progress_callback(lambda *_: begun.set())
await begun.wait()
future.cancel()
`);
            const third = await py.exec(`await channel.request("waits", timeout=0.2, retries=1)`);
            return [cancelled, third, asked, aborted];
        }"""
    )
    assert outcome == [True, "third", 3, [1, 2]]


def test_a_shared_array_is_the_same_array_on_both_sides(py: Page) -> None:
    """B-02 D-02: where memory is shared."""
    if py.evaluate("py.mode") != "shared":
        pytest.skip("memory is not shared")
    outcome = py.evaluate(
        """async () => {
            let kept;
            channel.on("take", ({ payload }) => { kept = payload; });
            await py.exec(`
numbers = SharedArray(4, "int32")
await channel.request("take", numbers)
channel.on("same", lambda message: message.payload is numbers)
None
`);
            kept[2] = 7;
            const back = await py.exec("int(numbers[2])");
            return [kept.constructor.name, back, await channel.request("same", kept)];
        }"""
    )
    assert outcome == ["Int32Array", 7, True]


def test_a_channel_of_a_page_is_only_where_there_is_one(py: Page) -> None:
    """B-02: not in a worker."""
    name, message, _ = py.evaluate(
        """async () => {
            await py.exec(`
def ask():
    from pyworkers import page
    page.channel("test")
`);
            return caught(py.run("ask"));
        }"""
    )
    assert name == "ModeError"
    assert message.startswith("there is no page to talk with")
