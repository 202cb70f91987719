"""What a pool does with its tasks, in every place and mode where it has workers of its own."""

import pytest

from tests.hubs import Hub, HubError


@pytest.mark.smoke
def test_capabilities_say_which_mode_and_why(hub: Hub) -> None:
    """A-01: what was found, in one frozen object."""
    found = hub.run(
        """
        found = capabilities()
        try:
            found.mode = "other"
        except Exception as error:
            frozen = type(error).__name__
        return found.shared_memory, found.atomics, found.cores, found.reason, frozen
        """
    )
    shared, atomics, cores, reason, frozen = found
    assert atomics
    assert cores >= 1
    assert reason
    assert frozen == "FrozenInstanceError"
    if hub.mode == "shared":
        assert shared


@pytest.mark.smoke
def test_two_workers_sum_2000_tasks_exactly(hub: Hub) -> None:
    """A-02 A-05: every task runs once, on workers of their own."""
    total, pids, repr_ = hub.run(
        """
        async with WorkerPool(2) as pool:
            await both_started(pool)
            futures = [pool.submit(lambda n: (n, os.getpid()), n) for n in range(2000)]
            results = [await future for future in futures]
            state = repr(pool)
        return sum(n for n, _ in results), len({pid for _, pid in results}), state
        """
    )
    assert total == 1999 * 2000 // 2
    assert pids == 2
    assert "2 idle of 2 workers" in repr_


def test_short_tasks_do_not_wait_behind_a_long_one(hub: Hub) -> None:
    """B-17 in part: a worker holds several tasks ahead; those that it has not started are taken
    back when another worker is idle, and each runs exactly once."""
    runs, order = hub.run(
        """
        def nap(seconds):
            sys.runs = getattr(sys, "runs", 0) + 1
            if seconds: time.sleep(seconds)
            return os.getpid()
        def runs():
            time.sleep(0.05)
            return os.getpid(), sys.runs
        async with WorkerPool(2) as pool:
            naps = 0
            while len({await f for f in [pool.submit(nap, 0) for _ in range(300)]}) < 2:
                naps += 300
            naps += 300
            long = pool.submit(nap, 1.5)
            short = [pool.submit(nap, 0) for _ in range(100)]
            order = [future is long async for future in pool.as_completed([long, *short])]
            counts = {}
            while len(counts) < 2:
                counts |= [await f for f in [pool.submit(runs), pool.submit(runs)]]
        return sum(counts.values()) - naps, order.index(True)
        """
    )
    assert runs == 101
    if hub.mode == "shared":
        assert order == 100


def test_queued_tasks_can_be_cancelled_wherever_they_wait(hub: Hub) -> None:
    """B-03 C-07 in part: a cancelled task never runs, a task that runs is not cancelled."""
    cancelled, ran = hub.run(
        """
        import random
        def note(n):
            sys.notes = [*getattr(sys, "notes", []), n]
        async with WorkerPool(1) as pool:
            for n in range(100):
                await pool.submit(note, -1)
            futures = [pool.submit(note, n) for n in range(300)]
            random.Random(7).shuffle(futures)
            cancelled = sum(future.cancel() for future in futures[:150])
            await asyncio.wait([asyncio.wrap_future(f) for f in futures])
            ran = [n for n in await pool.submit(lambda: sys.notes) if n >= 0]
            return cancelled, len(ran) == len(set(ran)) == 300 - cancelled
        """
    )
    assert 0 < cancelled <= 150
    assert ran


@pytest.mark.smoke
def test_awaiting_tasks_share_a_worker(hub: Hub) -> None:
    """X-06 in part: coroutines run beside each other and beside plain tasks."""
    outcome = hub.run(
        """
        async def meet(name, other):
            sys.here = {*getattr(sys, "here", ()), name}
            while other not in sys.here:
                await asyncio.sleep(0.005)
            from pyworkers import task
            task.progress(1, 1, name)
            return name
        heard = []
        async with WorkerPool(1) as pool:
            futures = [pool.submit(meet, "a", "b"), pool.submit(meet, "b", "a")]
            for future in futures:
                future.add_progress_callback(lambda done, total, name: heard.append(name))
            return await pool.submit(abs, -1), [await f for f in futures], sorted(heard)
        """
    )
    assert outcome == [1, ["a", "b"], ["a", "b"]]


