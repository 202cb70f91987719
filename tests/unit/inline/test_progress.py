"""Progress and output."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pyworkers import WorkerPool, task
from pyworkers._output import Printer
from tests.unit.inline.tools import closed_pool, gate, in_loop, log, square

pytestmark = pytest.mark.timeout(30)


def count_to(n: int) -> int:
    for i in range(n):
        task.progress(i, n, f"step {i}")
    return n


async def count_slowly_to(n: int) -> int:
    for i in range(n):
        await asyncio.sleep(0)
        task.progress(i, n, f"step {i}")
    return n


@pytest.mark.parametrize("function", [count_to, count_slowly_to])
def test_progress_is_reported(function: Callable[[int], Any]) -> None:
    """B-01, B-06"""
    reports: list[tuple[float, float | None, str]] = []

    async def main() -> None:
        async with closed_pool() as pool:
            future = pool.submit(function, 3)
            future.add_progress_callback(lambda *report: reports.append(report))
            gate.set()
            assert await future == 3

    asyncio.run(main())
    assert reports == [(0, 3, "step 0"), (1, 3, "step 1"), (2, 3, "step 2")]


def test_a_function_may_report_progress_where_nobody_listens(pool: WorkerPool) -> None:
    """B-06"""
    assert count_to(3) == 3
    assert pool.submit(count_to, 3).result() == 3


def test_a_progress_message_may_be_long(pool: WorkerPool) -> None:
    """B-06"""
    assert pool.submit(lambda: task.progress(1, 2, "x" * 200_000)).result() is None


@in_loop
async def test_a_progress_callback_that_raises_harms_nothing_else() -> None:
    """A-07"""

    def fail(done: float, total: float | None, message: str) -> None:
        log.append(message)
        raise LookupError("in a callback")

    async with closed_pool() as pool:
        future = pool.submit(count_to, 3)
        future.add_progress_callback(fail)
        future.add_progress_callback(lambda *_: log.append("next"))
        gate.set()
        assert await future == 3
        assert await pool.submit(square, 3) == 9
    assert log == ["step 0", "next", "step 1", "next", "step 2", "next"]


def test_output_is_printed_behind_the_number_of_its_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = Printer()
    printer(3, "stdout", "one\ntw")
    printer(4, "stderr", "oh")
    printer(3, "stdout", "o\nth")
    printer(5, "stdout", "again\n")
    assert capsys.readouterr() == (
        "[worker 3] one\n[worker 3] two\n[worker 3] th\n[worker 5] again\n",
        "[worker 4] oh",
    )
