"""Tasks that hold their worker without using its processor, and what needs them."""

import os
from asyncio import Event, sleep, timeout
from collections.abc import Callable
from time import perf_counter

import js

from pyworkers import WorkerPool, task


def hold(seconds: float) -> int:
    """Blocks the thread; returns the number of its interpreter."""
    js.Atomics.wait(js.Int32Array.new(js.SharedArrayBuffer.new(4)), 0, 0, seconds * 1000)
    return number()


def number() -> int:
    """Names this interpreter."""
    return os.getpid()


def check_in() -> None:
    """Says that Python runs here, then holds the worker, so that the next task goes elsewhere."""
    task.progress(1)
    hold(60)


def progress(count: int) -> None:
    """Reports so many times."""
    for i in range(count):
        task.progress(i)


async def start_all(pool: WorkerPool, workers: int) -> None:
    """Waits until so many workers of a pool have run a task."""
    seen: set[int] = set()
    while len(seen) < workers:
        for future in [pool.submit(hold, 0.3) for _ in range(workers)]:
            seen.add(await future)


async def time_further(pool: WorkerPool, is_ready: Callable[[], bool]) -> float:
    """Returns the seconds from the submission of a task to its result.

    Args:
        pool: of two workers, with the module ``held``, that has been given nothing yet.
        is_ready: whether the pool has got all that it starts the second worker from.
    """
    first = await pool.submit(number)
    async with timeout(120):
        while not is_ready():
            await sleep(0.02)  # no event tells of a reserve, nor of a fork
        began = Event()
        pool.on("task_started", lambda _: began.set())
        holder = pool.submit(hold, 60)
        await began.wait()
    started = perf_counter()
    second = await pool.submit(number)
    seconds = perf_counter() - started
    assert second != first
    pool.kill(holder)
    return seconds