def test_a_map_with_a_rate_starts_no_call_too_soon(hub: Hub) -> None:
    """B-17: by the times that the workers have seen; the slack is what their clocks differ."""
    found = hub.run(
        """
        def started(n):
            return n, time.time()
        async with WorkerPool(2) as pool:
            await pool.warm_up()
            runs = []
            for options in ({}, {"chunksize": 3}, {"buffersize": 2}):
                begin = time.time()
                stream = pool.map(started, range(9), rate=20.0, **options)
                calls = [call async for call in stream]
                runs.append([(n, when - begin) for n, when in calls])
            if can_block:
                begin = time.time()
                calls = list(pool.map(started, range(9), rate=20.0))
                runs.append([(n, when - begin) for n, when in calls])
            given_up = pool.map(started, range(5), rate=0.01)
            first = await anext(given_up)
            given_up.close()
            return runs, first[0], pool.stats().delayed
        """,
        can_block=hub.can_block,
    )
    runs, first, delayed = found
    chunks = [1, 3, 1, 1]
    for run, chunk in zip(runs, chunks, strict=False):
        assert [n for n, _ in run] == list(range(9))
        for n, seconds in run:
            assert seconds >= (n - n % chunk) / 20 - 0.005
    assert len(runs) == (4 if hub.can_block else 3)
    assert (first, delayed) == (0, 0)


def test_map_keeps_order_and_streams(hub: Hub) -> None:
    """X-01: results come in order, with any chunk size."""
    sums = hub.run(
        """
        async with WorkerPool(2) as pool:
            sums = []
            for chunksize in (None, 1, 7):
                got = [r async for r in pool.map(pow, range(500), [2] * 600, chunksize=chunksize)]
                sums.append(got == [n * n for n in range(500)])
            empty = [r async for r in pool.map(abs, [])]
        return sums, empty
        """
    )
    assert sums == [[True, True, True], []]


def test_results_come_as_they_are_completed(hub: Hub) -> None:
    """X-01: the fast one first, by ``async for``."""
    order = hub.run(
        """
        async with WorkerPool(2) as pool:
            await both_started(pool)
            slow, fast = pool.submit(time.sleep, 0.8), pool.submit(abs, -1)
            return [{slow: "slow", fast: "fast"}[f] async for f in pool.as_completed([slow, fast])]
        """
    )
    assert order == ["fast", "slow"]


@pytest.mark.smoke
def test_calls_block_where_the_thread_can(hub: Hub) -> None:
    """E-03 E-04: ``result()`` waits in a worker with shared memory, or by stack switching;
    elsewhere the error says what to do, and nothing hangs."""
    can_switch = hub.run("return capabilities().can_run_sync")
    outcome = hub.run(
        """
        pool = WorkerPool(2)
        future = pool.submit(pow, 2, 10)
        try:
            value = future.result(timeout=60)
            with WorkerPool(1) as other:
                squares = list(other.map(lambda n: n * n, range(100)))
            late = pool.submit(time.sleep, 0.5)
            try:
                late.result(timeout=0.01)
            except TimeoutError:
                value += 1
            return value, sum(squares), late.exception()
        except ModeError as error:
            return str(error), await future
        finally:
            await pool.aclose()
        """
    )
    if hub.can_block or can_switch:
        assert outcome == [1025, 328350, None]
    else:
        assert "await" in outcome[0]
        assert outcome[1] == 1024


def test_a_coroutine_that_awaits_short_tasks_lets_others_run(hub: Hub) -> None:
    """X-06: short tasks may be waited for without a turn of the event loop, but not for long."""
    done, ticks = hub.run(
        """
        ticks, over = 0, False
        async def tick():
            nonlocal ticks
            while not over:
                await asyncio.sleep(0)
                ticks += 1
        async with WorkerPool(1) as pool:
            for _ in range(20): await pool.submit(abs, 1)
            ticking = asyncio.create_task(tick())
            done = 0
            while done < 20_000 and not (done > 100 and ticks > 100):
                done += await pool.submit(abs, 1)
            over = True
            await ticking
        return done, ticks
        """
    )
    assert done > 100
    assert ticks > 100


def test_an_awaited_result_leaves_everything_as_it_was(hub: Hub) -> None:
    """X-06: the coroutine goes on in its context, its loop, and able to switch stacks if it was."""
    outcome = hub.run(
        """
        import contextvars
        from pyodide.ffi import can_run_sync, run_sync
        variable = contextvars.ContextVar("variable")
        def about():
            return can_run_sync(), asyncio.current_task().get_name(), variable.get(), id(
                asyncio.get_running_loop()), sys.get_asyncgen_hooks()
        async def go(name, pool):
            variable.set(name)
            asyncio.current_task().set_name(name)
            before = about()
            same = []
            for i in range(20):
                await pool.submit(time.sleep, 0.001 * (i % 3))
                same.append(about() == before)
                if can_run_sync():
                    same.append(run_sync(pool.submit(abs, -i)) == i)
            return all(same)
        async with WorkerPool(2) as pool:
            return await asyncio.gather(go("a", pool), go("b", pool), go("c", pool))
        """
    )
    assert outcome == [True, True, True]


