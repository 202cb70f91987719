"""The magics, in IPython on CPython, where tasks run in the caller."""

import atexit
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from traitlets.config import Config

from pyworkers import WorkerPool
from pyworkers.integrations._parallel import Line, Misused, parse_line
from pyworkers.integrations.ipython import Bar


@pytest.fixture
def shell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell with the extension, which leaves nothing behind."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "pyworkers")
    yield shell
    shell.run_line_magic("unload_ext", "pyworkers")
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)
    InteractiveShell.clear_instance()


class Outcome:
    """What a cell did."""

    def __init__(self, shell: InteractiveShell, source: str) -> None:
        with capture_output() as captured:
            self.result = shell.run_cell(source)
        self.outputs: list[RichOutput] = captured.outputs
        self.text: str = captured.stdout + captured.stderr

    @property
    def value(self) -> Any:
        self.result.raise_error()
        return self.result.result


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x in range(100)", Line("x", "range(100)", None, None)),
        ("x in range(100) -> results", Line("x", "range(100)", "results", None)),
        ("a, (b, *c) in pairs", Line("a, (b, *c)", "pairs", None, None)),
        ("--pool mine  w in 'a -> b'.split() -> out", Line("w", "'a -> b'.split()", "out", "mine")),
        ("x in (y for y in z if y)", Line("x", "(y for y in z if y)", None, None)),
    ],
)
def test_a_line_names_the_items_and_the_results(line: str, expected: Line) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "nothing to go through"),
        ("-> results", "nothing to go through"),
        ("range(100)", "is not like `x in range(100)`"),
        ("x range(100)", "is not like"),
        ("1 in range(100)", "is not like"),
        ("x in range(3): print(x)", "is not like"),
        ("x.y in range(3)", "names only, not to x.y"),
        ("x in range(3) -> a.b", "the results need one name"),
        ("x in range(3) -> for", "the results need one name"),
        ("--pool", "needs the name of a pool"),
        ("--pool f() x in y", "by the name of a variable"),
        ("--workers 3 x in y", "no option --workers"),
    ],
)
def test_a_line_of_another_form_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(Misused, match=re.escape(complaint)):
        parse_line(line)


def test_a_cell_runs_once_for_each_item(shell: InteractiveShell) -> None:
    """E-04: with the variables of the notebook; what it assigns is its own."""
    cell = "%%parallel x in range(4) -> found\nsquare = x * x\n\nsquare + offset"
    shell.user_ns["offset"] = 10
    assert Outcome(shell, cell).value is None
    assert shell.user_ns["found"] == [10, 11, 14, 19]
    assert not {"square", "x", "cell"} & shell.user_ns.keys()


def test_without_a_name_the_results_are_the_value_of_the_cell(shell: InteractiveShell) -> None:
    assert Outcome(shell, "%%parallel a, *b in [(1, 2, 3), (4,)]\n[a, b]").value == [
        [1, [2, 3]],
        [4, []],
    ]
    assert Outcome(shell, "%%parallel x in range(2)\nif x: return 'early'\nx = 5").value == [
        None,
        "early",
    ]


def test_a_cell_may_await_and_may_not_yield(shell: InteractiveShell) -> None:
    cell = "%%parallel x in range(3)\nimport asyncio\nawait asyncio.sleep(0)\n-x"
    assert Outcome(shell, cell).value == [0, -1, -2]
    refused = Outcome(shell, "%%parallel x in range(3)\nyield x").result.error_in_exec
    assert isinstance(refused, SyntaxError)
    assert "cannot yield" in str(refused)


def test_an_error_names_the_line_of_the_cell(shell: InteractiveShell) -> None:
    outcome = Outcome(shell, "%%parallel x in [2, 1, 0]\n\n# a comment\n1 / x")
    assert isinstance(outcome.result.error_in_exec, ZeroDivisionError)
    assert "1 / x" in outcome.text


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("%%parallel x in\n1", "is not like"),
        ("%%parallel x in range(3)\n  \n", "the cell is empty"),
        ("%%parallel --pool nobody x in range(3)\n1", "--pool nobody: that is not defined"),
        ("%%parallel --pool text x in range(3)\n1", "that is a str, not a WorkerPool"),
        ("%pyworkers stop", "%pyworkers takes no arguments, not 'stop'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    shell: InteractiveShell, cell: str, complaint: str
) -> None:
    shell.user_ns["text"] = ""
    outcome = Outcome(shell, cell)
    assert isinstance(outcome.result.error_in_exec, UsageError)
    assert complaint in outcome.text
    assert "Traceback" not in outcome.text


def test_the_pool_can_be_chosen(shell: InteractiveShell) -> None:
    with WorkerPool(1, mode="inline") as pool:
        shell.user_ns["mine"] = pool
        assert Outcome(shell, "%%parallel --pool mine x in 'ab'\nx * 2").value == ["aa", "bb"]
        assert pool.stats().done > 0


def test_the_status_says_the_mode_and_shows_the_pools(shell: InteractiveShell) -> None:
    with WorkerPool(1, mode="inline") as pool:
        shell.user_ns["mine"] = pool
        (shown,) = Outcome(shell, "%pyworkers").outputs
    assert shown.data is not None
    text, html = shown.data["text/plain"], shown.data["text/html"]
    assert "mode: inline" in text
    assert "mine: <WorkerPool inline" in text
    assert "<strong>mine</strong>" in html


def test_a_bar_counts_what_goes_through_it(shell: InteractiveShell) -> None:
    shell.user_ns.update(Bar=Bar, WorkerPool=WorkerPool)
    outcome = Outcome(
        shell,
        "with WorkerPool(1, mode='inline') as pool:\n"
        "    found = list(Bar('squares').over(pool.map(abs, [-1, -2])))\n"
        "found",
    )
    assert outcome.value == [1, 2]
    texts = [each.data["text/plain"] for each in outcome.outputs if each.data]
    assert texts[0] == "squares 0"
    assert texts[-1] == "squares 2 of 2"


def test_a_bar_shows_the_progress_of_a_future(shell: InteractiveShell) -> None:
    shell.user_ns.update(Bar=Bar, WorkerPool=WorkerPool)
    outcome = Outcome(
        shell,
        "from pyworkers import task\n"
        "def work():\n"
        "    task.progress(3, 3, '<b>')\n"
        "with WorkerPool(1, mode='inline') as pool:\n"
        "    pool.submit(work).add_progress_callback(Bar().update)",
    )
    last = outcome.outputs[-1].data
    assert last is not None
    assert last["text/plain"] == "3 of 3 <b>"
    assert "&lt;b&gt;" in last["text/html"]


def test_pyworkers_alone_needs_no_ipython() -> None:
    code = (
        "import sys; sys.modules['IPython'] = None\n"
        "import pyworkers\n"
        "assert not any(name.startswith('pyworkers.integrations') for name in sys.modules)\n"
        "assert not hasattr(pyworkers, 'anything')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
