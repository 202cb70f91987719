"""The ways in from a web page: the script tag, and JavaScript's ``connect``."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from pyworkers._events import KINDS
from pyworkers.cli.serve import serving

Open = Callable[..., None]


@pytest.fixture
def open_html(page: Page, site: Path, isolated_url: str, plain_url: str) -> Open:
    """Opens a page with given HTML, which lies somewhere on the site."""

    def open(html: str, path: str = "some/folder/page.html", isolated: bool = True) -> None:
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<!doctype html><meta charset=utf-8>{html}", encoding="utf-8")
        page.goto(f"{isolated_url if isolated else plain_url}/{path}")

    return open


BLOCKS = """
<pre id="one"></pre><pre id="two"></pre>
<script src="../../pyworkers.js" data-size="2"></script>
<script type="text/x-pyworkers" data-output="#one">
    import asyncio, sys
    await asyncio.sleep(0.01)
    from pyworkers import WorkerPool
    async with WorkerPool(2) as pool:
        print("sum", sum([n async for n in pool.map(lambda n: n * n, range(10))]))
    kept = "kept"
    print("late", file=sys.stderr)
</script>
<script>
    window.events = [];
    for (const type of ["done", "error"]) {
        document.addEventListener(`pyworkers:${type}`, ({ detail }) =>
            events.push([type, detail?.name ?? null]));
    }
</script>
<script type="text/x-pyworkers" data-output="#two">
    def broken():
        raise KeyError("missing")
    broken()