@pytest.mark.smoke
def test_functions_travel_by_reference_and_by_value(hub: Hub) -> None:
    """X-07: lambdas, closures, and what is defined where the program is."""
    outcome = hub.run(
        """
        import textwrap
        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return type(self) is type(other) and self.x == other.x
        offset = 10
        def closure(n): return n + offset
        def factorial(n): return 1 if n < 2 else n * factorial(n - 1)
        async with WorkerPool(1) as pool:
            results = [
                await pool.submit(textwrap.dedent, "  a"),
                await pool.submit(lambda n: n * 2, 21),
                await pool.submit(closure, 5),
                await pool.submit(factorial, 10),
                (await pool.submit(lambda p: Point(p.x + 1), Point(1))) == Point(2),
            ]
            offset = 100
            results.append(await pool.submit(closure, 5))
        return results
        """
    )
    assert outcome == ["a", 42, 15, 3628800, True, 105]


def test_an_exception_returns_as_itself(hub: Hub) -> None:
    """X-01: with its traceback in the worker as the cause."""
    outcome = hub.run(
        """
        class Odd(Exception):
            pass
        def fails(n):
            raise Odd(n, "argument")
        async with WorkerPool(1) as pool:
            try:
                await pool.submit(fails, 3)
            except Odd as error:
                cause = error.__cause__
                return error.args, "in fails" in str(cause), type(cause).__name__
        """
    )
    assert outcome == [[3, "argument"], True, "RemoteTraceback"]


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()", "MemoryError()"])
def test_a_task_cannot_take_its_worker_along_by_raising(hub: Hub, error: str) -> None:
    """X-01: exceptions that end a program are results here."""
    name, alive = hub.run(
        """
        def fails(text):
            raise eval(text)
        async with WorkerPool(1) as pool:
            caught = await asyncio.gather(pool.submit(fails, error), return_exceptions=True)
            pid = await pool.submit(os.getpid)
            return type(caught[0]).__name__, pid == await pool.submit(os.getpid)
        """,
        error=error,
    )
    assert name == error.removesuffix("()").removesuffix("(3)")
    assert alive


def test_what_cannot_be_pickled_fails_only_its_own_future(hub: Hub) -> None:
    """A-07: the message names the thing."""
    outcome = hub.run(
        """
        async with WorkerPool(1) as pool:
            good = pool.submit(abs, -1)
            argument = pool.submit(len, (n for n in ()))
            result = pool.submit(lambda: (n for n in ()))
            class Cruel(Exception):
                def __reduce__(self): raise ValueError("no")
            def cruel(): raise Cruel("at heart")
            raised = pool.submit(cruel)
            errors = await asyncio.gather(argument, result, raised, return_exceptions=True)
            texts = [f"{type(e).__name__}: {e}" for e in errors]
            return texts, await good, await pool.submit(abs, -2)
        """
    )
    argument, result, raised = outcome[0]
    assert argument.startswith("PayloadError: argument 1 of len, <generator")
    assert result.startswith("PayloadError: the result of the task, <generator")
    assert "Cruel: at heart" in raised
    assert outcome[1:] == [1, 2]


def test_ten_megabytes_go_both_ways(hub: Hub) -> None:
    """A-05: as bytes, bytearray, memoryview and array, unharmed."""
    outcome = hub.run(
        """
        import hashlib
        from array import array
        data = bytes(range(256)) * 40_960
        digest = hashlib.sha256(data).hexdigest()
        def echo(buffer): return buffer, __import__("hashlib").sha256(buffer).hexdigest()
        outcome = []
        async with WorkerPool(2) as pool:
            for value in (data, bytearray(data), memoryview(data).cast("i"), array("d", data)):
                back, seen = await pool.submit(echo, value)
                outcome.append((type(back).__name__, seen == digest, bytes(back) == data))
            text = "ä" * 5_000_000
            outcome.append(await pool.submit(lambda s: s + "!", text) == text + "!")
        return outcome
        """
    )
    assert outcome == [
        ["bytes", True, True],
        ["bytearray", True, True],
        ["memoryview", True, True],
        ["array", True, True],
        True,
    ]


def test_two_pools_work_at_once(hub: Hub) -> None:
    """A-02: their tasks do not mix."""
    outcome = hub.run(
        """
        async with WorkerPool(1) as one, WorkerPool(1) as two:
            def name(value=None):
                if value: sys.stash = value
                return sys.stash
            await asyncio.gather(one.submit(name, "one"), two.submit(name, "two"))
            pairs = [(one.submit(name), two.submit(name)) for _ in range(50)]
            return {(await a, await b) for a, b in pairs} == {("one", "two")}
        """
    )
    assert outcome is True


