"""Refs in mode inline: what is put, results that are kept, and how long."""

import asyncio
import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyworkers import PayloadError, Ref, RemoteTraceback, SharedArray, WorkerPool
from pyworkers._codec import SPILL_BYTES
from tests.unit.memory.tools import COPIES, LARGE, VALUES, blocks, here, same, wait_at_the_gate

pytestmark = pytest.mark.timeout(60)

# Refs


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_put_is_given_to_tasks_and_can_be_got(value: Any) -> None:
    with WorkerPool() as pool:
        ref = pool.put(value)
        assert ref.get() == value
        result = pool.submit(same, ref).result()
        assert result == value
        assert type(result) is type(value)
        assert pool.submit(repr, ref).result() == repr(value)


def test_a_ref_says_how_large_its_object_is() -> None:
    with WorkerPool() as pool:
        ref = pool.put(bytes(100_000))
    assert 100_000 < ref.size < 100_200
    assert repr(ref) == f"<Ref {ref.id}: {ref.size} bytes, mode inline>"


def test_each_get_returns_a_copy_of_its_own() -> None:
    with WorkerPool() as pool:
        ref = pool.put([1])
    one, other = ref.get(), ref.get()
    one.append(2)
    assert (one, other, ref.get()) == ([1, 2], [1], [1])


def append_to(values: list[int]) -> list[int]:
    values.append(len(values))
    return values


def scale(values: Any) -> None:
    values *= 10


def test_a_task_that_changes_its_copy_changes_nothing_else() -> None:
    values = [0]
    rows = np.ones(SPILL_BYTES)
    with WorkerPool() as pool:
        ref, large = pool.put(values), pool.put(rows)
        values.append(7)
        assert [pool.submit_with(append_to, [ref]).result() for _ in range(3)] == [[0, 1]] * 3
        pool.submit(scale, large).result()
    assert ref.get() == [0]
    assert large.get().sum() == SPILL_BYTES
    assert values == [0, 7]


def test_a_ref_may_be_anywhere_in_what_a_task_is_given() -> None:
    with WorkerPool() as pool:
        ref: Any = pool.put({"a": 1})
        wrapped: Any = {"deep": [(ref,), {"deeper": [[[ref]]]}]}
        found = {"deep": [({"a": 1},), {"deeper": [[[{"a": 1}]]]}]}
        assert pool.submit(same, wrapped).result() == found
        assert pool.submit(same, value=wrapped).result() == found
        assert pool.submit_with(same, kwargs={"value": ref}).result() == {"a": 1}
        assert list(pool.map(same, [ref, 2, wrapped])) == [{"a": 1}, 2, found]
        assert pool.submit(lambda: ref).result() == {"a": 1}


def test_what_is_one_ref_in_the_arguments_is_one_object_in_the_call() -> None:
    with WorkerPool() as pool:
        ref = pool.put([1])
        assert pool.submit(lambda a, b: a is b, ref, ref).result()
        assert not pool.submit(lambda a, b: a is b, ref, pool.put([1])).result()


def begin(table: dict[str, int], size: int) -> None:
    here["table"] = table | {"size": size}


def test_an_initializer_may_be_given_a_ref() -> None:
    ref = WorkerPool().put({"a": 1})
    with WorkerPool(initializer=begin, initargs=(ref, 2)) as pool:
        del ref
        assert pool.submit(lambda: None).result() is None
        assert here["table"] == {"a": 1, "size": 2}


def test_a_ref_may_stand_for_what_holds_other_refs() -> None:
    with WorkerPool() as pool:
        inner: Any = pool.put([1])
        outer = pool.put({"inner": inner, "array": SharedArray(2, "int8")})
        outermost = pool.put((outer, inner))
        del inner, outer
        assert blocks() == 4
        found, again = pool.submit_with(same, [outermost]).result()
        assert found["inner"] == again == outermost.get()[1] == [1]
        assert found["array"].read().tolist() == [0, 0]


def test_a_function_that_is_put_is_called_where_it_is_given() -> None:
    factor = 3
    with WorkerPool() as pool:
        ref = pool.put(lambda n: n * factor)
        assert list(pool.submit_with(map, [ref, [1, 2]], keep=True).result().get()) == [3, 6]


def test_what_cannot_be_pickled_is_not_put() -> None:
    with WorkerPool() as pool:
        with pytest.raises(PayloadError, match=r"cannot pickle '_thread.lock' object"):
            pool.put([bytes(SPILL_BYTES), threading.Lock()])
        with pytest.raises(PayloadError, match="cannot pickle"):
            pool.put([pool.put(1), threading.Lock()])


def fail_to_be_read() -> None:
    raise LookupError("cannot be read")


