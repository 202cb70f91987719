"""The pool's whole interface in mode inline, where tasks run in the calling thread (B-06).

What these tests say of results, errors and order holds in the other modes too.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import os
import random
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from pyworkers import (
    BrokenWorkerPool,
    ModeError,
    PayloadError,
    PyworkersError,
    RemoteTraceback,
    WorkerLost,
    WorkerPool,
    _hub,
    task,
)
from pyworkers._channels.memory import MemoryLink
from pyworkers._env import module_source
from pyworkers._output import Printer
from pyworkers._protocol import SPILLED, Kind
from pyworkers._worker import Worker

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test in an event loop, and fails it rather than let it wait for ever."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 10))

    return run


log: list[Any] = []
"""What functions note that tasks call by name: they run in this very interpreter."""

here: dict[str, Any] = {}
"""What tasks use of this interpreter."""

gate = asyncio.Event()


@pytest.fixture(autouse=True)
def close_gate() -> None:
    global gate  # noqa: PLW0603
    gate = asyncio.Event()


@pytest.fixture(autouse=True)
def clear_log() -> None:
    log.clear()


def note(item: Any) -> Any:
    log.append(item)
    return item


def square(n: int) -> int:
    return n * n


def inverse(n: float) -> float:
    return 1 / n


async def pass_gate(result: Any = None) -> Any:
    """A task, or an initializer, that takes until a test opens the gate."""
    await gate.wait()
    return result


async def later(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


async def refuse() -> None:
    """A task that does not end for being cancelled."""
    while not gate.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)


class GatedPool(WorkerPool):
    """Opens the gate when a test fails, which would else wait for its tasks for ever."""

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            gate.set()
        await super().__aexit__(kind, error, trace)


def closed_pool() -> WorkerPool:
    """A pool whose worker is not ready before the gate opens: what is submitted stays queued."""
    return GatedPool(initializer=pass_gate)


def verbs(pool: WorkerPool) -> list[Callable[..., object]]:
    return [pool.submit, pool.submit_with, pool.map]


# Calls and results


def test_a_function_is_called_with_its_arguments(pool: WorkerPool) -> None:
    """B-06"""
    assert pool.submit(divmod, 17, 5).result() == (3, 2)
    assert pool.submit(int, "ff", base=16).result() == 255
    assert pool.submit_with(sorted, ["abc"], {"reverse": True}).result() == ["c", "b", "a"]


def test_lambdas_closures_and_local_classes_are_called_too(pool: WorkerPool) -> None:
    """B-06, X-07"""
    offset = 3

    class Local:
        def __call__(self, n: int) -> int:
            return n + offset

    assert pool.submit(lambda n: n + offset, 4).result() == 7
    assert pool.submit(Local(), 5).result() == 8
    assert pool.submit(functools.partial(pow, 2), 5).result() == 32


def test_arguments_and_results_are_copies_as_everywhere(pool: WorkerPool) -> None:
    """B-06"""
    items = [1, 2]
    future = pool.submit(note, items)
    items.append(3)
    assert future.result() == [1, 2]
    assert log == [[1, 2]]
    log[0].append(4)
    assert future.result() == [1, 2]


@pytest.mark.parametrize("size", [10, 40_000, 100_000, 1_000_000])
def test_large_arguments_and_results_come_through(pool: WorkerPool, size: int) -> None:
    """B-06"""
    data = random.Random(size).randbytes(size)
    assert pool.submit(bytes.swapcase, data).result() == data.swapcase()
    text = "x" * size
    assert pool.submit(str.upper, text).result() == text.upper()
    offset = bytearray(size)
    assert pool.submit(lambda: len(offset)).result() == size


def test_what_is_one_object_in_the_arguments_is_one_in_the_call(pool: WorkerPool) -> None:
    for size in (10, 100_000):
        data = bytearray(size)
        assert pool.submit(lambda a, b: a is b, data, data).result()


def test_a_future_is_one_of_the_standard_library(pool: WorkerPool) -> None:
    """X-01"""
    future = pool.submit(square, 3)
    called: list[object] = []
    future.add_done_callback(called.append)
    assert isinstance(future, concurrent.futures.Future)
    assert future.done()
    assert not future.cancelled()
    assert future.exception() is None
    assert called == [future]
    assert concurrent.futures.wait([future]).done == {future}
    assert list(concurrent.futures.as_completed([future])) == [future]


def test_a_callback_may_submit_and_wait(pool: WorkerPool) -> None:
    """X-01"""
    results: list[int] = []

    def again(future: "concurrent.futures.Future[int]") -> None:
        if future.result() < 1_000:
            following = pool.submit(square, future.result())
            results.append(following.result())
            following.add_done_callback(again)

    pool.submit(square, 2).add_done_callback(again)
    assert results == [16, 256, 65536]


def test_a_task_may_submit_another_one_but_not_wait_for_it(pool: WorkerPool) -> None:
    """B-06"""
    here["pool"] = weakref.ref(pool)
    with pytest.raises(ModeError, match="this thread itself has to do"):
        pool.submit(submit_square_and_wait).result()
    assert here["future"].result() == 36


def submit_square_and_wait() -> int:
    here["future"] = here["pool"]().submit(square, 6)
    result: int = here["future"].result()
    return result


# Errors


def test_an_exception_comes_back_as_itself_with_its_traceback(pool: WorkerPool) -> None:
    """X-01, B-19"""
    future = pool.submit(inverse, 0)
    with pytest.raises(ZeroDivisionError, match="division by zero") as raised:
        future.result()
    cause = raised.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in inverse" in str(cause)
    assert "return 1 / n" in cause.text
    assert future.exception() is raised.value


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_an_exception_that_ends_programs_ends_only_its_task(
    pool: WorkerPool, error: BaseException
) -> None:
    def end() -> None:
        raise error

    assert repr(pool.submit(end).exception()) == repr(error)
    assert pool.submit(square, 2).result() == 4


class Choosy(Exception):
    """Can be pickled, and not be read back, as many exceptions with arguments of their own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Clinging(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("it clings")
        self.lock = threading.Lock()


def fail_choosily(_: object = None) -> None:
    raise Choosy(7, "too bad")


def cling(_: object = None) -> None:
    raise Clinging


def test_an_exception_that_cannot_be_pickled_is_described(pool: WorkerPool) -> None:
    error = pool.submit(cling).exception()
    assert isinstance(error, PayloadError)
    assert "the task raised Clinging: it clings, which cannot be sent back" in str(error)
    assert "in cling" in str(error.__cause__)


def test_an_exception_that_cannot_be_read_back_is_described(pool: WorkerPool) -> None:
    error = pool.submit(fail_choosily).exception()
    assert isinstance(error, PayloadError)
    assert "Choosy: 7: too bad" in f"{error} {error.__cause__}"
    assert "in fail_choosily" in str(error.__cause__)


def test_an_argument_that_cannot_be_pickled_fails_its_future_by_its_name(pool: WorkerPool) -> None:
    """B-06"""
    lock = threading.Lock()
    error = pool.submit_with(divmod, [1, lock]).exception()
    assert isinstance(error, PayloadError)
    assert str(error).startswith("argument 2 of divmod, <unlocked _thread.lock object at ")
    assert "cannot be sent to a worker: TypeError: cannot pickle '_thread.lock'" in str(error)
    error = pool.submit_with(sorted, [[1]], {"key": lock}).exception()
    assert str(error).startswith("argument 'key' of sorted, <unlocked _thread.lock")
    view = memoryview(b"abc")
    view.release()
    assert str(pool.submit(len, view).exception()).startswith("argument 1 of len, <released")


def test_a_function_that_cannot_be_pickled_fails_its_future_by_its_name(pool: WorkerPool) -> None:
    """B-06"""
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    error = pool.submit(locked).exception()
    assert isinstance(error, PayloadError)
    assert "locked at 0x" in str(error)
    assert "cannot be sent to a worker: TypeError: cannot pickle '_thread.lock'" in str(error)


def test_a_result_that_cannot_be_pickled_fails_its_future_by_its_name(pool: WorkerPool) -> None:
    """B-06"""
    error = pool.submit(threading.Lock).exception()
    assert isinstance(error, PayloadError)
    assert str(error).startswith("the result of the task, <unlocked _thread.lock object at ")
    assert "of type lock, cannot be sent back: TypeError: cannot pickle" in str(error)


# map and as_completed


def test_map_with_a_buffer_reads_its_iterables_as_results_are_taken(pool: WorkerPool) -> None:
    """X-01: as in Python 3.14."""
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(20):
            read.append(n)
            yield n

    results = pool.map(square, numbers(), buffersize=3)
    assert len(read) <= 3
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(read) <= 8
    with pytest.raises(TypeError, match="not known how many"):
        len(results)
    assert list(results) == [n * n for n in range(5, 20)]


def test_what_the_iterables_of_map_raise_is_for_who_iterates(pool: WorkerPool) -> None:
    """X-01"""

    def numbers() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    results = pool.map(square, numbers(), buffersize=2, chunksize=1)
    with pytest.raises(LookupError, match="no more"):
        list(results)
    assert list(results) == []
    with pytest.raises(LookupError):
        pool.map(square, numbers())


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_map_refuses_a_buffersize_that_is_none(
    pool: WorkerPool, size: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="buffersize must be"):
        pool.map(square, [1], buffersize=size)


@in_loop
async def test_the_waiting_of_the_standard_library_is_refused_where_it_would_hang() -> None:
    """X-01, E-03"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        other: concurrent.futures.Future[int] = concurrent.futures.Future()
        with pytest.raises(ModeError, match="await future"):
            concurrent.futures.wait([future, other])
        assert not concurrent.futures.wait([future], timeout=0).done
        gate.set()
        assert await future == 1
        threading.Timer(0.01, other.set_result, [2]).start()
        assert concurrent.futures.wait([future, other], 10).done == {future, other}


@pytest.mark.parametrize("chunksize", [None, 1, 3, 10, 1_000])
def test_map_yields_results_in_order(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06, X-01"""
    results = pool.map(square, range(10), chunksize=chunksize)
    assert len(results) == 10
    assert list(results) == [n * n for n in range(10)]
    assert list(results) == []


def test_map_ends_with_the_shortest_of_its_iterables(pool: WorkerPool) -> None:
    """B-06"""
    assert list(pool.map(pow, [2, 3, 4], (n for n in (5, 2)))) == [32, 9]
    assert list(pool.map(square, [])) == []
    assert list(pool.map(square)) == []


@pytest.mark.parametrize("chunksize", [None, 1])
def test_map_takes_thousands_of_calls(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06"""
    results = pool.map(square, range(5_000), chunksize=chunksize)
    assert list(results) == [n * n for n in range(5_000)]


@pytest.mark.parametrize("chunksize", [None, 1, 2, 5, 100])
def test_map_yields_what_came_before_an_error(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06, X-01"""
    results = pool.map(inverse, [1, 2, 4, 0, 8], chunksize=chunksize)
    assert [next(results) for _ in range(3)] == [1, 0.5, 0.25]
    with pytest.raises(ZeroDivisionError) as raised:
        next(results)
    assert "in inverse" in str(raised.value.__cause__)
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize(("fail", "name"), [(cling, "Clinging"), (fail_choosily, "Choosy")])
def test_map_names_an_error_that_cannot_travel(
    pool: WorkerPool, fail: Callable[[object], None], name: str, chunksize: int
) -> None:
    """B-06"""
    results = pool.map(lambda n: n if n < 2 else fail(n), range(4), chunksize=chunksize)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(PayloadError) as raised:
        next(results)
    assert name in f"{raised.value} {raised.value.__cause__}"


def test_a_map_that_is_closed_yields_nothing_more(pool: WorkerPool) -> None:
    results = pool.map(square, range(10), chunksize=1)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert list(results) == []


@in_loop
async def test_closing_a_map_takes_its_calls_back() -> None:
    """B-06"""
    async with closed_pool() as pool:
        results = pool.map(note, range(10))
        assert "0 tasks queued" not in repr(pool)
        results.close()
        assert "0 tasks queued" in repr(pool)
        results = pool.map(note, range(10))
        del results
        gc.collect()
        assert "0 tasks queued" in repr(pool)
        gate.set()
    assert log == []


@in_loop
async def test_a_map_that_is_late_raises_timeout_error() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        results = pool.map(note, range(3), timeout=0.01)
        with pytest.raises(TimeoutError):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(TimeoutError):
            next(pool.map(note, range(3), timeout=0))
        gate.set()
    assert log == []


@in_loop
async def test_map_and_as_completed_are_iterated_without_blocking() -> None:
    """B-06, E-03"""
    async with WorkerPool() as pool:
        assert [n async for n in pool.map(square, range(5))] == [0, 1, 4, 9, 16]
        futures = [pool.submit(later, n) for n in range(5)]
        assert [await future async for future in pool.as_completed(futures)] == [0, 1, 2, 3, 4]


def test_map_refuses_a_chunksize_below_one(pool: WorkerPool) -> None:
    with pytest.raises(ValueError, match="chunksize must be at least 1, not 0"):
        pool.map(square, [1], chunksize=0)


def test_as_completed_yields_each_future_once(pool: WorkerPool) -> None:
    """B-06, X-01"""
    futures = [pool.submit(square, n) for n in range(4)]
    done = pool.as_completed([*futures, *futures])
    assert list(done) == futures
    assert list(pool.as_completed([])) == []


@in_loop
async def test_as_completed_that_is_late_raises_timeout_error() -> None:
    """A-08, B-06"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        done = pool.submit(square, 2)
        completed = pool.as_completed([future, done], timeout=0.01)
        assert await anext(completed) is done
        with pytest.raises(TimeoutError):
            await anext(completed)
        gate.set()
        assert sorted([await f async for f in pool.as_completed([future, done])]) == [1, 4]


# Awaiting, and tasks that are coroutines


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


# Cancelling, killing, timeouts


@in_loop
async def test_a_queued_task_can_be_cancelled() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        called: list[object] = []
        futures[1].add_done_callback(called.append)
        assert futures[1].cancel()
        assert futures[1].cancel()
        assert futures[1].cancelled()
        assert called == [futures[1]]
        with pytest.raises(CancelledError):
            futures[1].result()
        with pytest.raises(asyncio.CancelledError):
            await futures[1]
        gate.set()
        assert [await futures[0], await futures[2]] == [0, 2]
    assert log == [0, 2]


@in_loop
async def test_a_task_that_runs_or_is_done_cannot_be_cancelled() -> None:
    """B-06"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        assert future.running()
        assert not future.cancel()
        gate.set()
        assert await future == 1
        assert not future.cancel()


@in_loop
async def test_who_stops_waiting_for_a_queued_task_takes_it_back() -> None:
    """B-03, B-06"""
    async with closed_pool() as pool:
        future = pool.submit(note, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        assert future.cancelled()
        gate.set()
    assert log == []


@in_loop
async def test_a_task_that_runs_can_be_killed() -> None:
    """A-08, B-06: its worker is replaced."""
    async with GatedPool() as pool:
        running = pool.submit(pass_gate)
        queued = pool.submit(note, 1)
        await asyncio.sleep(0)
        assert pool.kill(running)
        assert running.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await queued == 1
        assert not pool.kill(queued)
        assert pool.kill(running), "it is cancelled"


@in_loop
async def test_a_coroutine_that_runs_can_be_cancelled_softly() -> None:
    """X-02, B-06: its finally blocks run, and its worker stays."""

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            note(task.cancelled())

    async with GatedPool() as pool:
        sibling = pool.submit(pass_gate, 1)
        future = pool.submit(tidy)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not future.cancel()
        assert future.cancel(running=True)
        assert future.cancelled()
        assert future.cancel(running=True), "it is"
        gate.set()
        assert await sibling == 1
    assert "1 workers" in repr(pool)


@in_loop
async def test_a_coroutine_that_refuses_to_end_ends_with_its_worker() -> None:
    """X-02, A-08"""

    async with WorkerPool(grace=0.01) as pool:
        future = pool.submit(refuse)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert future.cancel(running=True)
        assert await pool.submit(square, 3) == 9
        gate.set()


def test_a_checkpoint_lets_pass_what_is_wanted(pool: WorkerPool) -> None:
    """X-02"""
    task.checkpoint()
    assert not task.cancelled()
    assert pool.submit(task.cancelled).result() is False
    assert pool.submit(task.checkpoint).result() is None


@pytest.mark.parametrize("way", ["terminate_workers", "kill_workers"])
@in_loop
async def test_a_pool_can_be_ended_whatever_its_workers_run(way: str) -> None:
    """X-01: as in Python 3.14."""
    pool = GatedPool()
    futures = [pool.submit(pass_gate) for _ in range(3)]
    await asyncio.sleep(0)
    getattr(pool, way)()
    for future in futures:
        assert isinstance(future.exception(0), BrokenWorkerPool)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(square, 1)
    await pool.aclose()


def test_a_pool_cannot_be_sent_to_a_worker(pool: WorkerPool) -> None:
    """X-01: a task that would submit hears what to do instead."""
    error = pool.submit(lambda: pool.submit(square, 1)).exception()
    assert isinstance(error, PayloadError)
    assert "submit it where the pool is" in str(error)


def test_workers_are_replaced_after_so_many_tasks() -> None:
    """X-01"""
    with WorkerPool(max_tasks_per_child=2) as pool:
        engine = pool._engine
        peers = set()
        for n in range(6):
            assert pool.submit(square, n).result() == n * n
            peers |= set(engine.scheduler.workers)
    assert len(peers) in (3, 4)


@in_loop
async def test_a_queued_task_can_be_killed() -> None:
    """A-08"""
    async with closed_pool() as pool:
        future = pool.submit(note, 1)
        assert pool.kill(future)
        assert future.cancelled()
        gate.set()
    assert log == []


@in_loop
async def test_a_task_of_another_pool_is_not_killed() -> None:
    async with GatedPool() as pool, WorkerPool() as other:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        assert not other.kill(future)
        gate.set()
        assert await future == 1


@in_loop
async def test_a_task_that_outlasts_its_timeout_fails_and_the_next_one_runs() -> None:
    """A-08, B-06"""
    async with GatedPool() as pool:
        slow: Any = pool.submit_with(pass_gate, timeout=0.01)
        behind = pool.submit(square, 3)
        with pytest.raises(TimeoutError, match="the task was not done within its timeout"):
            await slow
        assert await behind == 9


class Patient(MemoryLink):
    """Keeps what is sent until it is flushed, as the links to other threads do."""

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        super().__init__(on_flush)
        self._unsent: list[tuple[Any, ...]] = []

    def send(self, *frame: Any) -> None:
        self._unsent.append(frame)

    def flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for frame in unsent:
            super().send(*frame)
        super().flush()


@pytest.fixture
def patient_link(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_hub, "MemoryLink", Patient)
    _hub.hub_for.cache_clear()
    yield
    _hub.hub_for.cache_clear()


class Listed(Worker):
    """A worker that a test or a task can reach."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        here["worker"] = self


class Mute(Listed):
    """A worker that says only what a test makes it say, and runs nothing."""

    def step(self) -> None:
        pass

    def heard(self) -> list[int]:
        return [frame.kind for frame in self.link.receive(0)]


@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_a_worker_that_replaces_another_one_hears_of_it_at_once(
    end: str, patient_link: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-08, D-09"""
    monkeypatch.setattr(_hub, "Worker", Mute)

    @in_loop
    async def main() -> None:
        pool = WorkerPool(grace=0)
        stuck = pool.submit_with(square, [1], timeout=0.01 if end == "timeout" else None)
        pool.submit(square, 2)
        worker: Mute = here["worker"]
        assert worker.heard() == [Kind.SETUP]
        worker.link.send(worker.peer, Kind.READY, 0, b"")
        worker.link.flush()
        assert worker.heard() == [Kind.FUNCTION, Kind.TASK]
        if end == "kill":
            assert pool.kill(stuck)
        else:
            with pytest.raises(TimeoutError):
                await stuck
        assert here["worker"] is not worker
        assert here["worker"].heard() == [Kind.SETUP]
        pool.shutdown(wait=False, cancel_futures=True)

    main()


@in_loop
async def test_a_task_that_waits_longer_than_its_timeout_never_runs() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        late = pool.submit_with(note, ["late"], timeout=0.01)
        now = pool.submit_with(note, ["now"], timeout=0)
        other = pool.submit_with(note, ["other"], timeout=1_000)
        for future in (late, now):
            with pytest.raises(TimeoutError, match="the task was not done within its timeout"):
                await future
        gate.set()
        assert await other == "other"
    assert log == ["other"]


@in_loop
async def test_waiting_no_longer_than_a_timeout_leaves_the_task_alone() -> None:
    """A-08"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        for look in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                look(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), 0.01)
        gate.set()
        assert await future == 1


# Priorities and arguments of the pool


@in_loop
async def test_queued_tasks_run_by_priority() -> None:
    """A-06, B-06"""
    async with closed_pool() as pool:
        for n, priority in enumerate([5, 0, 10, 5, 10]):
            pool.submit_with(note, [n], priority=priority)
        pool.submit(note, 5)
        gate.set()
    assert log == [2, 4, 0, 3, 5, 1]


@pytest.mark.parametrize("priority", [-1, 11])
def test_a_priority_out_of_its_range_is_refused(pool: WorkerPool, priority: int) -> None:
    with pytest.raises(ValueError, match=rf"priority must be .*0 to 10, not {priority}"):
        pool.submit_with(square, [1], priority=priority)


@pytest.mark.parametrize("priority", [5.5, "5", None])
def test_a_priority_that_is_no_integer_is_refused(pool: WorkerPool, priority: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pool.submit_with(square, [1], priority=priority)
    assert pool.submit(square, 2).result() == 4


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_no_duration_is_refused(pool: WorkerPool, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        pool.submit_with(square, [1], timeout=timeout)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_workers": 0}, "max_workers must be at least 1, not 0"),
        ({"packages": "numpy"}, "packages and modules each take a list of names"),
        ({"modules": "numpy"}, "packages and modules each take a list of names"),
        ({"grace": -1}, "grace must be 0 seconds or more, not -1"),
        ({"max_tasks_per_child": 0}, "max_tasks_per_child must be at least 1, not 0"),
        (
            {"on_worker_lost": "cry"},
            'on_worker_lost must be "replace", "shrink" or "break", not \'cry\'',
        ),
        ({"mode": "warp"}, "mode must be one of shared, transfer, inline or None, not 'warp'"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        WorkerPool(**options)


@pytest.mark.parametrize("mode", ["shared", "transfer"])
def test_a_mode_that_does_not_work_here_is_refused_with_the_reason(mode: Any) -> None:
    """A-01"""
    with pytest.raises(ModeError, match=f"mode {mode!r} is not available: this is CPython"):
        WorkerPool(mode=mode)


def test_a_pool_says_its_mode_and_its_size() -> None:
    """B-06"""
    with WorkerPool(7, mode="inline") as pool:
        assert pool.mode == "inline"
        assert pool.max_workers == 1


@in_loop
async def test_being_ready_takes_no_time_where_blocking_is_safe() -> None:
    async with WorkerPool() as pool:
        await pool.ready()


# What a worker starts with


def test_an_initializer_runs_once_before_the_first_task() -> None:
    """B-18"""
    with WorkerPool(initializer=note, initargs=("ready",)) as pool:
        assert log == [], "workers start when there is work"
        assert list(pool.map(note, range(3))) == [0, 1, 2]
    assert log == ["ready", 0, 1, 2]


@pytest.mark.parametrize("initializer", [inverse, cling, fail_choosily])
def test_an_initializer_that_raises_breaks_the_pool(initializer: Callable[[Any], object]) -> None:
    """X-02: every future settles."""
    with WorkerPool(initializer=initializer, initargs=(0,)) as pool:
        future = pool.submit(square, 3)
        with pytest.raises(BrokenWorkerPool, match="the pool is broken: ") as broken:
            future.result()
        assert isinstance(broken.value, concurrent.futures.BrokenExecutor)
        assert broken.value.__cause__ is not None
        trace = f"{broken.value.__cause__} {broken.value.__cause__.__cause__}"
        assert f"in {initializer.__name__}" in trace
        for refusing in verbs(pool):
            with pytest.raises(BrokenWorkerPool, match="the pool is broken: "):
                refusing(square, [3])
        assert repr(pool).startswith("<WorkerPool inline: broken, 0 of 1 workers")


@in_loop
async def test_an_asynchronous_initializer_that_raises_breaks_the_pool() -> None:
    """X-02"""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("no disk")

    async with WorkerPool(initializer=fail) as pool:
        futures = [pool.submit(square, n) for n in range(3)]
        for future in futures:
            with pytest.raises(BrokenWorkerPool, match="no disk"):
                await future


def test_an_initializer_that_cannot_be_pickled_is_refused_at_once() -> None:
    lock = threading.Lock()
    with pytest.raises(PayloadError, match=r"cannot pickle '_thread\.lock'"):
        WorkerPool(initializer=lock.locked)
    with pytest.raises(PayloadError, match=r"cannot pickle '_thread\.lock'"):
        WorkerPool(initializer=note, initargs=(lock,))


def test_files_are_written_before_the_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X-07"""
    monkeypatch.chdir(tmp_path)
    with WorkerPool(files={"a/b.txt": "text", str(tmp_path / "c"): b"\0"}) as pool:
        assert pool.submit(Path.read_text, Path("a/b.txt")).result() == "text"
    assert (tmp_path / "c").read_bytes() == b"\0"


def test_modules_that_are_importable_here_need_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-06, X-07"""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with WorkerPool(modules=["cloudpickle"]) as pool:
        assert pool.submit(square, 3).result() == 9
    assert os.listdir(tmp_path) == []


def test_packages_that_are_installed_here_need_no_installation() -> None:
    """B-06, E-09: a program that names its packages for the browser runs on CPython too."""
    with WorkerPool(packages=["numpy"]) as pool:
        assert pool.submit(square, 3).result() == 9


def test_packages_that_are_missing_are_for_pip_to_install() -> None:
    """B-06"""
    with WorkerPool(packages=["numpy", "no-such-package"]) as pool:
        error = pool.submit(square, 3).exception()
    assert isinstance(error, BrokenWorkerPool)
    assert "use pip for no-such-package" in str(error)


def test_a_module_that_is_not_there_has_no_source_to_give_to_workers() -> None:
    """X-07"""
    with pytest.raises(ModuleNotFoundError, match="modules: 'no_such' has no source file here"):
        module_source("no_such")
    assert list(module_source("textwrap")) == ["textwrap.py"]
    assert "json/decoder.py" in module_source("json")


# The end of a pool


def test_a_pool_that_is_shut_down_takes_no_more_tasks() -> None:
    """B-04, X-01"""
    pool = WorkerPool()
    assert pool.submit(square, 3).result() == 9
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)
    for refusing in verbs(pool):
        with pytest.raises(RuntimeError, match="cannot submit to a pool that is shut down"):
            refusing(square, [3])


@in_loop
async def test_a_pool_ends_when_its_last_task_is_done() -> None:
    """B-04, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        pool.shutdown(wait=False)
        with pytest.raises(ModeError):
            pool.shutdown()
        gate.set()
    assert [await future for future in futures] == [0, 1, 2]


@in_loop
async def test_shutting_down_may_cancel_what_does_not_run() -> None:
    """B-04, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        results = pool.map(note, range(3))
        await pool.aclose(cancel_futures=True)
        assert all(future.cancelled() for future in futures)
        with pytest.raises(CancelledError):
            await anext(results)
        gate.set()
    assert log == []


def test_a_pool_that_was_forgotten_ends_after_its_tasks() -> None:
    """B-06"""
    pool = WorkerPool()
    future = pool.submit(square, 3)
    engine = weakref.ref(pool._engine)
    del pool
    gc.collect()
    assert future.result() == 9
    del future
    gc.collect()
    assert engine() is None


def test_a_worker_cannot_have_a_pool_of_its_own(pool: WorkerPool) -> None:
    """B-06"""
    with pytest.raises(ModeError, match="a worker, which cannot have a pool of its own"):
        pool.submit(WorkerPool).result()
    WorkerPool().shutdown()


@in_loop
async def test_a_coroutine_in_a_worker_cannot_have_a_pool_of_its_own() -> None:
    """B-06"""

    async def nest() -> None:
        await asyncio.sleep(0)
        WorkerPool()

    async with GatedPool() as pool:
        with pytest.raises(ModeError, match="a worker, which cannot have a pool of its own"):
            await pool.submit(nest)
        running = pool.submit(pass_gate)
        await asyncio.sleep(0)
        WorkerPool().shutdown()
        gate.set()
        await running


@in_loop
async def test_a_pool_shows_its_state() -> None:
    """B-04"""
    async with closed_pool() as pool:
        assert repr(pool) == "<WorkerPool inline: 0 of 1 workers, 0 tasks queued>"
        futures = [pool.submit(square, n) for n in range(2)]
        assert repr(pool) == "<WorkerPool inline: 1 initializing of 1 workers, 2 tasks queued>"
        gate.set()
        assert [await future for future in futures] == [0, 1]
        assert repr(pool) == "<WorkerPool inline: 1 idle of 1 workers, 0 tasks queued>"
        gate.clear()
        waiting = pool.submit(pass_gate)
        await asyncio.sleep(0)
        assert repr(pool) == "<WorkerPool inline: 1 busy of 1 workers, 0 tasks queued>"
        gate.set()
        await waiting
    assert repr(pool) == "<WorkerPool inline: shut down, 0 of 1 workers, 0 tasks queued>"


# Progress and output


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


# Workers that speak nonsense


def say(task: int, kind: int, payload: bytes = b"", flags: int = 0, *, other: int = 0) -> None:
    """A task whose worker sends a frame of its own making."""
    worker = here["worker"]
    worker.link.send(worker.peer, kind, other or task, payload, flags)
    worker.link.flush()


NONSENSE: dict[str, tuple[Any, ...]] = {
    "an unknown kind": (99,),
    "a kind of the hub": (Kind.TASK,),
    "ready for a second time": (Kind.READY,),
    "a chunk": (Kind.CHUNK,),
    "progress that is no pickle": (Kind.PROGRESS, b"?"),
    "progress that is no progress": (Kind.PROGRESS, b"N."),
    "an error that is none": (Kind.ERROR, b"N."),
    "an error of numbers": (Kind.ERROR, b"(K\x01K\x02t."),
    "a result whose table is cut off": (Kind.RESULT, b"\xff", SPILLED),
    "a result whose parts did not come": (Kind.RESULT, b"\1\0\0\0" + bytes(9), SPILLED),
    "a failed setup": (Kind.SETUP_FAILED,),
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=NONSENSE)
def test_a_worker_that_speaks_nonsense_harms_no_other_task(
    frame: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-07"""
    monkeypatch.setattr(_hub, "Worker", Listed)
    with WorkerPool() as pool:
        with pytest.raises(PyworkersError, match=r".+"):
            pool.submit(say, pool.submit(square, 0).task + 1, *frame).result()
        assert [pool.submit(square, n).result() for n in range(3)] == [0, 1, 4]


def test_a_callback_for_output_that_raises_harms_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(worker: int, stream: str, text: str) -> None:
        raise OSError(text)

    monkeypatch.setattr(_hub, "Worker", Listed)
    with WorkerPool(on_output=refuse) as pool:
        assert pool.submit(say, 0, Kind.OUTPUT, b"said", 1).result() is None
        assert pool.submit(square, 3).result() == 9
    assert "exception in on_output" in caplog.text
    assert "OSError: said" in caplog.text


@pytest.mark.parametrize("kind", [Kind.RESULT, Kind.ERROR, Kind.PROGRESS, Kind.PARKED])
def test_a_worker_that_speaks_of_another_task_is_lost(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-07"""
    monkeypatch.setattr(_hub, "Worker", Listed)
    with WorkerPool() as pool:
        with pytest.raises(WorkerLost, match="spoke of task 123456, which it does not"):
            pool.submit(say, 123_456, kind, b"N.").result()
        assert pool.submit(square, 3).result() == 9


def submit_behind(kind: int) -> None:
    """A task that submits one whose worker speaks nonsense, and others behind it."""
    pool = here["pool"]()
    here["futures"] = [pool.submit(say, 0, kind), *(pool.submit(note, n) for n in (1, 2, 3))]


def test_no_task_runs_twice_because_its_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-09: what was given to a worker ahead may have run already."""
    monkeypatch.setattr(_hub, "Worker", Listed)
    with WorkerPool() as pool:
        here["pool"] = weakref.ref(pool)
        pool.submit(say, 0, Kind.OUTPUT).result()
        pool.submit(note, 0).result()  # from now on both are known to be short
        pool.submit(submit_behind, 99).result()
    assert isinstance(here["futures"][0].exception(), WorkerLost)
    assert all(future.done() for future in here["futures"])
    assert max(log.count(n) for n in (1, 2, 3)) == 1
