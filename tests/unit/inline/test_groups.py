"""Tasks that belong together, in mode inline."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from pyworkers import TaskGroup, WorkerPool
from tests.unit.inline.tools import closed_pool, in_loop, inverse, note, square

pytestmark = pytest.mark.timeout(30)


def test_a_group_waits_for_its_tasks() -> None:
    """C-15"""
    with WorkerPool() as pool, pool.group() as group:
        for n in range(3):
            group.submit(square, n)
        group.submit_with(square, [9], priority="high")
    assert group.results() == [0, 1, 4, 81]
    assert repr(group) == "<TaskGroup: 4 of 4 tasks are done>"


def test_an_empty_group_is_over_at_once() -> None:
    with WorkerPool() as pool, pool.group() as group:
        pass
    assert group.results() == []


@in_loop
async def test_if_one_fails_the_others_are_cancelled() -> None:
    """C-15: and all that failed is raised together."""

    async def fails(group: TaskGroup) -> None:
        async with group:
            group.submit(asyncio.sleep, 3600)
            group.submit(inverse, 0)

    async with WorkerPool() as pool:
        group = pool.group()
        with pytest.raises(BaseExceptionGroup) as failed:
            await fails(group)
        assert [type(error) for error in failed.value.exceptions] == [ZeroDivisionError]
        assert group.futures[0].cancelled()
        assert repr(group) == "<TaskGroup: 2 of 2 tasks are done>"
        assert await pool.submit(square, 2) == 4


@in_loop
async def test_a_block_that_fails_cancels_its_tasks() -> None:
    """C-15: what it raised comes out alone."""

    async def fails(group: TaskGroup) -> None:
        async with group:
            group.submit(note, 1)
            raise LookupError

    async with closed_pool() as pool:
        group = pool.group()
        with pytest.raises(LookupError):
            await fails(group)
        assert group.futures[0].cancelled()


@in_loop
async def test_who_is_cancelled_while_it_waits_cancels_the_group() -> None:
    """C-15"""
    async with WorkerPool() as pool:
        group = pool.group()

        async def use() -> None:
            async with group:
                group.submit(asyncio.sleep, 3600)

        using = asyncio.ensure_future(use())
        while not group.futures:
            await asyncio.sleep(0)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        assert group.futures[0].cancelled()


@in_loop
async def test_a_task_that_was_cancelled_is_no_failure() -> None:
    """C-15: as in asyncio."""
    async with WorkerPool() as pool:
        async with pool.group() as group:
            group.submit(asyncio.sleep, 3600).cancel(running=True)
            other = group.submit(square, 3)
        assert other.result() == 9
        with pytest.raises(CancelledError):
            group.results()
