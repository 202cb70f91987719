"""Shared arrays on their way to tasks and back, and their end."""

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyworkers import (
    ArenaStatistics,
    Message,
    PayloadError,
    SharedArray,
    WorkerPool,
    _codec,
    _shared_array,
    task,
)
from tests.unit.memory.tools import (
    COPIES,
    blocks,
    here,
    keep_here,
    listed,
    numbers,
    shared,
    wait_at_the_gate,
)

pytestmark = pytest.mark.timeout(60)

# On its way to tasks and back


@pytest.mark.parametrize("pickled", COPIES.values(), ids=COPIES)
def test_an_array_is_pickled_only_on_its_way_to_a_task_or_back(
    pickled: Callable[[object], object],
) -> None:
    made = SharedArray(3)
    _codec.encode(made)
    with pytest.raises(PayloadError):
        _codec.encode([made, (n for n in [1])])
    with pytest.raises(pickle.PicklingError) as raised:
        pickled(made)
    assert (
        str(raised.value)
        == "a SharedArray can only be given to a task, returned by one, or be in a message"
    )


def fill(made: SharedArray, value: int) -> SharedArray:
    made[:] = [value] * made.size
    return made


def test_a_task_is_given_the_same_memory_and_gives_it_back() -> None:
    made = SharedArray(3, "int32")
    with WorkerPool() as pool:
        future: Any = pool.submit(fill, made, 5)
        result = future.result()
    assert listed(made) == [5, 5, 5]
    result[0] = 6
    assert made[0] == 6
    assert result is not made
    assert (result.id, result.shape, result.dtype) == (made.id, made.shape, made.dtype)
    assert repr(result) == repr(made)


def first_of(found: Any) -> int:
    made = found["deep"][0][0]
    made[0] += 1
    return int(made[0])


def test_an_array_may_be_anywhere_in_what_a_task_is_given() -> None:
    made = SharedArray((2,), "int64")
    with WorkerPool(initializer=fill, initargs=(made, 1)) as pool:
        assert pool.submit(first_of, {"deep": [(made,)]}).result() == 2
        assert pool.submit(first_of, found={"deep": [(made,)]}).result() == 3
        assert list(pool.map(first_of, [{"deep": [(made,)]}] * 3)) == [4, 5, 6]
        assert pool.submit(lambda: made.add(0, 1)).result() == 6
        assert pool.submit(made.add, 0, 1).result() == 7
        assert pool.submit(lambda a, b: a is b, made, made).result()
        ref = pool.put({"deep": [(made,)]})
        assert pool.submit_with(first_of, [ref]).result() == 9
    assert listed(made) == [9, 1]


def fail_with(made: SharedArray) -> None:
    made[0] = 1
    raise LookupError(made)


def test_an_array_may_come_back_in_an_exception() -> None:
    made = SharedArray(1, "int32")
    with WorkerPool() as pool:
        error: Any = pool.submit(fail_with, made).exception()
    assert isinstance(error, LookupError)
    error.args[0][0] += 1
    assert made[0] == 2


def total_here() -> int:
    return sum(here["made"].read())


def take_from_here() -> Any:
    return here.pop("made")


def test_what_a_task_keeps_in_a_global_is_used_by_later_ones() -> None:
    made = shared(numbers((4,)))
    with WorkerPool() as pool:
        pool.submit(keep_here, made).result()
        made[0] = 91
        assert pool.submit(total_here).result() == 100
        del made
        assert blocks() == 1
        assert pool.submit(total_here).result() == 100
        here.clear()
        assert blocks() == 0


@pytest.mark.parametrize("keep", [False, True])
def test_an_array_that_only_its_worker_had_can_be_returned(keep: bool) -> None:
    made = shared(numbers((4,)))
    with WorkerPool() as pool:
        pool.submit(keep_here, made).result()
        del made
        found = pool.submit_with(take_from_here, keep=keep).result()
        made = found.get() if keep else found
        assert listed(made) == [1, 2, 3, 4]


