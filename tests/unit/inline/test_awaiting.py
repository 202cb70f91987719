"""Awaiting, and tasks that are coroutines."""

import asyncio
import concurrent.futures
from typing import Any

import pytest

from pyworkers import ModeError, RemoteTraceback, WorkerPool
from tests.unit.inline.tools import GatedPool, gate, in_loop, inverse, later, pass_gate, square

pytestmark = pytest.mark.timeout(30)


@in_loop
async def test_a_future_can_be_awaited_more_than_once() -> None:
    """B-06, X-01"""
    async with WorkerPool() as pool:
        future = pool.submit(square, 3)
        assert [await future, await future] == [9, 9]
        assert await asyncio.gather(*(pool.submit(square, n) for n in range(4))) == [0, 1, 4, 9]
        with pytest.raises(ZeroDivisionError) as raised:
            await pool.submit(inverse, 0)
        assert isinstance(raised.value.__cause__, RemoteTraceback)


@in_loop
async def test_asyncio_takes_the_pool_as_it_takes_any_executor() -> None:
    """X-01"""
    async with WorkerPool() as pool:
        assert await asyncio.wrap_future(pool.submit(square, 3)) == 9
        assert await asyncio.wrap_future(pool.submit(later, 4)) == 4
        assert await asyncio.get_running_loop().run_in_executor(pool, square, 5) == 25


def test_a_coroutine_function_runs_where_no_loop_runs(pool: WorkerPool) -> None:
    """B-06"""
    assert pool.submit(later, 5).result() == 5
    assert pool.submit(square, 3).result() == 9


@in_loop
async def test_a_coroutine_that_waits_keeps_no_other_task_from_running() -> None:
    """B-06, X-06"""
    async with GatedPool() as pool:
        waiting = [pool.submit(pass_gate, n) for n in range(3)]
        assert await pool.submit(later, 5) == 5
        assert pool.submit(square, 3).result() == 9
        assert all(future.running() for future in waiting)
        gate.set()
        assert await asyncio.gather(*waiting) == [0, 1, 2]


@in_loop
async def test_a_coroutine_that_raises_fails_its_future() -> None:
    """B-06"""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("nothing there")

    async with WorkerPool() as pool:
        with pytest.raises(LookupError, match="nothing there") as raised:
            await pool.submit(fail)
        assert "in fail" in str(raised.value.__cause__)


@in_loop
async def test_blocking_for_a_coroutine_inside_of_its_loop_is_refused() -> None:
    """B-06: a clear error, and no deadlock."""
    async with WorkerPool() as pool:
        future = pool.submit(later, 5)
        for blocking in (
            future.result,
            future.exception,
            lambda: next(pool.as_completed([future])),
        ):
            with pytest.raises(ModeError, match=r"use `await future`"):
                blocking()
        assert await future == 5


@in_loop
async def test_blocking_for_a_function_inside_of_a_loop_works() -> None:
    """B-06"""
    with WorkerPool() as pool:
        assert pool.submit(square, 3).result() == 9
        assert list(pool.map(square, range(3))) == [0, 1, 4]


def test_a_pool_outlives_an_event_loop(pool: WorkerPool) -> None:
    """B-06"""

    never: Any = concurrent.futures.Future()

    async def use(n: int) -> Any:
        future = pool.submit(later, n)
        with pytest.raises(TimeoutError):
            await anext(pool.as_completed([never], timeout=0))
        return await future

    assert [asyncio.run(use(1)), asyncio.run(use(2))] == [1, 2]
    assert pool.submit(later, 3).result() == 3
