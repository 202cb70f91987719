"""What code written for CPython's executors finds here, in every place and mode (X-01)."""

import pytest

from tests.hubs import Hub

WAITING = """
    from concurrent.futures import as_completed, wait, FIRST_COMPLETED, FIRST_EXCEPTION
    def fail(): raise LookupError("no")
"""


def test_what_a_task_gives_may_fail_when_it_is_looked_at(hub: Hub) -> None:
    """X-01 B-05: an error without a text, and a result that can be neither sent nor named."""
    outcome = hub.run(
        """
    class Silent(Exception):
        def __str__(self): raise ValueError("no text")
    class Secret:
        def __repr__(self): raise ValueError("no name")
        def __reduce__(self): raise TypeError("no pickle")
    def fail(): raise Silent
    def give(): return Secret()
    async def fail_later(): raise Silent
    async def give_later(): return Secret()
    outcome = []
    async with WorkerPool(1) as pool:
        for function in (fail, fail_later, give, give_later):
            try:
                await pool.submit(function)
            except Exception as error:
                outcome.append(type(error).__name__)
        return outcome, await pool.submit(abs, -1), pool.stats().workers_lost
"""
    )
    assert outcome == [["Silent", "Silent", "PayloadError", "PayloadError"], 1, 0]


def test_the_waiting_of_the_standard_library_works_where_the_thread_can_block(hub: Hub) -> None:
    """X-01 E-03: and elsewhere an error says what to do."""
    can_switch = hub.run("return capabilities().can_run_sync")
    outcome = hub.run(
        WAITING
        + """
    async with WorkerPool(2) as pool, WorkerPool(1, mode="inline") as inline:
        await both_started(pool)
        try:
            done, rest = wait([pool.submit(abs, -n) for n in range(20)], timeout=60)
        except ModeError as error:
            return str(error)
        outcome = [sum(f.result() for f in done), len(rest)]
        slow = pool.submit(time.sleep, 3600)
        done, rest = wait([slow, pool.submit(abs, -1)], 60, FIRST_COMPLETED)
        outcome.append([len(done), rest == {slow}])
        done, rest = wait([slow, pool.submit(fail)], 60, FIRST_EXCEPTION)
        outcome.append([[type(f.exception()).__name__ for f in done], rest == {slow}])
        outcome.append([len(x) for x in wait([slow], timeout=0.01)])
        mixed = [pool.submit(pow, n, 2) for n in range(20)] + [inline.submit(abs, -1)]
        outcome.append(sum(f.result() for f in as_completed(mixed, timeout=60)))
        try:
            next(as_completed([slow], timeout=0.01))
        except TimeoutError:
            outcome.append("TimeoutError")
        pool.kill(slow)
        return outcome
"""
    )
    if hub.can_block or can_switch:
        assert outcome == [190, 0, [1, True], [["LookupError"], True], [0, 1], 2471, "TimeoutError"]
    else:
        assert "await future" in outcome


def test_asyncio_gives_functions_to_the_pool(hub: Hub) -> None:
    """X-01: Pyodide's event loop would call them where it is."""
    outcome = hub.run(
        """
        loop = asyncio.get_running_loop()
        async with WorkerPool(1) as pool:
            there = await loop.run_in_executor(pool, os.getpid)
            wrapped = await asyncio.wrap_future(pool.submit(pow, 2, 5))
            try:
                await loop.run_in_executor(pool, int, "no number")
            except ValueError as error:
                failed = "invalid literal" in str(error)
            here = await loop.run_in_executor(None, os.getpid)
            return there == await pool.submit(os.getpid) != here == os.getpid(), wrapped, failed
        """
    )
    assert outcome == [True, 32, True]


def test_workers_are_replaced_after_so_many_tasks(hub: Hub) -> None:
    """X-01 B-04: every result arrives, and no worker runs more than it may."""
    total, most, workers = hub.run(
        """
        def work(n):
            return n, os.getpid()
        async with WorkerPool(2, max_tasks_per_child=5) as pool:
            results = await asyncio.gather(*[pool.submit(work, n) for n in range(40)])
        counts = {}
        for _, pid in results:
            counts[pid] = counts.get(pid, 0) + 1
        return sum(n for n, _ in results), max(counts.values()), len(counts)
        """
    )
    assert total == 780
    assert most == 5
    assert workers in (8, 9)  # the last two may share what is left


