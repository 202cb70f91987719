"""Tasks that hold their worker without using its processor, and what needs them."""

import os

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