def test_a_pool_in_a_worker_is_refused_clearly(hub: Hub) -> None:
    """A-07: the message says what to do instead."""
    with pytest.raises(HubError, match="this is a worker, which cannot have a pool of its own"):
        hub.run(
            """
            def nested():
                import pyworkers
                return pyworkers.WorkerPool(1)
            async with WorkerPool(1) as pool:
                return await pool.submit(nested)
            """
        )


def test_output_of_workers_arrives_with_their_number(hub: Hub) -> None:
    """D-10: stdout and stderr, from Python and below."""
    outcome = hub.run(
        """
        heard = []
        def talk():
            print("räuber")
            print("oops", file=sys.stderr)
            os.write(1, b"below\\n")
        on_output = lambda worker, stream, text: heard.append((worker, stream, text))
        async with WorkerPool(1, on_output=on_output) as pool:
            await pool.submit(talk)
        workers = {worker for worker, _, _ in heard}
        texts = {s: "".join(t for _, at, t in heard if at == s) for s in ("stdout", "stderr")}
        return len(workers), texts
        """
    )
    assert outcome == [1, {"stdout": "räuber\nbelow\n", "stderr": "oops\n"}]


def test_coroutine_functions_are_tasks_too(hub: Hub) -> None:
    """X-06 in part: awaited in the worker."""
    outcome = hub.run(
        """
        async def slowly(n):
            await asyncio.sleep(0.01)
            return n * 2
        async with WorkerPool(1) as pool:
            return await pool.submit(slowly, 21)
        """
    )
    assert outcome == 42


def test_progress_arrives_before_the_result(hub: Hub) -> None:
    """B-01 in part: as often as the task says."""
    outcome = hub.run(
        """
        def work():
            from pyworkers import task
            for n in range(3):
                task.progress(n + 1, 3, f"step {n + 1}")
            return "done"
        seen = []
        async with WorkerPool(1) as pool:
            future = pool.submit(work)
            future.add_progress_callback(lambda *progress: seen.append(progress))
            seen.append(await future)
        return seen
        """
    )
    assert outcome == [[1, 3, "step 1"], [2, 3, "step 2"], [3, 3, "step 3"], "done"]


def test_a_higher_priority_goes_first(hub: Hub) -> None:
    """A-06 in part: equal ones in order."""
    outcome = hub.run(
        """
        order = []
        async with WorkerPool(1) as pool:
            await pool.submit(abs, 1)
            futures = [pool.submit(time.sleep, 0.1)]
            for name, priority in (("a", 5), ("low", 0), ("high", 10), ("b", 5)):
                future = pool.submit_with(str, [name], priority=priority)
                future.add_done_callback(lambda f: order.append(f.result()))
                futures.append(future)
            await asyncio.gather(*futures)
        return order
        """
    )
    assert outcome == ["high", "a", "b", "low"]


def test_inline_runs_in_the_caller(hub: Hub) -> None:
    """B-06: same API, same results."""
    outcome = hub.run(
        """
        async with WorkerPool(mode="inline") as pool:
            squares = [n async for n in pool.map(lambda n: n * n, range(10))]
            error = pool.submit(lambda: 1 / 0).exception()
            return pool.submit(os.getpid).result() == os.getpid(), sum(squares), repr(error)
        """
    )
    assert outcome == [True, 285, "ZeroDivisionError('division by zero')"]


def test_tasks_go_where_they_must_and_when(hub: Hub) -> None:
    """B-18 C-02 C-07: affinity, capabilities and delays, with workers of their own."""
    same, able, late, idle = hub.run(
        """
        def nap(): time.sleep(0.02); return os.getpid()
        options = {"capabilities": {"model": 1}, "idle_timeout": 0.2}
        async with WorkerPool(2, **options) as pool:
            await both_started(pool)
            homes = [pool.submit_with(nap, affinity="a") for _ in range(10)]
            models = [pool.submit_with(nap, requires=["model"]) for _ in range(10)]
            late = pool.submit_with(time.time, delay=0.3)
            submitted = time.time()
            same = len({await future for future in homes})
            able = len({await future for future in models})
            waited = await late - submitted
            while pool.workers():
                await asyncio.sleep(0.05)
            again = await pool.submit(abs, -1)
            return same, able, waited, again
        """
    )
    assert (same, able, idle) == (1, 1, 1)
    assert late >= 0.25
