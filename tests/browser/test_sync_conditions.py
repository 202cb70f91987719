"""X-05 A-04: conditions, barriers, read-write locks and the like, in every place and mode.

Coroutines wait in every mode; what blocks is tried where the hub can block.
"""

import textwrap
from typing import Any

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub

PRELUDE = """
from pyworkers.sync import (
    Barrier, BarrierStatistics, BrokenBarrierError, Condition, Latch, Lock, Once, RLock, RWLock
)
async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)
"""


def run(hub: Hub, body: str) -> Any:
    return hub.run(PRELUDE + textwrap.dedent(body))


@pytest.fixture(params=["Lock", "RLock"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_notify_wakes_exactly_as_many_as_it_is_told(hub: Hub, kind: str) -> None:
    """X-05: four wait; of what is notified of, nobody gets more or less."""
    counts = run(
        hub,
        """
        condition = Condition(LOCK())
        async def wait(condition):
            async with condition:
                return await condition.wait_async(20)
        async with WorkerPool(2) as pool:
            waits = [pool.submit(wait, condition) for _ in range(4)]
            await until(lambda: condition.statistics().waiting == 4)
            counts = []
            for n in (0, 1, 2, 5):
                async with condition:
                    condition.notify(n)
                    counts.append(condition.statistics().waiting)
            assert await asyncio.gather(*waits) == [True] * 4
            counts.append(condition.statistics().notifications)
            return counts
        """.replace("LOCK", kind),
    )
    assert counts == [4, 3, 1, 0, 4]


def test_who_does_not_hold_the_lock_can_neither_wait_nor_notify(hub: Hub) -> None:
    """X-05."""
    errors = run(
        hub,
        """
        condition = Condition()
        async def wrongly(condition):
            errors = []
            try:
                await condition.wait_async(1)
            except RuntimeError as error:
                errors.append(str(error))
            try:
                condition.notify_all()
            except RuntimeError as error:
                errors.append(str(error))
            return errors
        async with WorkerPool(1) as pool:
            assert await pool.submit(wrongly, condition) == await wrongly(condition)
            return await wrongly(condition)
        """,
    )
    assert errors == [
        "a Condition can only be waited for by who holds its lock",
        "a Condition can only be notified by who holds its lock",
    ]


def test_a_wait_gives_all_depths_of_an_rlock_back_and_restores_them(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        condition = Condition()
        async def wait(condition):
            async with condition, condition, condition:
                assert await condition.wait_async(20)
                assert not await condition.wait_async(0.01)
            try:
                condition.release()
            except AssertionError:
                return True
        async with WorkerPool(1) as pool:
            waits = pool.submit(wait, condition)
            await until(lambda: condition.statistics().waiting == 1)
            async with condition:
                condition.notify()
            assert await waits
            assert condition._lock.statistics().holder is None
        """,
    )


def test_a_wait_that_is_cancelled_or_whose_worker_dies_hands_its_notification_on(hub: Hub) -> None:
    """X-05: notified are those that cannot go on; who came after them goes on in their place."""
    results = run(
        hub,
        """
        condition = Condition(Lock())
        async def wait(condition):
            async with condition:
                return await condition.wait_async(20)
        def waiting():
            return condition.statistics().waiting
        async with WorkerPool(2) as pool:
            doomed = pool.submit(wait, condition)
            await until(lambda: waiting() == 1)
            cancelled = asyncio.ensure_future(wait(condition))
            await until(lambda: waiting() == 2)
            last = asyncio.ensure_future(wait(condition))
            await until(lambda: waiting() == 3)
            async with condition:
                condition.notify(2)
                pool.kill(doomed)
                cancelled.cancel()
                try:
                    await doomed
                except asyncio.CancelledError:
                    pass
                late = asyncio.ensure_future(wait(condition))
            assert await last
            await asyncio.sleep(0.2)
            found = [cancelled.cancelled(), waiting()]
            async with condition:
                condition.notify_all()
            return [*found, await late]
        """,
    )
    assert results == [True, 1, True]


def test_a_wait_that_is_cancelled_as_it_has_its_lock_again_hands_its_notification_on(
    hub: Hub,
) -> None:
    """X-05: however far it has come by then; in the hub, and in a worker."""
    run(
        hub,
        """
        async def try_all(condition):
            waiting, woken = [], []
            async def wait(name):
                async with condition:
                    waiting.append(name)
                    await condition.wait_async(20)
                    woken.append(name)
            async def begun(name):
                wait_for_it = asyncio.ensure_future(wait(name))
                while name not in waiting:
                    await asyncio.sleep(0)
                return wait_for_it
            for turns, early in [(turns, early) for turns in range(6) for early in (True, False)]:
                waiting.clear()
                woken.clear()
                first, second = await begun("first"), await begun("second")
                async with condition:
                    condition.notify()
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    if early:
                        first.cancel()
                first.cancel()
                while not woken:
                    await asyncio.sleep(0)
                async with condition:
                    condition.notify_all()
                await asyncio.wait([first, second])
        await asyncio.wait_for(try_all(Condition(Lock())), 20)
        async with WorkerPool(1) as pool:
            await asyncio.wait_for(pool.submit(try_all, Condition(Lock())), 20)
        """,
    )


def test_wait_for_returns_what_holds_or_does_not_in_time(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        condition = Condition()
        async def wait(condition):
            async with condition:
                assert await condition.wait_for_async(lambda: 3) == 3
                assert await condition.wait_for_async(lambda: 0, 0.01) == 0
                looks = iter([0, 0, 5])
                return await condition.wait_for_async(lambda: next(looks), 20)
        async with WorkerPool(1) as pool:
            result = pool.submit(wait, condition)
            while not result.done():
                async with condition:
                    condition.notify_all()
                await asyncio.sleep(0.01)
            assert await result == 5
        """,
    )


def test_plain_functions_wait_for_each_other_where_they_can_block(hub: Hub) -> None:
    """X-05."""
    skip_if("block", hub)
    total = run(
        hub,
        """
        numbers = SharedArray(2, "i")
        condition, barrier, once, latch = Condition(), Barrier(3, timeout=20), Once(), Latch(3)
        def take_turns(me, numbers, condition, barrier, once, latch):
            barrier.wait()
            once.call(lambda: numbers.add(1, 100))
            for _ in range(50):
                with condition:
                    assert condition.wait_for(lambda: numbers[0] % 3 == me, 20)
                    numbers[0] += 1
                    condition.notify_all()
            latch.count_down()
            assert latch.wait(20)
        with WorkerPool(2) as pool:
            shared = (numbers, condition, barrier, once, latch)
            tasks = [pool.submit(take_turns, me, *shared) for me in (0, 1)]
            take_turns(2, *shared)
            for task in tasks:
                task.result()
        return list(numbers)
        """,
    )
    assert total == [150, 100]


def test_all_pass_a_barrier_together_and_the_last_acts(hub: Hub) -> None:
    """X-05."""
    indices = run(
        hub,
        """
        acted = []
        def act():
            acted.append(1)
        barrier = Barrier(3, act, 20)
        async def arrive(barrier):
            return [await barrier.wait_async() for _ in range(5)]
        async with WorkerPool(2) as pool:
            rounds = await asyncio.gather(
                *[pool.submit(arrive, barrier) for _ in range(2)], arrive(barrier)
            )
            assert barrier.statistics() == BarrierStatistics(
                parties=3, waiting=0, broken=False, trips=5, breaks=0)
            return [sorted(indices) for indices in zip(*rounds)]
        """,
    )
    assert indices == [[0, 1, 2]] * 5


def test_a_barrier_breaks_by_time_cancel_death_abort_and_failure_and_can_be_reset(
    hub: Hub,
) -> None:
    """X-05."""
    run(
        hub,
        """
        barrier = Barrier(3)
        async def arrive(barrier, timeout=20):
            try:
                return await barrier.wait_async(timeout)
            except BrokenBarrierError:
                return "broken"
        async def check(pool, end, *results):
            waits = [pool.submit(arrive, barrier), asyncio.ensure_future(arrive(barrier))]
            await until(lambda: barrier.n_waiting == 2)
            await end(waits)
            found = await asyncio.gather(*waits, return_exceptions=True)
            assert "broken" in found, found
            if end is not reset:
                assert barrier.broken and await arrive(barrier) == "broken"
                barrier.reset()
            assert not barrier.broken and barrier.n_waiting == 0
        async def time_over(waits):
            pass
        async def cancel(waits):
            waits[0].cancel(running=True)
        async def kill(waits):
            pool.kill(waits[0])
        async def abort(waits):
            barrier.abort()
        async def reset(waits):
            barrier.reset()
        async with WorkerPool(2) as pool:
            for end in (cancel, kill, abort, reset):
                await asyncio.wait_for(check(pool, end), 30)
            assert await pool.submit(arrive, barrier, 0.05) == "broken"
            barrier.reset()
            waits = [pool.submit(arrive, barrier) for _ in range(2)]
            await arrive(barrier)
            await asyncio.gather(*waits)
        def fail():
            raise ZeroDivisionError
        failing = Barrier(2, fail)
        both = await asyncio.gather(arrive(failing), arrive(failing), return_exceptions=True)
        assert both[0] == "broken" and isinstance(both[1], ZeroDivisionError), both
        """,
    )


def test_many_read_or_one_writes_and_nobody_starves(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        lock = RWLock()
        async def read(lock):
            async with lock.read():
                await task.channel("at").request("read")
        async def write(lock):
            async with lock.write():
                await task.channel("at").request("write")
            async with lock.write():
                pass
        async with WorkerPool(3) as pool:
            inside, gates = [], []
            async def enter(message):
                inside.append(message.kind)
                gates.append(asyncio.get_running_loop().create_future())
                await gates[-1]
            for kind in ("read", "write"):
                pool.channel("at").on(kind, enter)
            first = [pool.submit(read, lock) for _ in range(2)]
            await until(lambda: len(gates) == 2)
            assert lock.statistics().readers == 2
            writer = pool.submit(write, lock)
            await until(lambda: lock.statistics().waiting)
            await asyncio.sleep(0.1)
            late = asyncio.ensure_future(lock.read().acquire_async())
            await asyncio.sleep(0.1)
            assert inside == ["read", "read"] and not late.done()
            for gate in gates[:2]:
                gate.set_result(None)
            await until(lambda: len(gates) == 3)
            assert inside[2] == "write" and not late.done()
            assert lock.statistics().writer
            gates[2].set_result(None)
            assert await late
            lock.read().release()
            await asyncio.gather(*first, writer)
        """,
    )


def test_tasks_can_be_given_one_side_of_a_read_write_lock(hub: Hub) -> None:
    """X-05: which is that side of the same lock, and keeps it though nobody else has it."""
    total = run(
        hub,
        """
        total = 0
        async def add(writer, n):
            line = task.channel("sum")
            for _ in range(n):
                async with writer:
                    await line.request("put", 1 + await line.request("get"))
        async def look(reader, n):
            line = task.channel("sum")
            for _ in range(n):
                async with reader:
                    assert await line.request("get") == await line.request("get")
        def put(message):
            nonlocal total
            total = message.payload
        lock = RWLock()
        reader, writer = lock.read(), lock.write()
        del lock
        async with WorkerPool(2) as pool:
            pool.channel("sum").on("put", put)
            pool.channel("sum").on("get", lambda message: total)
            both = pool.submit(add, writer, 20), pool.submit(look, reader, 20)
            await asyncio.gather(*both, pool.submit(add, writer, 20))
        return total
        """,
    )
    assert total == 40


def test_readers_that_die_are_forgotten_and_writers_reported(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        lock = RWLock()
        async def hold(lock, writes):
            async with lock.write() if writes else lock.read():
                await asyncio.sleep(60)
        async with WorkerPool(1) as pool:
            for writes in (False, True):
                holder = pool.submit(hold, lock, writes)
                await until(lambda: lock.statistics().readers or lock.statistics().writer)
                writer = asyncio.ensure_future(lock.write().acquire_async(20))
                pool.kill(holder)
                try:
                    assert await writer and not writes
                except OwnerDied:
                    assert writes and await lock.write().acquire_async(1)
                assert lock.statistics().writer == 0
                lock.write().release()
            assert lock.statistics().losses == 1
        """,
    )


def test_once_is_done_once_though_who_began_fails_or_dies(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        once = Once()
        async def fail():
            raise ZeroDivisionError
        async def stay():
            await asyncio.sleep(60)
        async def do():
            pass
        async def call(once, fn):
            return await once.call_async(fn, 20)
        async with WorkerPool(2) as pool:
            try:
                await pool.submit(call, once, fail)
            except ZeroDivisionError:
                assert not once.is_done()
            doomed = pool.submit(call, once, stay)
            await until(lambda: once.statistics().runner)
            others = [asyncio.ensure_future(call(once, do)) for _ in range(2)]
            pool.kill(doomed)
            assert sorted(await asyncio.gather(*others)) == [False, True]
            assert not await call(once, fail)
            assert once.statistics().runs == 3
        """,
    )


def test_a_latch_opens_when_it_is_counted_down(hub: Hub) -> None:
    """X-05."""
    run(
        hub,
        """
        latch = Latch(3)
        async def pass_(latch):
            latch.count_down()
            return await latch.wait_async(20)
        async with WorkerPool(2) as pool:
            first = [pool.submit(pass_, latch) for _ in range(2)]
            await until(lambda: latch.statistics().value == 1)
            assert not await latch.wait_async(0.01)
            assert await pass_(latch)
            assert await asyncio.gather(*first) == [True, True]
            try:
                latch.count_down()
            except ValueError as error:
                return str(error)
        """,
    )


def test_a_condition_that_a_worker_has_created_works_there_and_elsewhere(hub: Hub) -> None:
    """X-05: with a lock of its own, or one that is given."""
    assert (
        run(
            hub,
            """
        kept = []
        async def make(kind):
            condition = Condition() if kind is None else Condition(kind())
            kept.append(condition)
            async with condition:
                return condition, await condition.wait_async(0.01)
        async def wait(condition):
            async with condition:
                return await condition.wait_async(20)
        found = []
        async with WorkerPool(1) as pool:
            for kind in (None, Lock, RLock):
                condition, was_notified = await pool.submit(make, kind)
                waits = pool.submit(wait, condition)
                await until(lambda: condition.statistics().waiting == 1)
                async with condition:
                    condition.notify()
                found.append([was_notified, await waits])
        return found
        """,
        )
        == [[False, True]] * 3
    )
