"""The two halves of ending a task that runs: the hub's patience, and the worker's signal (X-02)."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyworkers._cancel import (
    ASK_SECONDS,
    SIGNAL,
    Endings,
    Interruptions,
    interruptible_sleep,
    undisturbed,
)
from pyworkers.errors import TaskCancelled

pytestmark = pytest.mark.timeout(30)


def test_a_task_is_asked_again_until_its_time_is_over() -> None:
    endings = Endings(grace=1.0)
    assert endings.next_due() is None
    endings.begin(7, "it was cancelled", 100.0)
    assert endings.next_due() == 100.0 + ASK_SECONDS
    assert endings.asked_again(100.0) == []
    asked = 0
    now = 100.0
    while not endings.overdue(now):
        due = endings.next_due()
        assert due is not None
        assert due > now
        now = due
        asked += endings.asked_again(now) == [7]
    assert now == 101.0
    assert asked in (19, 20)
    assert endings.overdue(now) == [(7, "it was cancelled, and it did not end within 1 s")]
    endings.postpone(7, now)
    assert endings.overdue(now) == []
    endings.over(7)
    endings.over(7)
    assert endings.next_due() is None


def test_without_grace_a_task_is_overdue_at_once() -> None:
    endings = Endings(grace=0)
    endings.begin(1, "its timeout was over", 5.0)
    assert endings.asked_again(5.0) == []
    assert [task for task, _ in endings.overdue(5.0)] == [1]


class Hub:
    """Names the tasks that it wants ended, each once."""

    def __init__(self) -> None:
        self.named: list[int] = []

    def asked(self) -> int:
        return self.named.pop(0) if self.named else 0


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_only_the_task_that_was_meant_is_interrupted_and_once(hub: Hub) -> None:
    interruptions = Interruptions(hub.asked, {})
    hub.named = [1, 2]
    interruptions.check()  # between tasks: dropped
    interruptions.current = 1
    interruptions.check()  # meant for another one
    assert not interruptions.is_cancelled(1)
    hub.named = [1, 1]
    with pytest.raises(TaskCancelled):
        interruptions.check()
    assert interruptions.is_cancelled(1)
    interruptions.check()  # its finally blocks are not interrupted
    interruptions.over(1)
    assert not interruptions.is_cancelled(1)


def test_what_must_not_stop_half_way_is_not_interrupted(hub: Hub) -> None:
    interruptions = Interruptions(hub.asked, {})
    interruptions.current = 1
    hub.named = [1, 1]
    with interruptions.held_off():
        interruptions.check()
    with pytest.raises(TaskCancelled):
        interruptions.check()


def test_a_task_that_asks_hears_of_it(hub: Hub) -> None:
    interruptions = Interruptions(hub.asked, {})
    interruptions.current = 3
    assert not interruptions.is_cancelled(3)
    hub.named = [3]
    assert interruptions.is_cancelled(3)
    assert interruptions.is_cancelled(3)


def test_a_coroutine_is_interrupted_only_while_it_runs(hub: Hub) -> None:
    async def main() -> None:
        coroutines: dict[int, asyncio.Task[Any]] = {}
        interruptions = Interruptions(hub.asked, coroutines)

        async def busy() -> None:
            hub.named = [2, 1]
            interruptions.check()
            interruptions.check()
            raise AssertionError("it was not interrupted")

        coroutines[1] = asyncio.create_task(busy())
        coroutines[2] = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait(coroutines.values())
        assert coroutines[1].cancelled()
        assert not coroutines[2].cancelled()

    asyncio.run(main())


def test_a_coroutine_that_was_told_cleans_up_undisturbed(hub: Hub) -> None:
    """X-02: the signal that comes behind is not raised in its ``except`` and ``finally`` blocks."""

    async def main() -> None:
        coroutines: dict[int, asyncio.Task[Any]] = {}
        interruptions = Interruptions(hub.asked, coroutines)
        done = []

        async def waits() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                hub.named = [1]
                interruptions.check()
                done.append(interruptions.is_cancelled(1))

        coroutines[1] = asyncio.create_task(waits())
        await asyncio.sleep(0)
        assert interruptions.tell(1)
        assert not interruptions.tell(1)
        coroutines[1].cancel()
        await asyncio.wait(coroutines.values())
        assert done == [True]

    asyncio.run(main())


@pytest.fixture
def listening(hub: Hub) -> Iterator[Interruptions]:
    before = signal.getsignal(SIGNAL), sys.unraisablehook
    interruptions = Interruptions(hub.asked, {})
    interruptions.listen()
    yield interruptions
    signal.signal(SIGNAL, before[0])
    sys.unraisablehook = before[1]


def test_what_a_finalizer_swallows_is_raised_again(hub: Hub, listening: Interruptions) -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(SIGNAL)

    listening.current = 1
    hub.named = [1, 1]
    thing: Any = Swallows()
    del thing
    with pytest.raises(TaskCancelled):
        signal.raise_signal(SIGNAL)


def test_sleep_ends_when_there_is_something_to_interrupt(hub: Hub) -> None:
    interruptions = Interruptions(hub.asked, {})
    pauses: list[float] = []

    def pause(milliseconds: float) -> None:
        pauses.append(milliseconds)
        if len(pauses) == 2:
            hub.named = [1]

    sleep = interruptible_sleep(pause, interruptions.check)
    interruptions.current = 1
    with pytest.raises(TaskCancelled):
        sleep(3600)
    assert len(pauses) == 2
    assert 3_599_000 < pauses[0] <= 3_600_000


def test_sleep_is_that_of_the_time_module() -> None:
    sleep = interruptible_sleep(lambda ms: time.sleep(ms / 1000), lambda: None)
    started = time.monotonic()
    sleep(0.02)
    sleep(0)
    assert time.monotonic() - started >= 0.02
    with pytest.raises(ValueError, match="non-negative"):
        sleep(-1)
    with pytest.raises(ValueError, match="NaN"):
        sleep(float("nan"))
    wrong: Any = "1"
    with pytest.raises((TypeError, AttributeError)):
        sleep(wrong)


def test_a_signal_that_is_put_off_is_raised_once_when_it_may_be() -> None:
    """C-03: what was just taken is not lost with the task that took it."""
    named = [7, 0, 0]
    interruptions = Interruptions(lambda: named.pop(0) if named else 0, {})
    interruptions.current = 7
    interruptions.puts_off = True
    interruptions.check()
    interruptions.check()
    interruptions.puts_off = False
    with pytest.raises(TaskCancelled):
        interruptions.raise_put_off()
    interruptions.raise_put_off()


def test_a_signal_that_is_put_off_does_not_hit_the_next_task() -> None:
    named = [7]
    interruptions = Interruptions(lambda: named.pop(0) if named else 0, {})
    interruptions.current = 7
    interruptions.puts_off = True
    interruptions.check()
    interruptions.over(7)
    interruptions.current = 8
    interruptions.raise_put_off()


def test_a_signal_does_not_strike_where_something_is_given_back(
    hub: Hub, listening: Interruptions
) -> None:
    """C-03: the code that does so raises it when it is done."""
    given_back = []

    @undisturbed
    def give_back() -> None:
        hub.named = [7]
        signal.raise_signal(SIGNAL)
        given_back.append(listening.put_off)
        listening.raise_put_off()

    def take() -> None:
        hub.named = [7]
        signal.raise_signal(SIGNAL)
        given_back.append(-1)

    listening.current = 7
    with pytest.raises(TaskCancelled):
        give_back()
    listening.over(7)
    listening.current = 7
    with pytest.raises(TaskCancelled):
        take()
    assert given_back == [7]