</script>
<script type="text/x-pyworkers" data-output="#two">print(kept, "after the error")</script>
<script type="text/x-pyworkers">print("to the console"); object()</script>
"""


@pytest.mark.parametrize("isolated", [True, False])
def test_blocks_of_a_page_run_in_order(page: Page, open_html: Open, isolated: bool) -> None:
    """E-01: in one hub, each with its output; an error shows its traceback and is an event."""
    logs: list[str] = []
    page.on("console", lambda message: logs.append(message.text))
    open_html(BLOCKS, isolated=isolated)
    assert page.evaluate("pyworkers.ready.then((py) => py.mode)") == (
        "shared" if isolated else "transfer"
    )
    assert page.inner_text("#one").split("\n") == ["sum 285", "late", ""]
    two = page.inner_text("#two")
    assert "in broken" in two
    assert two.endswith("KeyError: 'missing'\nkept after the error\n")
    assert page.locator("#one .pyworkers-stderr").first.inner_text().strip() == "late"
    assert "to the console" in logs
    assert page.evaluate("events") == [
        ["done", None],
        ["error", "KeyError"],
        ["done", None],
        ["done", None],
    ]
    assert page.evaluate("typeof loadPyodide") == "undefined"


def test_the_script_may_come_from_another_origin(
    page: Page, open_html: Open, isolated_url: str, plain_url: str
) -> None:
    """E-01: the worker is then made from a blob, with and without isolation."""
    for isolated, mode, other in ((True, "shared", plain_url), (False, "transfer", isolated_url)):
        html = f"""<pre id="out"></pre><script src="{other}/pyworkers.js"></script>
            <script type="text/x-pyworkers" data-output="#out">
            from pyworkers import WorkerPool
            async with WorkerPool(1) as pool:
                print(pool.mode, await pool.submit(pow, 2, 10))
            </script>"""
        open_html(html, f"cross-{mode}.html", isolated)
        page.evaluate("pyworkers.ready.then(() => null)")
        assert page.inner_text("#out").strip() == f"{mode} 1024"


def test_a_page_without_isolation_is_told_how_to_get_it(page: Page, plain_url: str) -> None:
    """A-01 B-06: it works all the same."""
    page.goto(f"{plain_url}/pyworkers.json")
    reason = page.evaluate(
        """async () => {
            const { connect } = await import("/page.mjs");
            const py = await connect();
            return [py.reason, await py.run("math:sqrt", [16])];
        }"""
    )
    assert "COOP same-origin" in reason[0]
    assert reason[1] == 4


def test_a_missing_asset_is_named(page: Page, isolated_url: str) -> None:
    """A-07: the URL stands in the error."""
    page.route("**/python_stdlib.zip", lambda route: route.fulfill(status=404))
    page.goto(f"{isolated_url}/pyworkers.json")
    message = page.evaluate(
        """async () => {
            const { connect } = await import("/page.mjs");
            return connect().then(() => "connected", (error) => error.message);
        }"""
    )
    assert message.startswith("the hub ended: Error: cannot load ")
    assert message.endswith("/pyodide/python_stdlib.zip: HTTP 404")


def test_files_of_two_releases_are_refused(page: Page, site: Path, tmp_path: Path) -> None:
    """A-07: with both versions named."""
    copy = tmp_path / "site"
    shutil.copytree(site, copy, ignore=shutil.ignore_patterns("*.br", "*.gz"))
    script = copy / "worker.mjs"
    text = script.read_text(encoding="utf-8")
    changed = re.sub(r"PROTOCOL_VERSION = (\d+);", "PROTOCOL_VERSION = 999;", text)
    assert changed != text
    script.write_text(changed, encoding="utf-8")
    with serving(copy) as url:
        page.goto(f"{url}/pyworkers.json")
        message = page.evaluate(
            """async () => {
                const { connect } = await import("/page.mjs");
                return connect().then(() => "connected", (error) => error.message);
            }"""
        )
    assert re.search(r"its shim speaks protocol 999, its creator \d+$", message)


def test_a_detached_buffer_is_refused_and_harms_nothing(py: Page) -> None:
    names = py.evaluate(
        """async () => {
            const data = new Uint8Array(100_000);
            await py.run("builtins:len", [data], { transfer: [data.buffer] });
            const names = [];
            for (const given of [data, [data], { data }]) {
                await py.run("builtins:len", [given]).catch(({ name }) => names.push(name));
            }
            return [...names, await py.run("builtins:len", [[1, 2]])];
        }"""
    )
    assert names == ["DataCloneError", "DataCloneError", "DataCloneError", 2]


def test_functions_are_called_by_name(py: Page) -> None:
    """E-02: of modules, and of what was executed before."""
    assert py.evaluate("py.run('math:hypot', [3, 4])") == 5
    assert py.evaluate("py.run('os.path:join', ['a', 'b'])") == "a/b"
    py.evaluate("py.exec('def double(n): return n * 2')")
    assert py.evaluate("py.run('double', [21])") == 42
    assert py.evaluate("py.run('__main__:double', ['ab'])") == "abab"
    assert py.evaluate("py.exec('n = 6\\nn * 7')") == 42
    assert py.evaluate("caught(py.run('triple'))")[:2] == [
        "LookupError",
        "__main__ has no function 'triple'; define it with exec first",
    ]


@pytest.mark.parametrize(
    "kind",
    [
        "Int8Array",
        "Uint8Array",
        "Int16Array",
        "Uint16Array",
        "Int32Array",
        "Uint32Array",
        "Float32Array",
        "Float64Array",
    ],
)
def test_typed_arrays_go_in_and_come_out(py: Page, kind: str) -> None:
    """E-02 D-02 in part: as buffers, never as lists of numbers."""
    py.evaluate(
        """py.exec("def look(a): return [type(a).__name__, a.itemsize, sum(a), {'back': a}]")"""
    )
    seen, back = py.evaluate(
        """async (kind) => {
            const array = new globalThis[kind](100_000).fill(3);
            const [type, size, sum, { back }] = await py.run("look", [array]);
            return [
                [type, size, sum, array.length],
                [back.constructor.name, back.length, back.every((n) => n === 3)],
            ];
        }""",
        kind,
    )
    assert seen == [
        "memoryview",
        {"8": 1, "16": 2, "32": 4, "64": 8}[_bits(kind)],
        300_000,
        100_000,
    ]
    assert back == [kind, 100_000, True]


def _bits(kind: str) -> str:
    return "".join(c for c in kind if c.isdigit())


def test_plain_data_goes_both_ways(py: Page) -> None:
    """E-02: with null, nested, and ArrayBuffers; transferred ones are gone afterwards."""
    assert py.evaluate(
        """async () => {
            await py.exec("def echo(*args): return list(args)");
            const buffer = new Uint8Array([1, 2, 3]).buffer;
            const transferred = new Uint8Array(1000);
            const args = [null, true, 1.5, "ä", [1, [2]], { a: { b: null } }, buffer, transferred];
            const back = await py.run("echo", args, { transfer: [transferred.buffer] });
            return [
                back.slice(0, 6).map((value) => value ?? null),
                [...back[6]], back[7].length, transferred.length,
            ];
        }"""
    ) == [[None, True, 1.5, "ä", [1, [2]], {"a": {"b": None}}], [1, 2, 3], 1000, 0]
    assert py.evaluate(
        "py.exec('import ctypes\\n(ctypes.c_int * 3)(1, 2, 3)').then((array) => [...array])"
    ) == [1, 2, 3]
    for what, name in (
        ("x = []\nx.append(x)\nx", "RecursionError"),
        ("import array\narray.array('w', 'ab')", "TypeError"),
    ):
        assert py.evaluate("(source) => caught(py.exec(source))", what)[0] == name
    assert py.evaluate("caught(py.run('echo', [new Date()]))")[:2] == [
        "TypeError",
        "a JavaScript Date cannot be given to Python: use numbers, strings, arrays, plain "
        "objects, or typed arrays",
    ]
    refused = py.evaluate("caught(py.exec('object()'))")
    assert refused[0] == "TypeError"
    assert "a object cannot be given to JavaScript" in refused[1]


def test_errors_are_javascript_errors(py: Page) -> None:
    """E-02: with name, message and Python's traceback."""
    name, message, trace = py.evaluate("caught(py.run('math:sqrt', [-1]))")
    assert name == "ValueError"
    assert message
    assert "Traceback (most recent call last)" in trace
    assert py.evaluate("py.run('math:sqrt', [-1]).catch((e) => e instanceof Error)") is True
    assert py.evaluate("caught(py.run('no_such:thing'))")[0] == "ModuleNotFoundError"
    syntax = py.evaluate("caught(py.exec('1 +', { filename: 'mine.py' }))")
    assert syntax[0] == "SyntaxError"
    assert "mine.py" in syntax[2]