def fill_rows(made: SharedArray, done: SharedArray, start: int, stop: int) -> None:
    with made.checkout(start, stop) as view:
        rows = np.asarray(view)
        rows += np.arange(start, stop)[:, None]
    done.add(0, stop - start)


def test_tasks_fill_rows_of_their_own_and_count_together() -> None:
    made, done = SharedArray((100, 3), "int64"), SharedArray(1, "uint32")
    with WorkerPool() as pool:
        list(pool.map(fill_rows, [made] * 10, [done] * 10, range(0, 100, 10), range(10, 101, 10)))
    assert done[0] == 100
    assert listed(made) == [[n] * 3 for n in range(100)]


# The end of an array


def memory() -> ArenaStatistics:
    found = WorkerPool().memory()
    assert found is not None
    return found


def test_memory_is_freed_with_the_last_that_uses_it() -> None:
    before = memory()
    made = SharedArray(1_000, "float64")
    assert memory().used - before.used == 8_000
    again = _shared_array.attach("inline", made.id, 0, (500,), "d")
    del made
    assert blocks() == before.blocks + 1
    again[0] = 1.0
    del again
    after = memory()
    assert (after.used, after.blocks) == (before.used, before.blocks)
    assert after.frees == before.frees + 1
    assert after.peak >= before.used + 8_000


def test_rows_that_were_read_outlive_their_array() -> None:
    view = shared(numbers((3,))).read()
    assert blocks() == 0
    assert listed(view) == [1, 2, 3]


def test_an_array_lives_as_long_as_a_task_waits_for_it() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        here["gate"] = gate
        async with WorkerPool(initializer=wait_at_the_gate) as pool:
            made = shared(numbers((3,)))
            used = pool.submit(sum_of, made)
            cancelled = pool.submit(sum_of, SharedArray(3))
            del made
            assert blocks() == 2
            cancelled.cancel()
            assert blocks() == 1
            gate.set()
            assert await used == 6
            assert blocks() == 0

    asyncio.run(asyncio.wait_for(main(), 10))


def sum_of(made: SharedArray) -> int:
    return sum(made.read())


def test_an_array_is_freed_after_a_task_that_failed() -> None:
    with WorkerPool() as pool:
        future = pool.submit(fail_with, SharedArray(1))
        future.exception()
        assert blocks() == 1, "its exception has it"
        del future
        assert blocks() == 0
        pool.submit_with(fill, [SharedArray(1), len]).exception()
        assert blocks() == 0


def test_a_function_that_refers_to_an_array_keeps_it_as_long_as_its_pool() -> None:
    def use(pool: WorkerPool, made: SharedArray) -> None:
        assert pool.submit(lambda: made[0]).result() == 0

    with WorkerPool() as pool:
        use(pool, SharedArray(1, "int32"))
        assert blocks() == 1
    del pool
    assert blocks() == 0


def test_memory_that_is_freed_is_not_found_any_more() -> None:
    made = SharedArray(1)
    id = made.id
    del made
    with pytest.raises(LookupError, match=f"what was at {id} of the shared memory is freed"):
        _shared_array.attach("inline", id, 0, (1,), "d")


def tell_here() -> None:
    channel = task.channel("arrays")
    channel.post("nothing")
    channel.post("array", take_from_here())


def test_messages_carry_arrays_that_nobody_else_holds() -> None:
    """C-08 B-08: either way, until they are read."""
    sums: list[int] = []

    def take(message: Message) -> None:
        sums.append(sum(message.payload[n] for n in range(4)))

    with WorkerPool() as pool:
        channel = pool.channel("arrays")
        channel.on("nothing", lambda _: None)
        channel.on("array", take)
        pool.submit(keep_here, shared(numbers((4,)))).result()
        assert blocks() == 1
        pool.submit(tell_here).result()
        pool.submit(abs, -1).result()
        assert sums == [10]
        assert blocks() == 0
