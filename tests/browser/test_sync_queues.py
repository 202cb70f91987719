"""X-05 A-04: queues and pipes between hub and workers, in every place and mode."""

import textwrap

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub, HubError

WORKER = """
from pyworkers.sync import Queue, JoinableQueue, SimpleQueue, Pipe
import queue
async def number(q, who, n):
    for i in range(n):
        await q.put_async((who, i))
async def numbers(q):
    return [item async for item in q]
"""


def run(hub: Hub, body: str, **values: object) -> object:
    return hub.run(WORKER + textwrap.dedent(body), **values)


def test_what_workers_put_workers_take_each_item_once_and_in_order(hub: Hub) -> None:
    """A-04: two producers, two consumers; a small ring and a maxsize hold the producers up."""
    found = run(
        hub,
        """
        q = Queue(20, capacity=256)
        async with WorkerPool(2) as pool:
            putting = [pool.submit(number, q, who, 150) for who in range(2)]
            taking = [pool.submit(numbers, q) for _ in range(2)]
            for future in putting:
                await future
            q.close()
            taken = [await future for future in taking]
        whole = sorted(item for items in taken for item in items)
        ordered = all(
            [i for who, i in items if who == each] == sorted(i for who, i in items if who == each)
            for items in taken for each in range(2)
        )
        found = q.statistics()
        return whole == [(w, i) for w in range(2) for i in range(150)], ordered, (
            found.puts, found.gets, found.depth, found.peak <= 20, found.closed, found.maxsize
        )
        """,
    )
    assert found == [True, True, [300, 300, 0, True, True, 20]]


def test_items_of_any_size_go_both_ways_and_leave_nothing_behind(hub: Hub) -> None:
    """A-04: of a byte to 20 MB, with buffers beside the pickle; shared memory is free again."""
    found = run(
        hub,
        """
        from array import array
        import gc
        async def echo(there, back):
            async for item in there:
                await back.put_async(item)
            back.close()
        async with WorkerPool(1) as pool:
            await pool.submit(int)
            before = pool.memory() and pool.memory().used
            there, back = Queue(), Queue()
            done = pool.submit(echo, there, back)
            items = [b"x", "y" * 5_000, bytearray(16_384), b"z" * 40_000, b"w" * 20_000_000, b"",
                     [array("d", [1.5]) * 9_000], {"a": b"q" * 300_000, "b": (1, None)}]
            same = []
            for item in items:
                await there.put_async(item)
                got = await back.get_async(10)
                same.append(type(got) is type(item) and got == item)
            there.close()
            await done
            last = Queue()
            await last.put_async(b"v" * 100_000)   # freed though nobody takes it
            del there, back, last, item, got
            for _ in range(100):
                gc.collect()
                await pool.submit(gc.collect)
                if not pool.memory() or pool.memory().used <= before + 4_112:
                    return same, True
            return same, (before, pool.memory().used)
        """,
    )
    assert found == [[True] * 8, True]


def test_a_hub_puts_and_takes_while_it_blocks(hub: Hub) -> None:
    """A-04: plain functions, where threads can wait; futures settle meanwhile."""
    skip_if("block", hub)
    found = run(
        hub,
        """
        def double(there, back):
            for item in there:
                back.put(2 * item)
            back.close()
        there, back = Queue(3), JoinableQueue(3)
        with WorkerPool(1) as pool:
            done = pool.submit(double, there, back)
            sums = []
            for i in range(50):
                there.put(i)
                if i >= 4:
                    sums.append(back.get(timeout=10))
                    back.task_done()
            there.close()
            sums += [*back]
            done.result()
            while back.statistics().unfinished:
                back.task_done()
            return sums == [2 * i for i in range(50)], back.join(1)
        """,
    )
    assert found == [True, True]


def test_batches_go_through_in_one_piece(hub: Hub) -> None:
    """A-04"""
    found = run(
        hub,
        """
        async def put(q):
            first = await q.put_many_async(range(100))
            return first, await q.put_many_async([b"x" * 50_000, 1, 2])
        async def take(q):
            items = []
            while len(items) < 103:
                items += await q.get_many_async(40)
            return items[:100] == [*range(100)], [len(items[100]), *items[101:]]
        q = Queue()
        async with WorkerPool(2) as pool:
            return await asyncio.gather(pool.submit(put, q), pool.submit(take, q))
        """,
    )
    assert found == [[100, 3], [True, [50_000, 1, 2]]]


