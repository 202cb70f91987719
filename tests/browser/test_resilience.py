"""What a pool does about tasks that fail and workers that go wrong, in every place and mode."""

import pytest

from tests.hubs import Hub


def test_a_task_is_run_again_after_an_error_and_after_the_end_of_its_worker(hub: Hub) -> None:
    """C-03 D-09: as often as was allowed, with its waits, by one future."""
    outcome = hub.run(
        """
        def run(n):
            sys.runs = getattr(sys, "runs", 0) + 1
            if sys.runs < n: raise OSError(f"run {sys.runs}")
            return sys.runs
        def die():
            os._exit(3)
        told = []
        async with WorkerPool(1) as pool:
            pool.on("task_retried", lambda event: told.append([event.attempt, event.reason]))
            third = await pool.submit_with(run, [3], retries=2, retry_on=OSError, backoff=0.001)
            try:
                await pool.submit_with(run, [99], retries=1, retry_on=(KeyError, OSError))
            except OSError as error:
                last = str(error)
            try:
                await pool.submit_with(run, [99], retries=1, retry_on=KeyError)
            except OSError as error:
                only = str(error)
            try:
                await pool.submit_with(die, retries=2, backoff=0.001)
            except WorkerLost:
                lost = pool.stats().workers_lost
            stats = pool.stats()
        counted = stats.retried, stats.failed, stats.lost, stats.done
        travelled = stats.bytes_sent > 500, stats.bytes_received > 500
        return [third, last, only, lost, *counted, travelled], told
        """
    )
    found, told = outcome
    assert found == [3, "run 5", "run 6", 3, 5, 2, 1, 1, [True, True]]
    assert [attempt for attempt, _ in told] == [1, 2, 1, 1, 2]
    assert [reason for _, reason in told[:3]] == [f"OSError: run {n}" for n in (1, 2, 4)]
    assert all(reason for _, reason in told[3:])


def test_a_worker_is_replaced_once_its_heap_is_over_the_limit(hub: Hub) -> None:
    """C-03: after the task that made it grow, whose result is there; not after smaller ones."""
    outcome = hub.run(
        """
        def take(mebibytes):
            return len(bytearray(mebibytes << 20)), os.getpid()
        async def take_later(mebibytes):
            return take(mebibytes)
        async with WorkerPool(1, heap_limit=80 << 20) as pool:
            small = [await pool.submit(take, 1) for _ in range(3)]
            large = [await pool.submit(take, 90) for _ in range(2)]
            await pool.submit(take_later, 90)
            last = await asyncio.gather(*[pool.submit(take, 1) for _ in range(20)])
            stats = pool.stats()
        try:
            async with WorkerPool(1, heap_limit=1 << 20) as pool:
                await pool.submit(take, 1)
        except BrokenWorkerPool as error:
            why = str(error)
        pids = [len({pid for _, pid in group}) for group in (small, large, small + large, last)]
        sizes = sum(size for size, _ in small + large + last) >> 20
        return pids, sizes, stats.workers_ended, stats.done, stats.lost, why
        """
    )
    assert outcome[:5] == [[1, 2, 2, 1], 3 + 180 + 20, 3, 26, 0]
    assert "heap_limit is 1048576" in outcome[5]


def test_a_worker_is_replaced_after_so_many_failures(hub: Hub) -> None:
    """C-03 B-04: and tasks that it was given ahead run elsewhere, each once."""
    outcome = hub.run(
        """
        def run(n):
            sys.runs = getattr(sys, "runs", 0) + 1
            if n % 3 == 0: raise LookupError(n)
            return os.getpid()
        async with WorkerPool(1, max_failures_per_child=5) as pool:
            futures = [pool.submit(run, n) for n in range(30)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            stats = pool.stats()
        pids = {result for result in results if isinstance(result, int)}
        return len(pids), stats.done, stats.failed, stats.workers_ended, stats.lost
        """
    )
    assert outcome[1:] == [20, 10, 2, 0]
    assert outcome[0] in (2, 3)


def test_a_pool_that_shrinks_goes_on_with_the_workers_that_are_left(hub: Hub) -> None:
    """B-18: and is broken with the last one, whatever waits."""
    outcome = hub.run(
        """
        async def lose(pool):
            try:
                await pool.submit(os._exit, 3)
            except BrokenWorkerPool as error:
                return type(error).__name__
        async with WorkerPool(2, on_worker_lost="shrink") as pool:
            await both_started(pool)
            first = await lose(pool)
            left = sum(await asyncio.gather(*[pool.submit(abs, -n) for n in range(100)]))
            workers, started = len(pool.workers()), pool.stats().workers_started
            hanging = [pool.submit(os._exit, 3), *(pool.submit(abs, n) for n in range(5))]
            ends = await asyncio.gather(*hanging, return_exceptions=True)
            try:
                pool.submit(abs, 1)
            except BrokenWorkerPool as error:
                last = str(error)
        return first, left, workers, started, [type(end).__name__ for end in ends], last
        """
    )
    assert outcome[:4] == ["WorkerLost", 4950, 1, 2]
    assert outcome[4] == ["WorkerLost", *["BrokenWorkerPool"] * 5]
    assert "all workers were lost; the last: " in outcome[5]


