"""Calls, their results and their errors, in mode inline (B-06).

What these tests say holds in the other modes too.
"""

import concurrent.futures
import functools
import random
import threading
import weakref

import pytest

from pyworkers import ModeError, PayloadError, RemoteTraceback, WorkerPool
from tests.unit.inline.tools import cling, fail_choosily, here, inverse, log, note, square

pytestmark = pytest.mark.timeout(30)

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


def test_a_key_without_a_hash_harms_nothing(pool: WorkerPool) -> None:
    """C-02"""
    with pytest.raises(TypeError, match="unhashable"):
        pool.submit_with(square, [2], affinity=[1])  # type: ignore[arg-type] # that is the test
    assert pool.submit(square, 2).result() == 4
    assert pool.stats().submitted == 1


def test_who_gives_up_waiting_leaves_nothing_behind(pool: WorkerPool) -> None:
    """X-01"""
    slow = pool.submit_with(square, [2], delay=60.0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            next(pool.as_completed([slow], timeout=0.0))
    assert not slow._done_callbacks
    slow.cancel()