def test_a_queue_is_full_and_empty_and_closed(hub: Hub) -> None:
    """X-05."""
    found = run(
        hub,
        """
        from pyworkers.errors import QueueClosed
        q = Queue(2)
        seen = []
        def tried(call, *args, **kwargs):
            try:
                seen.append(call(*args, **kwargs))
            except Exception as error:
                seen.append(type(error).__name__)
        tried(q.get_nowait)
        q.put_nowait(1)
        q.put(2)
        tried(q.put_nowait, 3)
        tried(q.put, 3, block=False)
        seen += [q.qsize(), q.full(), q.empty(), repr(q), q.put_many([], False)]
        try:
            await q.put_async(3, timeout=0.01)
        except queue.Full:
            seen.append("late")
        q.close()
        for call in (q.put, q.put_many):
            tried(call, [3])
        tried(q.get_many, 5)
        tried(q.get)
        tried(q.get_nowait)
        q.join_thread()
        q.cancel_join_thread()
        other = JoinableQueue()
        other.put(1)
        other.shutdown(immediate=True)
        seen += [other.qsize(), await other.join_async(1)]
        tried(other.task_done)
        tried(q.put_many, [q])
        return seen
        """,
    )
    assert found == [
        "Empty",
        "Full",
        "Full",
        2,
        True,
        False,
        "<Queue with 2 of 2 items, 0 putting and 0 getting>",
        0,
        "late",
        "QueueClosed",
        "QueueClosed",
        [1, 2],
        "QueueClosed",
        "QueueClosed",
        0,
        True,
        "ValueError",
        "PayloadError",
    ]


def test_who_waits_wakes_when_a_queue_is_closed_or_its_time_is_over(hub: Hub) -> None:
    """X-05."""
    found = run(
        hub,
        """
        async def late(q):
            try:
                await q.get_async(0.05)
            except queue.Empty:
                return "empty"
        async def put(q):
            try:
                await q.put_async(2)
            except ValueError as error:
                return type(error).__name__
        async def sync(q):
            await q.join_async()
            return "joined"
        q, full, joined = Queue(), Queue(1), JoinableQueue()
        full.put(1)
        joined.put(1)
        async with WorkerPool(2) as pool:
            waiting = [pool.submit(late, q), pool.submit(put, full), pool.submit(sync, joined)]
            first = await waiting[0]
            while full.statistics().producers == 0:
                await asyncio.sleep(0.01)
            full.close()
            await joined.get_async()
            joined.task_done()
            return first, await waiting[1], await waiting[2]
        """,
    )
    assert found == ["empty", "QueueClosed", "joined"]


def test_a_worker_that_is_killed_does_not_keep_others_from_their_queue(hub: Hub) -> None:
    """B-04: in the midst of putting, and of taking; what others put is there."""
    found = run(
        hub,
        """
        async def flood(q):
            i = 0
            while True:
                i += 1
                await q.put_async((i, b"x" * (i % 7 * 9_000)))
        async def drink(q):
            while True:
                await q.get_async()
        counts = []
        for victim in (flood, drink):
            q = Queue(10)
            async with WorkerPool(1) as one, WorkerPool(1) as two:
                a, b = one.submit(flood, q), two.submit(drink, q)
                while q.statistics().gets < 200:
                    await asyncio.sleep(0.01)
                one.kill(a) if victim is flood else two.kill(b)
                if victim is flood:
                    while q.qsize():
                        await asyncio.sleep(0.01)
                    await q.put_async("from the hub")
                    while q.qsize():
                        await asyncio.sleep(0.01)
                else:
                    last = 0
                    for _ in range(50):
                        i, data = await q.get_async(10)
                        assert i > last and len(data) == i % 7 * 9_000
                        last = i
                counts.append(q.qsize() <= 10)
                two.kill(b) if victim is flood else one.kill(a)
        return counts
        """,
    )
    assert found == [True, True]


def test_an_item_is_not_lost_with_the_cancelled_task_that_waits_for_it(hub: Hub) -> None:
    """C-03: a task that is cancelled while it waits takes nothing; others get what comes then."""
    found = run(
        hub,
        """
        async def take(q, taken):
            taken.put(await q.get_async())
        q, taken = Queue(), Queue()
        async with WorkerPool(1) as pool:
            for i in range(12):
                future = pool.submit(take, q, taken)
                while q.statistics().consumers == 0 and not future.done():
                    await asyncio.sleep(0.01)
                if i % 2:
                    future.cancel(running=True)
                q.put(i)
                try:
                    await future
                except (asyncio.CancelledError, TaskCancelled):
                    pass
            while q.qsize() + taken.qsize() < 12:
                await asyncio.sleep(0.01)
            left = q.get_many(12, False) if q.qsize() else []
            return sorted([*left, *taken.get_many(12)]) == [*range(12)]
        """,
    )
    assert found is True