def test_an_abort_ends_a_running_task(py: Page) -> None:
    """B-03: queued, running, or not yet sent; the pool goes on."""
    assert py.evaluate(
        """async () => {
            const names = [];
            const controller = new AbortController();
            const { signal } = controller;
            await py.exec("def forever():\\n  while True: pass");
            const running = [1, 2, 3].map(() => py.run("forever", [], { signal }));
            await new Promise((resolve) => setTimeout(resolve, 300));
            controller.abort();
            for (const task of [...running, py.run("forever", [], { signal })]) {
                names.push(await task.catch((error) => error.name));
            }
            return [names, await py.run("math:sqrt", [9])];
        }"""
    ) == [["AbortError"] * 4, 3]


def test_progress_timeout_and_priority_are_options_of_run(py: Page) -> None:
    """A-08 B-01: and are checked."""
    outcome = py.evaluate(
        """async () => {
            await py.exec(`
def work(n):
    from pyworkers import task
    for i in range(n):
        task.progress(i + 1, n, "step")
    return n
`);
            const seen = [];
            const onProgress = ({ done, total, message }) => seen.push([done, total, message]);
            const value = await py.run("work", [3], { onProgress, priority: 9 });
            const late = await caught(py.run("time:sleep", [60], { timeout: 0.2 }));
            const bad = await caught(py.run("work", [1], { priority: 11 }));
            const worse = await caught(py.run("work", [1], { priority: -1 }));
            const named = await py.run("work", [2], { priority: "critical" });
            const unknown = await caught(py.run("work", [1], { priority: "urgent" }));
            return [seen, value, late[0], bad, worse.slice(0, 2), named, unknown.slice(0, 2)];
        }"""
    )
    assert outcome[0] == [[1, 3, "step"], [2, 3, "step"], [3, 3, "step"]]
    assert outcome[1] == 3
    assert outcome[2] == "TimeoutError"
    assert outcome[3][0] == "ValueError"
    assert "or 0 to 10, not 11" in outcome[3][1]
    assert outcome[4] == ["ProtocolError", "message run: field priority must be level"]
    assert outcome[5] == 2
    assert outcome[6] == [
        "ValueError",
        "priority must be low, normal, high, critical or 0 to 10, not 'urgent'",
    ]