class Unreadable:
    """Can be pickled, and not be read back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fail_to_be_read, ()


def test_what_cannot_be_read_fails_whoever_reads_it() -> None:
    with WorkerPool() as pool:
        ref = pool.put(Unreadable())
        with pytest.raises(PayloadError, match="LookupError: cannot be read"):
            ref.get()
        error = pool.submit(same, ref).exception()
        assert isinstance(error, PayloadError)
        assert "LookupError: cannot be read" in str(error)
        assert pool.submit(same, 1).result() == 1


@pytest.mark.parametrize("pickled", COPIES.values(), ids=COPIES)
def test_a_ref_is_pickled_only_on_its_way_to_a_task_or_back(
    pickled: Callable[[object], object],
) -> None:
    with WorkerPool() as pool:
        ref = pool.put(1)
        pool.submit(same, ref).result()
        with pytest.raises(pickle.PicklingError) as raised:
            pickled(ref)
    assert (
        str(raised.value)
        == "a Ref can only be given to a task, returned by one, or be in a message"
    )


# Results that are kept


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_result_that_is_kept_is_given_to_other_tasks(value: Any) -> None:
    with WorkerPool() as pool:
        ref = pool.submit_with(same, [value], keep=True).result()
        assert isinstance(ref, Ref)
        assert pool.submit(repr, ref).result() == repr(value)
        again = pool.submit_with(same, [ref], keep=True).result()
        del ref
        assert again.get() == value


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_what_cannot_be_written_to_stays_so(value: Any) -> None:
    with WorkerPool() as pool:
        kept = pool.submit_with(same, [value], keep=True).result()
        for ref in (pool.put(value), pool.put([[[[value]]]]), kept):
            found: Any = ref.get()
            while type(found) is list:
                found = found[0]
            assert type(found) is type(value)
            assert memoryview(found).readonly == memoryview(value).readonly
            assert bytes(found) == bytes(value)


async def slowly(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def test_the_result_of_a_coroutine_can_be_kept() -> None:
    async def main() -> None:
        async with WorkerPool() as pool:
            ref = await pool.submit_with(slowly, [{"a": 1}], keep=True)
            assert await pool.submit(slowly, ref) == {"a": 1}

    asyncio.run(asyncio.wait_for(main(), 10))


def fail(value: object) -> None:
    raise ValueError("wrong", value)


def test_the_exception_of_a_task_whose_result_is_to_be_kept_is_raised() -> None:
    with WorkerPool() as pool:
        with pytest.raises(ValueError, match="wrong") as raised:
            pool.submit_with(fail, [bytes(SPILL_BYTES)], keep=True).result()
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        error = pool.submit_with(threading.Lock, keep=True).exception()
        assert isinstance(error, PayloadError)
        assert str(error).startswith("the result of the task, <unlocked _thread.lock object")
        assert pool.submit_with(same, [1], keep=True).result().get() == 1


def test_a_result_that_is_kept_keeps_what_it_refers_to() -> None:
    with WorkerPool() as pool:
        made = SharedArray(2, "int8")
        ref = pool.submit_with(same, [{"made": made}], keep=True).result()
        made[0] = 5
        del made
        assert blocks() == 2
        assert ref.get()["made"][0] == 5


def take_from_here() -> Any:
    return here.pop("ref")


@pytest.mark.parametrize("keep", [False, True])
def test_a_ref_that_only_a_task_had_can_be_returned(keep: bool) -> None:
    with WorkerPool() as pool:
        here["ref"] = pool.put([1])
        found = pool.submit_with(take_from_here, keep=keep).result()
        assert (found.get() if keep else found) == [1]


# How long an object is kept


def test_an_object_is_kept_as_long_as_there_is_a_ref_to_it() -> None:
    with WorkerPool() as pool:
        ref = pool.put(bytes(100_000))
        used = pool.memory()
        future = pool.submit_with(same, [ref], keep=True)
        assert blocks() == 2
        del future
        assert blocks() == 1
        again = ref
        del ref
        assert blocks() == 1
        assert used is not None
        del again
        assert blocks() == 0
        left = pool.memory()
        assert left is not None
        assert used.used - left.used >= 100_000


def test_an_object_is_kept_as_long_as_a_task_waits_for_it() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        here["gate"] = gate
        async with WorkerPool(initializer=wait_at_the_gate) as pool:
            future = pool.submit_with(len, [pool.put([1, 2])])
            cancelled = pool.submit_with(len, [pool.put([3])])
            late = pool.submit_with(len, [pool.put([4])], timeout=0)
            killed = pool.submit_with(len, [pool.put([5])])
            assert blocks() == 4
            cancelled.cancel()
            pool.kill(killed)
            with pytest.raises(TimeoutError):
                await late
            assert blocks() == 1
            gate.set()
            assert await future == 2
            assert blocks() == 0

    asyncio.run(asyncio.wait_for(main(), 10))


def test_an_object_is_freed_after_a_task_that_failed() -> None:
    with WorkerPool() as pool:
        futures: list[Any] = [
            pool.submit_with(fail, [pool.put([1])]),
            pool.submit_with(fail, [pool.put([1])], keep=True),
            pool.submit_with(len, [pool.put([1]), 2]),
            pool.submit_with(same, [pool.put(Unreadable())]),
            pool.submit_with(threading.Lock, [pool.put([1])]),
        ]
        assert all(future.exception() for future in futures)
        assert blocks() == 0
        assert pool.submit_with(same, [pool.put([1]), threading.Lock()]).exception()
        assert blocks() == 0


def test_a_function_that_refers_to_an_object_keeps_it_as_long_as_its_pool() -> None:
    def use(pool: WorkerPool, ref: Any) -> None:
        assert pool.submit(lambda: ref).result() == 5

    with WorkerPool() as pool:
        use(pool, pool.put(5))
        assert blocks() == 1
    del pool
    assert blocks() == 0


def test_an_object_outlives_the_pool_that_kept_it() -> None:
    with WorkerPool() as pool:
        future = pool.submit_with(same, [[1]], keep=True)
        put = pool.put([2])
    kept = future.result()
    del pool, future
    gc.collect()
    with WorkerPool() as other:
        assert list(other.map(same, [kept, put])) == [[1], [2]]
    assert kept.get() + put.get() == [1, 2]


def test_a_result_is_kept_while_its_pool_shuts_down() -> None:
    async def main() -> None:
        async with WorkerPool() as pool:
            future = pool.submit_with(slowly, [[1]], keep=True)
            pool.shutdown(wait=False)
        assert (await future).get() == [1]

    asyncio.run(asyncio.wait_for(main(), 10))
