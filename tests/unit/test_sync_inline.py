"""B-06 B-12 to B-14: what hub and workers share, where they are one interpreter."""

from typing import Any

from pyworkers import WorkerPool
from pyworkers.sync import (
    Array,
    CancellationToken,
    Lock,
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