def test_a_page_hears_of_what_happens_in_its_pool(py: Page) -> None:
    """E-02 X-01: as Python does by ``pool.on``, until it does not want to any more."""
    outcome = py.evaluate(
        """async (kinds) => {
            await py.exec(`
def work(n):
    from pyworkers import task
    task.progress(1, n, "step")
    return n
def ends():
    import os
    os._exit(3)
`);
            const events = [];
            const ends = kinds.map((kind) => py.on(kind, (event) => events.push(event)));
            const failing = py.on("task_done", () => { throw new Error("of a listener"); });
            await py.run("work", [3]);
            await caught(py.run("ends"));
            await py.exec("1");  // events come behind what their tasks answer
            const heard = events.map(({ kind }) => kind);
            const done = events.find(({ kind }) => kind === "task_done");
            const progress = events.find(({ kind }) => kind === "task_progress").progress;
            const lost = events.find(({ kind }) => kind === "worker_lost");
            for (const end of [...ends, failing, ends[0]]) end();
            await py.exec("1");  // all that was told before is here
            const before = events.length;
            await py.run("work", [3]);
            await py.exec("1");
            let refused;
            try { py.on("nonsense", () => {}); } catch (error) { refused = String(error); }
            return {
                heard: [...new Set(heard)].sort(), done, progress, reason: typeof lost.reason,
                after: events.length - before, refused,
            };
        }""",
        [*KINDS],
    )
    assert outcome["heard"] == sorted({*KINDS} - {"task_retried"}), "a page's tasks are not"
    assert outcome["done"]["function"] == "work"
    assert outcome["done"]["outcome"] == "done"
    assert outcome["done"]["seconds"] < 60
    assert outcome["progress"] == {"done": 1, "total": 3, "message": "step"}
    assert outcome["reason"] == "string"
    assert outcome["after"] == 0
    assert outcome["refused"] == f"TypeError: event must be one of {', '.join(KINDS)}"


def test_malformed_messages_are_refused_and_harm_nothing(py: Page) -> None:
    """A-07: by kind, with an answer."""
    answers = py.evaluate(
        """async () => {
            const answers = [];
            const { port } = py;
            const usual = port.onmessage;
            const wrong = [null, 7, {}, { kind: "nonsense", id: 900 }, { kind: "run", id: 901 },
                { kind: "run", id: 902, target: "a:b", args: 5 },
                { kind: "cancel", id: 903, x: 1 }];
            await new Promise((resolve) => {
                port.onmessage = ({ data }) => {
                    answers.push([data.kind, data.id, data.name, data.message]);
                    if (answers.length === wrong.length) resolve();
                };
                for (const message of wrong) port.postMessage(message);
            });
            port.onmessage = usual;
            return [answers, await py.run("math:sqrt", [4])];
        }"""
    )
    assert answers[1] == 2
    assert [answer[:3] for answer in answers[0]] == [
        ["error", id, "ProtocolError"] for id in (0, 0, 0, 900, 901, 902, 903)
    ]
    assert answers[0][4][3] == "message run: field target must be string"
    assert answers[0][6][3] == "message cancel: unknown field x"