def test_a_lost_worker_breaks_a_pool_that_asks_for_it(hub: Hub) -> None:
    """X-01 D-09: as in CPython; every pending future fails, and so does submitting."""
    names, refused = hub.run(
        """
        pool = WorkerPool(2, on_worker_lost="break")
        await both_started(pool)
        futures = [pool.submit(time.sleep, 60), pool.submit(os._exit, 3)]
        futures += [pool.submit(abs, -n) for n in range(20)]
        done = await asyncio.gather(*futures, return_exceptions=True)
        try:
            pool.submit(abs, 1)
        except BrokenWorkerPool as error:
            await asyncio.wait_for(pool.aclose(), 60)
            return [isinstance(e, BrokenWorkerPool) for e in done], str(error)
        """
    )
    assert names[:2] == [True, True]
    assert names.count(True) >= 2
    assert "the pool is broken: worker" in refused


def test_a_task_that_may_be_retried_outlives_its_worker(hub: Hub) -> None:
    """D-09: as often as it was allowed, and no more; others are not run twice."""
    outcome = hub.run(
        """
        async with WorkerPool(1) as pool:
            once = pool.submit(os._exit, 1)
            thrice = pool.submit_with(os._exit, [1], retries=2)
            rest = [pool.submit(abs, -n) for n in range(20)]
            done = await asyncio.gather(once, thrice, *rest, return_exceptions=True)
            error = done[1]
            return (
                [type(e).__name__ for e in done[:2]], error.task == thrice.task,
                str(error).startswith(f"worker {error.worker} died while it held task"),
                sum(done[2:]), error.worker - done[0].worker,
            )
        """
    )
    assert outcome[0] == ["WorkerLost", "WorkerLost"]
    assert outcome[1:] == [True, True, 190, 3]


@pytest.mark.parametrize("way", ["terminate_workers", "kill_workers"])
def test_a_pool_can_be_ended_whatever_its_workers_run(hub: Hub, way: str) -> None:
    """X-01 B-04: as in Python 3.14."""
    outcome = hub.run(
        """
        pool = WorkerPool(2, grace=0.5)
        await both_started(pool)
        done = pool.submit(abs, -1)
        await done
        futures = [pool.submit(time.sleep, 3600) for _ in range(20)]
        while not (futures[0].running() and futures[1].running()):
            await asyncio.sleep(0)
        getattr(pool, way)()
        settled = await asyncio.gather(*futures, return_exceptions=True)
        await asyncio.wait_for(pool.aclose(), 60)
        names = {type(error).__name__ for error in settled}
        try:
            pool.submit(abs, 1)
        except RuntimeError as error:
            return sorted(names - {"CancelledError"}), repr(pool), done.result()
        """,
        way=way,
    )
    assert outcome[0] in ([], ["BrokenWorkerPool"])
    assert "shut down, 0 of 2 workers" in outcome[1]
    assert outcome[2] == 1


def test_map_reads_no_further_than_its_buffer(hub: Hub) -> None:
    """X-01: ``buffersize`` as in Python 3.14, over an endless iterable."""
    outcome = hub.run(
        """
        import itertools
        read = []
        def numbers():
            for n in itertools.count():
                read.append(n)
                yield n
        async with WorkerPool(2) as pool:
            results = pool.map(lambda n: n * n, numbers(), buffersize=10)
            outcome = [len(read)]
            first = [await anext(results) for _ in range(100)]
            results.close()
        return outcome, first == [n * n for n in range(100)], len(read)
        """
    )
    assert outcome[0][0] <= 10
    assert outcome[1] is True
    assert 100 <= outcome[2] <= 110


def test_a_group_ends_with_its_tasks_or_with_the_first_that_fails(hub: Hub) -> None:
    """C-15: tasks that run are cancelled with those that wait."""
    outcome = hub.run(
        """
        def fail():
            raise LookupError("no")
        async with WorkerPool(2) as pool:
            async with pool.group() as group:
                for n in range(20):
                    group.submit(pow, n, 2)
            failing = pool.group()
            try:
                async with failing:
                    runs = failing.submit(asyncio.sleep, 3600)
                    failing.submit(fail)
                    waits = failing.submit_with(abs, [-1], delay=3600)
            except ExceptionGroup as error:
                raised = [type(e).__name__ for e in error.exceptions]
            ended = [runs.cancelled(), waits.cancelled()]
            return sum(group.results()), raised, ended, await pool.submit(abs, -1)
        """
    )
    assert outcome == [2470, ["LookupError"], [True, True], 1]
