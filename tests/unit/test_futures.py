"""Futures by themselves, with a hub that only notes what is asked of it."""

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest

from pyworkers._futures import Future

pytestmark = pytest.mark.timeout(60)


class Hub:
    """Settles nothing; calls back when a test says so, from outside of the event loop."""

    def __init__(self) -> None:
        self.brief: Callable[[], object] | None = None
        self.later: list[Callable[[], object]] = []

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        return is_done()

    def wait_briefly(self, is_done: Callable[[], bool]) -> bool:
        if self.brief is not None:
            self.brief()
        return is_done()

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self.later.append, callback)


def new(hub: Hub | None = None) -> Future[Any]:
    return Future(hub or Hub(), 1, lambda task, running: True)


def note(calls: list[int], i: int, _: object) -> None:
    calls.append(i)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("looked_at", [False, True], ids=["alone", "with a Condition"])
def test_a_future_settles_once_and_calls_back_in_order(looked_at: bool) -> None:
    future = new()
    if looked_at:
        assert not concurrent.futures.wait([future], timeout=0).done
    calls: list[int] = []
    for i in range(3):
        future.add_done_callback(partial(note, calls, i))
    future.start()
    assert future.running()
    future.set_result(7)
    future.add_done_callback(partial(note, calls, 3))
    assert calls == [0, 1, 2, 3]
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert (future.result(), future.exception()) == (7, None)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_exception(ValueError())
    assert future.result() == 7


def test_an_error_is_raised_and_a_cancelled_future_refuses_to_settle() -> None:
    failed, cancelled = new(), new()
    failed.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        failed.result()
    assert repr(failed.exception()) == "ValueError('no')"
    assert cancelled.cancel()
    assert cancelled.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        cancelled.result()
    with pytest.raises(concurrent.futures.InvalidStateError):
        cancelled.set_result(1)


def test_threads_that_wait_hear_of_every_future_once() -> None:
    """The Condition may be made just while the future settles."""
    rounds, each = 300, 8
    heard = 0
    for _ in range(rounds):
        futures = [new() for _ in range(each)]

        def settle(futures: list[Future[Any]] = futures) -> None:
            for i, future in enumerate(futures):
                future.set_result(i)

        thread = threading.Thread(target=settle)
        thread.start()
        for future in concurrent.futures.as_completed(futures, timeout=30):
            heard += futures[future.result()] is future
        assert len(concurrent.futures.wait(futures, timeout=30).done) == each
        thread.join()
    assert heard == rounds * each


def test_a_short_task_is_waited_for_without_a_turn_of_the_loop() -> None:
    async def main() -> tuple[Any, int]:
        hub = Hub()
        future = new(hub)
        future.is_short = True
        hub.brief = lambda: future.set_result("here")
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1

        asyncio.get_running_loop().call_soon(tick)
        return await future, ticks

    assert asyncio.run(main()) == ("here", 0)


def test_a_coroutine_is_resumed_where_it_was_suspended() -> None:
    """In its context, its loop and with its hooks, whoever calls the hub back."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    hub = Hub()
    seen: list[Any] = []

    async def numbers() -> AsyncGenerator[int]:
        yield 1

    async def wait(future: Future[Any]) -> None:
        variable.set("own")
        hooks = sys.get_asyncgen_hooks()
        seen.append(await future)
        seen.append(variable.get())
        seen.append(asyncio.get_running_loop() is loop)
        seen.append(sys.get_asyncgen_hooks() == hooks)
        seen.append([n async for n in numbers()])

    loop = asyncio.new_event_loop()
    future = new(hub)
    task = loop.create_task(wait(future))
    loop.run_until_complete(turns())
    future.set_result("value")
    loop.run_until_complete(turns())
    (resume,) = hub.later
    resume()  # with no loop running, and no hooks
    asyncio._set_running_loop(None)
    sys.set_asyncgen_hooks(None, None)
    loop.run_until_complete(task)
    loop.close()
    assert seen == ["value", "own", True, True, [1]]


def test_what_must_leave_the_loop_leaves_it() -> None:
    class Calling(Hub):
        def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
            loop.call_soon(callback)

    async def main() -> None:
        future = new(Calling())

        async def leave() -> None:
            await future
            raise SystemExit(3)

        leaving.append(asyncio.create_task(leave()))
        await turns()
        future.set_result(None)
        await asyncio.wait(leaving)
        await turns()

    leaving: list[asyncio.Task[None]] = []
    with pytest.raises(SystemExit, match="3"):
        asyncio.run(main())
    # A task whose exception nobody takes prints its traceback whenever it is collected, and CPython
    # 3.11 parses source for that: in the midst of another ast.parse(), that one raises SystemError.
    assert repr(leaving[0].exception()) == "SystemExit(3)"


def test_a_task_that_is_cancelled_while_it_awaits_cancels_its_future() -> None:
    async def main() -> tuple[bool, bool]:
        future = new()

        async def wait() -> None:
            await future

        task = asyncio.create_task(wait())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return future.cancelled(), task.cancelled()

    assert asyncio.run(main()) == (True, True)


def test_waiting_in_time_ends_in_time() -> None:
    async def main() -> float:
        started = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(new(), 0.05)
        return time.monotonic() - started

    assert 0.04 < asyncio.run(main()) < 10
