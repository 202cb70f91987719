"""B-06 B-12 to B-14: what hub and workers share, where they are one interpreter."""

import asyncio
from typing import Any

import pytest

from pyworkers import WorkerPool
from pyworkers.sync import (
    Array,
    BoundedSemaphore,
    CancellationToken,
    Condition,
    Latch,
    Lock,
    Queue,
    Semaphore,
    ShareableList,
    SharedCancellation,
    SharedCounter,
    SharedMemory,
    SharedProgress,
    Value,
)


def work(
    counter: SharedCounter,
    progress: SharedProgress,
    token: CancellationToken,
    value: Any,
    array: Any,
    memory: SharedMemory,
) -> tuple[int, bool, int]:
    counter.add(3)
    progress.increment(2)
    value.value += 1
    array[0] = 5
    memory.buf[0] = 7
    return counter.get(), token.is_cancelled(), SharedMemory(memory.name).buf[0]


def test_all_of_it_works_in_one_interpreter() -> None:
    counter = SharedCounter(mode="inline")
    progress = SharedProgress(5, mode="inline")
    cancellation = SharedCancellation(mode="inline")
    value, array = Value("i", mode="inline"), Array("d", 3, mode="inline")
    memory = SharedMemory(create=True, size=4, mode="inline")
    items = ShareableList([1, "x", None], mode="inline")
    locks = [Lock(mode="inline") for _ in range(3)]
    with WorkerPool(2, mode="inline") as pool:
        given = counter, progress, cancellation.token(), value, array, memory
        assert pool.submit(work, *given).result() == (3, False, 7)
        assert list(pool.submit(lambda items: items, items).result()) == [1, "x", None]
        assert pool.submit(lambda locks: [lock.acquire() for lock in locks], locks).result() == [
            True,
            True,
            True,
        ]
    assert repr(counter) == "<SharedCounter 3>"
    assert repr(progress) == "<SharedProgress 2 of 5>"
    assert progress.percent == 40
    assert (value.value, array[:], memory.buf[0]) == (1, [5.0, 0.0, 0.0], 7)
    cancellation.cancel()
    assert cancellation.wait(1)
    memory.unlink()
    items.shm.unlink()


async def hand_on(turns: int, moment: str) -> list[str]:
    """Has the first of two waits notified and cancelled; returns who has gone on.

    Args:
        turns: of the loop between those.
        moment: whether it can have its lock "before" them, or "after" them, or after its "cancel".
    """
    condition = Condition(Lock(mode="inline"))
    woken = []

    async def wait(name: str) -> None:
        async with condition:
            await condition.wait_async()
            woken.append(name)

    first, second = [asyncio.ensure_future(wait(name)) for name in ("first", "second")]
    while condition.statistics().waiting < 2:
        await asyncio.sleep(0)
    async with condition:
        condition.notify()
        if moment == "before":
            condition.release()
        for _ in range(turns):
            await asyncio.sleep(0)
        if moment == "cancel":
            first.cancel()
        if moment == "before":
            first.cancel()
            await condition.acquire_async()
    first.cancel()
    await asyncio.wait([first, second], timeout=0.1)
    second.cancel()
    await asyncio.wait([second])
    return woken


def test_a_wait_that_is_cancelled_as_it_has_its_lock_again_hands_its_notification_on() -> None:
    """X-05: whenever it is cancelled, one of the two has heard of it."""
    for moment in ("before", "after", "cancel"):
        found = [asyncio.run(hand_on(turns, moment)) for turns in range(6)]
        assert found[0] == ["second"]
        assert found[-1] == (["first"] if moment == "before" else ["second"])
        assert all(len(woken) == 1 for woken in found), (moment, found)


def test_a_bounded_semaphore_of_none_cannot_be_released() -> None:
    """A-04."""
    semaphore = BoundedSemaphore(0, mode="inline")
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()
    assert semaphore.get_value() == 0


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore, Latch, Queue])
def test_what_cannot_be_counted_is_refused(make: Any) -> None:
    """A-04 X-05: numbers are kept in words of 32 bits."""
    assert make(2**31 - 1, mode="inline") is not None
    with pytest.raises(ValueError, match="from 0 to 2147483647, not 2147483648"):
        make(2**31, mode="inline")


def test_an_array_is_made_from_what_has_an_index_and_refuses_it() -> None:
    """B-12: as arrays of NumPy do, unless they have one element."""

    class Numbers(list[float]):
        def __index__(self) -> int:
            raise TypeError("only arrays of one integer can be an index")

    assert list(Array("d", Numbers([1.5, 2.5]), mode="inline")) == [1.5, 2.5]
