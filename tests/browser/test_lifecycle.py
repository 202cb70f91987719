"""How workers and pools begin and end, in every place and mode."""

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub


@pytest.mark.parametrize(
    "death",
    [
        "__import__('os')._exit(3)",
        "__import__('os').abort()",
        "__import__('ctypes').string_at(2**31)",
    ],
)
def test_a_dead_worker_is_replaced(hub: Hub, death: str) -> None:
    """B-05 D-09: its future fails with a clear error, the rest goes on."""
    name, message, total = hub.run(
        """
        async with WorkerPool(2) as pool:
            before = [pool.submit(abs, -n) for n in range(20)]
            victim = pool.submit(lambda code: eval(code), death)
            after = [pool.submit(abs, -n) for n in range(20)]
            done = await asyncio.gather(victim, *before, *after, return_exceptions=True)
            return type(done[0]).__name__, str(done[0]), sum(done[1:])
        """,
        death=death,
    )
    assert name == "WorkerLost"
    assert "died while it held task" in message
    assert total == 2 * sum(range(20))


def test_a_thread_that_ends_by_itself_is_noticed(hub: Hub) -> None:
    """B-05: no engine says so, except to who waits for a lock that the thread held."""
    outcome = hub.run(
        """
        async def die():
            import js
            js.process.exit(5) if hasattr(js, "process") else js.close()
            await asyncio.sleep(3600)
        async with WorkerPool(1) as pool:
            lost = await asyncio.gather(pool.submit(die), return_exceptions=True)
            return type(lost[0]).__name__, str(lost[0]), await pool.submit(abs, -3)
        """
    )
    assert outcome[0] == "WorkerLost"
    assert "its thread ended" in outcome[1]
    assert outcome[2] == 3


def test_a_pool_whose_workers_do_not_start_ends_with_the_cause(hub: Hub) -> None:
    """A-08: a wheel that is missing is named, once, and the pool does not loop."""
    skip_if("fetch", hub)
    outcome = hub.run(
        """
        pool = WorkerPool(2, packages=["https://127.0.0.1:9/nothing-1.0-py3-none-any.whl"])
        futures = [pool.submit(abs, -1) for _ in range(5)]
        done = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 60)
        try:
            pool.submit(abs, 1)
        except BrokenWorkerPool as error:
            done.append(error)
        return [type(e).__name__ for e in done], str(done[-1]), repr(pool)
        """
    )
    assert outcome[0] == ["BrokenWorkerPool"] * 6
    assert "127.0.0.1" in outcome[1] or "nothing" in outcome[1]
    assert "broken" in outcome[2]


def test_a_failing_initializer_breaks_the_pool_with_its_error(hub: Hub) -> None:
    """X-01: as in CPython; a working one is called in each worker."""
    outcome = hub.run(
        """
        def prepare(value):
            if value is None:
                raise ValueError("not prepared")
            sys.prepared = value
        async with WorkerPool(2, initializer=prepare, initargs=("yes",)) as pool:
            values = {await f for f in [pool.submit(lambda: sys.prepared) for _ in range(20)]}
        bad = WorkerPool(1, initializer=prepare, initargs=(None,))
        try:
            await bad.submit(abs, 1)
        except BrokenWorkerPool as error:
            return list(values), str(error), type(error.__cause__).__name__
        """
    )
    assert outcome == [["yes"], "the pool is broken: not prepared", "ValueError"]


def test_modules_and_files_of_the_caller_reach_the_workers(hub: Hub) -> None:
    """X-07: by ``modules`` and ``files``."""
    outcome = hub.run(
        """
        from pathlib import Path
        folder = Path.home() / "own"
        (folder / "mine").mkdir(parents=True, exist_ok=True)
        (folder / "mine" / "__init__.py").write_text("from .deep import answer")
        (folder / "mine" / "deep.py").write_text("def answer(): return 42")
        (folder / "single.py").write_text("name = 'single'")
        sys.path.insert(0, str(folder))
        import mine
        def look():
            import single
            return single.name, open("data/note.txt").read(), open("/opt/x.bin", "rb").read()
        files = {"data/note.txt": "hello", "/opt/x.bin": b"\\x00\\xff"}
        async with WorkerPool(1, modules=["mine", "single"], files=files) as pool:
            return await pool.submit(mine.answer), [str(x) for x in await pool.submit(look)]
        """
    )
    assert outcome == [42, ["single", "hello", "b'\\x00\\xff'"]]


def test_a_large_file_reaches_every_worker(hub: Hub) -> None:
    """X-07: beside the pickle, and nothing of it is left behind in shared memory."""
    outcome = hub.run(
        """
        import hashlib
        data = bytes(range(256)) * 40_000
        def look():
            found = open("data/large.bin", "rb").read()
            return hashlib.sha256(found).hexdigest()
        async with WorkerPool(2, files={"data/large.bin": data}, standby=0) as pool:
            await pool.warm_up()
            digests = await asyncio.gather(*[pool.submit(look) for _ in range(10)])
            memory = pool.memory()
            used = 0 if memory is None else memory.used
        return {*digests} == {hashlib.sha256(data).hexdigest()}, used < 1_000_000
        """
    )
    assert outcome == [True, True]


def test_packages_are_installed_in_every_worker(hub: Hub) -> None:
    """E-08: by name, from the site's own lock file."""
    outcome = hub.run(
        """
        def version():
            import micropip
            return micropip.__version__
        async with WorkerPool(2, packages=["micropip"]) as pool:
            return [len({await f for f in [pool.submit(version) for _ in range(10)]})]
        """
    )
    assert outcome == [1]


