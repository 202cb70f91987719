"""X-05 A-04: locks, semaphores and events between hub and workers, in every place and mode."""

from tests.hubs import Hub


def test_a_lock_lets_one_worker_at_a_time_in(hub: Hub) -> None:
    """A-04: each adds to a list in two steps that must not be mixed; none is lost."""
    total = hub.run(
        """
        from pyworkers.sync import Lock
        lock = Lock()
        async def add(lock, n):
            for _ in range(n):
                async with lock:
                    line = task.channel("sum")
                    await line.request("put", 1 + await line.request("get"))
        async with WorkerPool(2) as pool:
            total = 0
            def put(message):
                nonlocal total
                total = message.payload
            pool.channel("sum").on("put", put)
            pool.channel("sum").on("get", lambda message: total)
            await asyncio.gather(*[pool.submit(add, lock, 40) for _ in range(4)])
            return total
        """
    )
    assert total == 160


def test_a_time_that_has_gone_by_is_no_time(hub: Hub) -> None:
    """A-04: a wait tries once, and is over."""
    tried = hub.run(
        """
        from pyworkers.sync import Lock
        lock = Lock()
        async def tries(lock):
            return await lock.acquire_async(timeout=-1)
        async with WorkerPool(1) as pool, lock:
            return [await lock.acquire_async(timeout=-1), await pool.submit(tries, lock)]
        """
    )
    assert tried == [False, False]


def test_what_a_worker_gives_up_is_given_back_however_much_others_get_meanwhile(hub: Hub) -> None:
    """A-04: without shared memory the hub remembers, by worker, whose answers are on their way."""
    assert (
        hub.run(
            """
            from pyworkers._answers import Message
            from pyworkers.sync import Lock, Semaphore, _hosted
            def said(worker, kind, *payload):
                return Message("pyworkers.sync", kind, payload, worker, None, 0.0, print)
            lock = Lock(mode="transfer")
            semaphore = Semaphore(2_000, mode="transfer")
            await _hosted._wait(said(1_001, "wait", lock.id, (), 5, None))
            assert lock.locked()
            for ticket in range(1_500):
                await _hosted._wait(said(1_002, "wait", semaphore.id, (), ticket, None))
            _hosted._abandon(said(1_001, "abandon", lock.id, (), 5))
            return lock.locked()
            """
        )
        is False
    )


def test_who_only_tries_a_lock_gets_it_from_a_worker_that_has_died(hub: Hub) -> None:
    """A-04 B-04: is told so, and gets it at the next try; an RWLock's writers and readers, too."""
    assert (
        hub.run(
            """
        from pyworkers.sync import Lock, RLock, RWLock
        async def hold(lock, writing):
            await lock.acquire_async()
            await writing.acquire_async()
            await asyncio.sleep(60)  # it is killed before
        found = []
        async with asyncio.timeout(60), WorkerPool(1) as pool:
            for lock in (Lock(), RLock()):
                both = RWLock()
                holding = pool.submit(hold, lock, both.write())
                while both.statistics().writer is None:
                    await asyncio.sleep(0.005)
                pool.kill(holding)
                try:
                    await holding
                except BaseException:
                    pass
                for side in (lock, both.read()):
                    end = time.monotonic() + 20
                    told = []
                    while time.monotonic() < end:
                        try:
                            if blocks and len(found) < 2:
                                if side.acquire(False):
                                    break
                            elif await side.acquire_async(0):
                                break
                        except OwnerDied:
                            told.append("told")
                        await asyncio.sleep(0.005)
                    else:
                        told.append("never")
                    found.append(told)
        return found
        """,
            blocks=hub.can_block,
        )
        == [["told"]] * 4
    )


def test_a_bounded_semaphore_of_none_cannot_be_released(hub: Hub) -> None:
    """A-04: nor can a semaphore that is full be, of as many as can be counted."""
    assert hub.run(
        """
            from pyworkers.sync import BoundedSemaphore, Semaphore
            refused = 0
            for semaphore in (BoundedSemaphore(0), Semaphore(2**31 - 1)):
                try:
                    semaphore.release()
                except ValueError:
                    refused += 1
            free = Semaphore(0)
            free.release()
            return refused, free.get_value()
            """
    ) == [2, 1]
