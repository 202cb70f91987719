"""Hubs to run Python in: the same test runs in each of them.

A test gives source, the hub runs it as the body of an ``async def`` and returns what it returns.
"""

import json
import subprocess
import textwrap
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

PRELUDE = """
import asyncio, os, sys, time
from pyworkers import *
async def both_started(pool):
    def pid():
        time.sleep(0.05)
        return os.getpid()
    while len({*await asyncio.gather(pool.submit(pid), pool.submit(pid))}) < 2:
        pass
"""


class HubError(Exception):
    """What JavaScript's promise was rejected with: the Python error's name, message, traceback."""

    def __init__(self, name: str, message: str, traceback: str) -> None:
        super().__init__(f"{name}: {message}\n{traceback}")
        self.name = name
        self.message = message


class Hub(Protocol):
    """A place where Python owns pools.

    Attributes:
        place: the browser, or "node".
        mode: of its pools.
        can_block: whether synchronous calls can wait there.
        version: of the browser, or of Node.
    """

    place: str
    mode: str
    can_block: bool
    version: str

    def run(self, body: str, **values: Any) -> Any:
        """Runs the body of an ``async def``, with some plain values as its variables."""

    def ends_loops(self) -> bool:
        """Whether a worker that is ended in a loop of WebAssembly ends."""

    def hears_of_failed_fetches(self) -> bool:
        """Whether Python is told when a fetch fails."""


def as_program(body: str, values: dict[str, Any]) -> str:
    """Returns a program whose last expression is what the body returns."""
    head = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return f"{PRELUDE}{head}async def _body():\n{body}\nawait _body()\n"


class Evaluates(Protocol):
    """What a hub needs of a page, whoever drives it."""

    def goto(self, url: str) -> Any:
        """Opens a URL."""

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """Evaluates an expression, or calls a function; awaits what it returns."""


HEARS = """
from pyodide.http import pyfetch
try:
    await asyncio.wait_for(pyfetch("https://127.0.0.1:9/nothing"), 10)
except TimeoutError:
    return False
except OSError:
    return True
"""

# (loop (br_if 0 (i64.ne (local.tee 0 (i64.add (local.get 0) (i64.const 1))) (i64.const 2**35))))
LOOP = bytes.fromhex(
    "0061736d01000000 010401600000 03020100 07050101660000"
    "0a1a0118 01017e 0340 2000 4201 7c 2200 428080808080 01 52 0d00 0b 0b"
)

ENDS_LOOPS = """
async (bytes) => {
    const module = new WebAssembly.Module(new Uint8Array(bytes));
    const name = `loop-${crypto.randomUUID()}`;
    const source = `onmessage = ({ data }) => navigator.locks.request("${name}", () => {
        const { f } = new WebAssembly.Instance(data).exports;
        postMessage("held");
        setTimeout(f, 0);
        return new Promise(() => {});
    })`;
    const worker = new Worker(URL.createObjectURL(new Blob([source])));
    const held = new Promise((resolve) => { worker.onmessage = resolve; });
    worker.postMessage(module);
    await held;
    await new Promise((resolve) => setTimeout(resolve, 200));
    worker.terminate();
    const ended = navigator.locks.request(name, () => true);
    // Chromium lets a thread end by itself for 2 s, and then ends it.
    const late = new Promise((resolve) => setTimeout(resolve, 6000, false));
    return Promise.race([ended, late]);
}
"""

THREADS = """
async (patience) => {
    for (let waited = 0; ; waited += 50) {
        const { held } = await navigator.locks.query();
        const left = held.filter(({ name }) => name.startsWith("pyworkers-")).length - 1;
        if (left === 0 || waited >= patience) return left;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}
"""


class PageHub:
    """A hub in a worker of a page.

    Args:
        page: an open page of a built site.
        url: of the site, without a slash at the end.
        mode: that the page allows.
        place: the browser.
        version: of the browser.
    """

    def __init__(
        self, page: Evaluates, url: str, mode: str, place: str = "chromium", version: str = ""
    ) -> None:
        self.page = page
        self.url = url
        self.place = place
        self.mode = mode
        self.can_block = mode == "shared"
        self.version = version
        self.open()

    def open(self) -> None:
        """Starts the hub, in the page as it is now."""
        self.page.goto(f"{self.url}/pyworkers.json")
        self.page.evaluate(
            """async (url) => {
                const { connect } = await import(`${url}/page.mjs`);
                window.output = [];
                const onOutput = (output) => window.output.push(output);
                window.py = await connect({ size: 2, onOutput });
            }""",
            self.url,
        )
        assert self.page.evaluate("py.mode") == self.mode

    def run(self, body: str, **values: Any) -> Any:
        answer = self.page.evaluate(
            """(source) => py.exec(source).then(
                (value) => ({ value }),
                ({ name, message, pythonTraceback }) => ({ name, message, pythonTraceback }),
            )""",
            as_program(body, values),
        )
        return unwrapped(answer)

    def ends_loops(self) -> bool:
        return self._ends_loops

    @cached_property
    def _ends_loops(self) -> bool:
        return bool(self.page.evaluate(ENDS_LOOPS, list(LOOP)))

    def hears_of_failed_fetches(self) -> bool:
        return bool(self.run(HEARS))

    def threads(self, patience: float = 0.0) -> int:
        """How many threads of workers there are, by what they hold until they have ended.

        Args:
            patience: seconds in which they may still end, all of them.
        """
        return int(self.page.evaluate(THREADS, 1000 * patience))

    def output(self) -> str:
        """What Python has printed so far."""
        return str(self.page.evaluate("output.map((output) => output.text).join('')"))


def unwrapped(answer: dict[str, Any]) -> Any:
    """Returns the value of an answer, or raises its error."""
    if "name" in answer:
        raise HubError(answer["name"], answer["message"], answer["pythonTraceback"])
    return answer.get("value")


class NodeHub:
    """A hub in a worker thread of Node.

    Args:
        site: a built site.
        mode: asked for.
        preamble: JavaScript that each of its threads runs first.
    """

    def __init__(self, site: Path, mode: str, preamble: str = "") -> None:
        self.place = "node"
        self.mode = mode
        self.can_block = mode == "shared"
        self.version = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [
                "node",
                f"--import=data:text/javascript,{preamble}",
                str(Path(__file__).with_name("node_hub.mjs")),
                str(site),
                mode,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def run(self, body: str, **values: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(as_program(body, values)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def ends_loops(self) -> bool:
        return True  # V8 looks for its end in each turn of a loop

    def hears_of_failed_fetches(self) -> bool:
        return bool(self.run(HEARS))

    def output(self) -> str:
        """What Python has printed so far."""
        return "".join(self._lines)

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            if "output" not in answer:
                return unwrapped(answer)
            self._lines.append(answer["output"])
        raise AssertionError(f"Node ended with code {self.process.wait(10)}")

    def close(self) -> None:
        """Ends the hub; Node must then end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            assert self.process.wait(20) == 0
        finally:
            self.process.kill()
            self.process.__exit__(None, None, None)
