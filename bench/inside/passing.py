"""Both ends of a queue, of whatever kind."""

from time import perf_counter
from typing import Any

BATCH = 100


def put_all(queue: Any, count: int) -> None:
    """Puts so many objects, one by one."""
    for i in range(count):
        queue.put((i, "item"))


def take_all(queue: Any, count: int) -> float:
    """Takes so many objects, one by one; returns the seconds from the first to the last."""
    queue.get()
    started = perf_counter()
    for _ in range(count - 1):
        queue.get()
    return perf_counter() - started


def put_batches(queue: Any, count: int) -> None:
    """Puts so many objects, in batches."""
    for i in range(0, count, BATCH):
        queue.put_many([(n, "item") for n in range(i, i + BATCH)])


def take_batches(queue: Any, count: int) -> float:
    """Takes so many objects, in batches; returns the seconds from the first to the last."""
    taken = len(queue.get_many(1))
    started = perf_counter()
    while taken < count:
        taken += len(queue.get_many(BATCH))
    return perf_counter() - started