HOLD = """
def hold():
    import time
    from pyworkers import task
    task.progress(1)
    time.sleep(60)
"""


def test_close_rejects_what_is_pending(py: Page) -> None:
    """B-04 in part: and what comes later; all threads end."""
    outcome = py.evaluate(
        """async (source) => {
            await py.exec(source);
            let pending;
            await new Promise((onProgress) => {
                pending = caught(py.run("__main__:hold", [], { onProgress }));
            });
            py.close();
            return [(await pending).slice(0, 2), (await caught(py.run("math:sqrt", [4])))[0]];
        }""",
        HOLD,
    )
    assert outcome == [
        ["ConnectionClosed", "the connection was closed"],
        "ConnectionClosed",
    ]
    deadline = time.monotonic() + 20
    while py.workers and time.monotonic() < deadline:
        py.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")
    assert py.workers == []


def test_modules_of_the_page_can_be_imported_everywhere(page: Page, isolated_url: str) -> None:
    """X-07: given as URLs of Python files."""
    page.route(
        "**/tasks.py", lambda route: route.fulfill(body="def triple(n):\n    return n * 3\n")
    )
    page.goto(f"{isolated_url}/pyworkers.json")
    assert page.evaluate(
        """async () => {
                const { connect } = await import("/page.mjs");
                const py = await connect({ modules: ["code/tasks.py"] });
                return [await py.run("tasks:triple", [14]),
                        await py.exec("import tasks\\ntasks.triple('a')")];
            }"""
    ) == [42, "aaa"]


def test_a_reload_in_the_middle_leaves_nothing_behind(page: Page, open_html: Open) -> None:
    """E-01: the page starts afresh."""
    html = """<script src="../../pyworkers.js"></script>"""
    open_html(html)
    page.evaluate("pyworkers.ready.then((py) => { py.run('time:sleep', [60]).catch(() => {}); })")
    page.reload()
    assert page.evaluate("pyworkers.ready.then((py) => py.run('math:sqrt', [25]))") == 5


def test_the_hub_dies_and_every_promise_is_rejected(py: Page) -> None:
    """X-01: with what ended it."""
    name, message, _ = py.evaluate(
        """async () => {
            const pending = caught(py.run("time:sleep", [60]));
            const exec = caught(py.exec("import os; os._exit(3)"));
            await exec;
            return pending;
        }"""
    )
    assert name == "ConnectionClosed"
    assert message.startswith("the hub ended: ")


def test_bad_options_are_refused(page: Page, isolated_url: str) -> None:
    """A-07: before anything runs, by name."""
    page.goto(f"{isolated_url}/pyworkers.json")
    errors: list[Any] = page.evaluate(
        """async () => {
            const { connect } = await import("/page.mjs");
            const caught = (options) => connect(options).then(() => "connected", String);
            return [
                await caught({ mode: "telepathy" }),
                await caught({ size: -1 }),
                await caught({ modules: ["tasks.txt"] }),
            ];
        }"""
    )
    assert "mode must be one of shared, transfer, inline or None" in errors[0]
    assert "field size must be count" in errors[1]
    assert "is not the URL of a .py file" in errors[2]


@pytest.mark.parametrize("mode", ["shared", "transfer"])
def test_the_core_is_fetched_and_compiled_once_for_all_threads(
    page: Page, isolated_url: str, plain_url: str, mode: str
) -> None:
    """D-01: by one of them, and none of the others has bytes that it could compile."""
    fetched: list[str] = []
    page.context.on("request", lambda request: fetched.append(request.url.rsplit("/", 1)[-1]))
    page.goto(f"{isolated_url if mode == 'shared' else plain_url}/pyworkers.json")
    page.evaluate(
        """async () => {
            const { connect } = await import("/page.mjs");
            window.py = await connect({ size: 3, warmUp: true });
        }"""
    )
    assert [fetched.count(name) for name in ("pyodide.asm.wasm", "python_stdlib.zip")] == [1, 1]