def test_a_plain_task_that_is_cancelled_while_it_takes_loses_nothing(hub: Hub) -> None:
    """C-03: a signal comes between two items, however fast they are taken."""
    skip_if("block", hub)
    found = run(
        hub,
        """
        def drink(q, seen):
            while True:
                seen[0] += q.get()
        results = []
        for _ in range(3):
            q, seen = Queue(), SharedArray(1, "i")
            async with WorkerPool(1) as pool:
                future = pool.submit(drink, q, seen)
                put = 0
                while q.statistics().gets < 500:
                    put += q.put_many([1] * 50)
                future.cancel(running=True)
                try:
                    await future
                except BaseException as error:
                    pass
                left = q.qsize()
                results.append(put - left - seen[0] in (0, 1))
        return results
        """,
    )
    assert found == [True, True, True]


def test_a_pipe_sends_both_ways_until_it_is_closed(hub: Hub) -> None:
    """A-04"""
    found = run(
        hub,
        """
        async def answer(end):
            heard = []
            while True:
                try:
                    item = await end.recv_async()
                except EOFError:
                    return heard
                heard.append(item)
                await end.send_async(("heard", item))
        here, there = Pipe()
        reader, writer = Pipe(duplex=False)
        seen = []
        async with WorkerPool(1) as pool:
            done = pool.submit(answer, there)
            seen.append(here.poll())
            here.send([1, 2])
            seen.append(await here.poll_async(10))
            seen.append(await here.recv_async())
            here.close()
            seen.append(await done)
        writer.send_bytes(b"abcdef", 1, 3)
        writer.send_bytes(b"")
        seen += [bytes(reader.recv_bytes(3)).decode(), len(reader.recv_bytes())]
        for call in (lambda: reader.send(1), lambda: writer.recv(), lambda: here.send(1),
                     lambda: here.recv(), lambda: writer.send_bytes(b"abc", 1, 5)):
            try:
                call()
            except Exception as error:
                seen.append(type(error).__name__)
        seen += [reader.readable, reader.writable, here.poll()]
        return seen
        """,
    )
    assert found == [
        False,
        True,
        ["heard", [1, 2]],
        [[1, 2]],
        "bcd",
        0,
        "OSError",
        "OSError",
        "BrokenPipeError",
        "EOFError",
        "ValueError",
        True,
        False,
        True,
    ]


def test_what_somebody_has_to_keep_is_refused(hub: Hub) -> None:
    """X-05."""
    with pytest.raises(HubError, match="cannot be put into a queue, as nobody would keep it"):
        run(hub, "q = SimpleQueue()\nq.put({'a': [Queue()]})")
    with pytest.raises(HubError, match="capacity must be from"):
        run(hub, "Queue(capacity=3)")


def test_a_queue_that_a_worker_has_created_outlives_its_handle_there(hub: Hub) -> None:
    """A-04: it is not closed when that worker drops it; what is in it at last is freed."""
    found = run(
        hub,
        """
        import gc
        kept = []
        async def make(keeps):
            queue, pipe = Queue(), Pipe()
            await queue.put_async("first")
            await pipe[0].send_async("sent")
            if keeps:
                kept.append((queue, pipe))
            return queue, pipe
        async def used(queue, pipe):
            got = [await queue.get_async(5), await pipe[1].recv_async()]
            await queue.put_async(b"x" * 100_000)
            return got, queue.statistics().closed
        async with WorkerPool(1) as pool:
            queue, pipe = await pool.submit(make, False)
            await pool.submit(gc.collect)
            found = await used(queue, pipe)
            if pool.mode == "transfer":
                return found, True
            await pool.submit(make, True)
            before = pool.memory().used
            del queue, pipe
            gc.collect()
            freed = before - pool.memory().used
            kept_there, pipe = await pool.submit(make, True)
            await used(kept_there, pipe)
        # Its worker has ended without a finalizer.
        before = WorkerPool(1).memory().used
        del kept_there, pipe
        gc.collect()
        freed = freed, before - WorkerPool(1).memory().used
        return found, min(freed) > 3 * 262_144 + 100_000 or freed  # three rings and a block
        """,
    )
    assert found == [[["first", "sent"], False], True]


def test_what_is_unpickled_may_use_a_queue_itself(hub: Hub) -> None:
    """A-04: the rest of the item is whole."""
    skip_if("block", hub)
    assert run(
        hub,
        """
        class Telling:
            def __getstate__(self):
                return {"x": 1}
            def __setstate__(self, state):
                import builtins
                builtins.told.put("t" * 6_000)
        def take(items, told):
            import builtins
            builtins.told = told
            found = items.get(timeout=20)
            return type(found[0]).__name__, found[1] == list(range(1_000))
        items, told = Queue(), Queue()
        async with WorkerPool(1) as pool:
            items.put((Telling(), list(range(1_000))))
            return await pool.submit(take, items, told), len(await told.get_async(20))
        """,
    ) == [["Telling", True], 6_000]
