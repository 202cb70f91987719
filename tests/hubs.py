"""Hubs to run Python in: the same test runs in each of them.

A test gives source, the hub runs it as the body of an ``async def`` and returns what it returns.
"""

import json
import subprocess
import textwrap
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
    """

    place: str
    mode: str
    can_block: bool

    def run(self, body: str, **values: Any) -> Any:
        """Runs the body of an ``async def``, with some plain values as its variables."""


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


class PageHub:
    """A hub in a worker of a page.

    Args:
        page: an open page of a built site.
        url: of the site, without a slash at the end.
        mode: that the page allows.
        place: the browser.
    """

    def __init__(self, page: Evaluates, url: str, mode: str, place: str = "chromium") -> None:
        self.page = page
        self.place = place
        self.mode = mode
        self.can_block = mode == "shared"
        page.goto(f"{url}/pyworkers.json")
        page.evaluate(
            """async (url) => {
                const { connect } = await import(`${url}/page.mjs`);
                window.output = [];
                const onOutput = (output) => window.output.push(output);
                window.py = await connect({ size: 2, onOutput });
            }""",
            url,
        )
        assert page.evaluate("py.mode") == mode

    def run(self, body: str, **values: Any) -> Any:
        answer = self.page.evaluate(
            """(source) => py.exec(source).then(
                (value) => ({ value }),
                ({ name, message, pythonTraceback }) => ({ name, message, pythonTraceback }),
            )""",
            as_program(body, values),
        )
        return unwrapped(answer)

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