def test_workers_that_die_in_a_row_are_replaced_until_one_works(hub: Hub) -> None:
    """B-18 D-09: whoever waits meanwhile is served, also where no worker is left for a while."""
    outcome = hub.run(
        """
        async with WorkerPool(1) as pool:
            ends = await asyncio.gather(
                *[pool.submit(os._exit, 3) for _ in range(4)], pool.submit(abs, -5),
                return_exceptions=True)
            stats = pool.stats()
        return [type(end).__name__ for end in ends], stats.workers_lost, stats.workers_started
        """
    )
    assert outcome == [["WorkerLost"] * 4 + ["int"], 4, 5]


def test_a_worker_that_hangs_without_a_task_is_noticed_and_replaced(hub: Hub) -> None:
    """B-05 C-09: though it has not ended, and nobody waits for it."""
    outcome = hub.run(
        """
        def hang_later():
            import js
            js.setTimeout(js.Function.new("for (;;);"), 0)
            return os.getpid()
        gone = asyncio.get_running_loop().create_future()
        async with WorkerPool(1, heartbeat=0.2) as pool:
            pool.on("worker_lost", lambda event: gone.set_result(event.reason))
            pid = await pool.submit(hang_later)
            reason = await gone
            other = await pool.submit(os.getpid)
            lost = pool.stats().workers_lost
        return reason, pid != other, lost
        """
    )
    assert "it gave no sign of life for" in outcome[0]
    assert outcome[1:] == [True, 1]


@pytest.mark.lengthy
def test_workers_that_run_python_live_however_long_that_takes(hub: Hub) -> None:
    """B-05: they compute, sleep or await; and what hangs elsewhere is as good as dead."""
    reason, lost = hub.run(
        """
        def compute(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end: pass
        async def wait(seconds):
            await asyncio.sleep(seconds)
        def hang(runs):
            import js
            runs.add(0, 1)
            js.Function.new("for (;;);")()
        reason = None
        async with WorkerPool(1, heartbeat=0.5, silence=2.0) as pool:
            await asyncio.gather(*[pool.submit(f, 4) for f in (wait, compute, time.sleep)])
            if pool.mode == "shared":
                runs = SharedArray(1, "int32", mode=pool.mode)
                try:
                    await pool.submit_with(hang, [runs], retries=1)
                except WorkerLost as error:
                    reason = f"{error.reason} in {runs[0]} runs"
            lost = pool.stats().workers_lost
        return reason, lost
        """
    )
    if hub.mode == "shared":
        assert "it gave no sign of life for" in reason
        assert "in 2 runs" in reason
        assert lost == 2
    else:
        assert (reason, lost) == (None, 0)


def test_a_hub_that_was_blocked_does_not_take_its_workers_for_dead(hub: Hub) -> None:
    """B-05: it could not have heard them."""
    outcome = hub.run(
        """
        async with WorkerPool(2, heartbeat=0.1) as pool:
            await both_started(pool)
            for _ in range(3):
                end = time.monotonic() + 1
                while time.monotonic() < end: pass
                await asyncio.sleep(0.15)
            return pool.stats().workers_lost, len(pool.workers())
        """
    )
    assert outcome == [0, 2]


def test_a_function_that_keeps_failing_is_not_called_until_its_trial(hub: Hub) -> None:
    """B-18: whether it raises, is late or ends its worker."""
    outcome = hub.run(
        """
        def run(how):
            if how == "raise": raise LookupError
            if how == "end": os._exit(3)
            if how == "sleep": time.sleep(60)
            return "done"
        async def outcome_of(how, timeout=None):
            try:
                return await pool.submit_with(run, [how], timeout=timeout)
            except Exception as error:
                return type(error).__name__
        breaker = CircuitBreaker(failures=3, seconds=2)
        async with WorkerPool(1, breaker=breaker, grace=0.05) as pool:
            outcomes = [await outcome_of("raise"), await outcome_of("end"),
                await outcome_of("sleep", 0.1), await outcome_of("work")]
            while (last := await outcome_of("work")) == "CircuitOpen":
                await asyncio.sleep(0.05)
            return [*outcomes, last, await outcome_of("work")]
        """
    )
    assert outcome == ["LookupError", "WorkerLost", "TimeoutError", "CircuitOpen", "done", "done"]