def test_timeouts_and_kills_end_running_tasks(hub: Hub) -> None:
    """A-08: the worker is replaced, and the next task runs."""
    outcome = hub.run(
        """
        def forever():
            while True: pass
        async with WorkerPool(1) as pool:
            await pool.submit(abs, 1)
            late = pool.submit_with(forever, timeout=0.2)
            queued_late = pool.submit_with(abs, [1], timeout=0.1)
            results = await asyncio.gather(late, queued_late, return_exceptions=True)
            killed = pool.submit(forever)
            while not killed.running():
                await asyncio.sleep(0)
            cancelled_queued = pool.submit(abs, 1)
            answers = [killed.cancel(), cancelled_queued.cancel(), pool.kill(killed)]
            answers += [killed.cancelled(), pool.kill(killed), await pool.submit(abs, -7)]
        return [type(r).__name__ for r in results], answers
        """
    )
    assert outcome == [["TimeoutError", "TimeoutError"], [False, True, True, True, True, 7]]


def test_pools_in_both_modes_end_their_own_workers_only(hub: Hub) -> None:
    """B-04: though one broker makes those of both."""
    found = hub.run(
        """
        async def die():
            import js
            js.process.exit(5) if hasattr(js, "process") else js.close()
            await asyncio.sleep(3600)  # its thread ends before
        def spin():
            while True:
                pass
        async with WorkerPool(1, mode="transfer") as other, WorkerPool(1) as pool:
            ready = [await one.submit(abs, -1) for one in (other, pool)]
            errors = []
            for task in (other.submit_with(spin, timeout=0.1), other.submit(die)):
                try:
                    await task
                except Exception as error:
                    errors.append(type(error).__name__)
            return other.mode, ready, errors, [await one.submit(abs, -2) for one in (other, pool)]
        """
    )
    assert found == ["transfer", [1, 1], ["TimeoutError", "WorkerLost"], [2, 2]]


def test_shutdown_finishes_what_was_submitted(hub: Hub) -> None:
    """X-01: and takes nothing more; with cancel_futures, what is queued is cancelled."""
    outcome = hub.run(
        """
        pool = WorkerPool(1)
        futures = [pool.submit(abs, -n) for n in range(10)]
        mapped = pool.map(abs, range(100))
        pool.shutdown(wait=False)
        try:
            pool.submit(abs, 1)
        except RuntimeError as error:
            refused = str(error)
        done = sum([await f for f in futures]), sum([n async for n in mapped])
        other = WorkerPool(1)
        futures = [other.submit(abs, -n) for n in range(10)]
        await other.aclose(cancel_futures=True)
        return refused, done, all(f.cancelled() for f in futures), repr(pool)
        """
    )
    assert outcome[0] == "cannot submit to a pool that is shut down"
    assert outcome[1] == [45, 4950]
    assert outcome[2] is True
    assert "shut down, 0 of 1 workers" in outcome[3]


def test_an_unfinished_pool_that_nobody_holds_is_cleaned_up(hub: Hub) -> None:
    """X-01: its workers end with it."""
    outcome = hub.run(
        """
        import gc
        pool = WorkerPool(1)
        engine = pool._engine
        await pool.submit(abs, 1)
        del pool
        gc.collect()
        await asyncio.sleep(0)  # what a finalizer asks for waits until nothing of Python runs
        return len(engine.scheduler.workers)
        """
    )
    assert outcome == 0


def test_a_pool_counts_and_tells_what_happened(hub: Hub) -> None:
    """C-08 C-10: statistics and events of workers that run, and of one that dies."""
    counts, outcomes, reasons = hub.run(
        """
        outcomes, reasons = [], []
        async with WorkerPool(1) as pool:
            pool.on("task_done", lambda event: outcomes.append(event.outcome))
            pool.on("worker_lost", lambda event: reasons.append(bool(event.reason)))
            for n in range(10):
                await pool.submit(abs, n)
            await asyncio.gather(pool.submit(os._exit, 1), return_exceptions=True)
            await pool.submit(abs, 1)
            stats = pool.stats()
        workers = [stats.workers_started, stats.workers_lost]
        return [stats.done, stats.lost, *workers], outcomes, reasons
        """
    )
    assert counts == [11, 1, 2, 1]
    assert outcomes == ["done"] * 10 + ["lost", "done"]
    assert reasons == [True]


def test_what_a_pool_does_is_traced_and_logged(hub: Hub) -> None:
    """B-18 D-10: with the numbers of tasks and workers, in the order of what happened."""
    outcome = hub.run(
        """
        import json, logging
        records = []
        handler = logging.Handler()
        handler.emit = records.append
        logger = logging.getLogger("pyworkers")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            async with WorkerPool(2) as pool:
                await pool.warm_up()
                with pool.trace("/tmp/trace.json"):
                    naps = [pool.submit(time.sleep, 0.05) for _ in range(4)]
                    await asyncio.gather(*naps)
                numbers = {worker.number for worker in pool.workers()}
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
        with open("/tmp/trace.json") as file:
            events = json.load(file)["traceEvents"]
        calls = [event for event in events if event["ph"] == "X"]
        lanes = {}
        for call in sorted(calls, key=lambda call: call["ts"]):
            lanes.setdefault(call["tid"], []).append(call)
        overlaps = sum(
            later["ts"] < call["ts"] + call["dur"] - 20_000
            for lane in lanes.values() for call, later in zip(lane, lane[1:]))
        done = [record for record in records if "task_done" in record.getMessage()]
        return (
            [len(calls), {*lanes} == numbers, overlaps, min(c["dur"] for c in calls) > 45_000],
            sorted(record.task for record in done) == sorted(future.task for future in naps),
            {record.worker for record in records} == numbers,
        )
        """
    )
    assert outcome == [[4, True, 0, True], True, True]
