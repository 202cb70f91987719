"""Cancelling what runs: softly, within the grace period, and the hard way."""

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub

TASKS = """
    import ctypes, contextlib
    from pyworkers import task
    def spin():
        task.progress(0)
        while True: pass
    def calls():
        task.progress(0)
        def nothing(): pass
        while True: nothing()
    def nap():
        task.progress(0)
        time.sleep(3600)
    async def awaits():
        task.progress(0)
        await asyncio.sleep(3600)
    async def hog():
        task.progress(0)
        while True: pass
    def asks():
        task.progress(0)
        while True: task.checkpoint()
    def careful():
        while True:
            with contextlib.suppress(Exception):
                spin()
    def in_c():
        task.progress(0)
        sum(range(10**12))
    def stubborn():
        task.progress(0)
        while True:
            with contextlib.suppress(BaseException):
                while True: pass
    async def refuses():
        task.progress(0)
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(3600)
    async def starts(future):
        started = asyncio.Event()
        future.add_progress_callback(lambda *_: started.set())
        await started.wait()
"""


def body(text: str) -> str:
    """The body of a program in which the functions above are known."""
    return TASKS + text


@pytest.mark.parametrize("task", ["spin", "calls", "nap", "awaits", "asks", "hog", "careful"])
def test_a_task_that_runs_is_cancelled_softly(hub: Hub, task: str) -> None:
    """X-02 A-08: where memory is shared, Python that runs is interrupted; elsewhere what awaits
    is, and what asks where it can. The worker stays, or is replaced, and the next task runs."""
    *outcome, stayed, soft = hub.run(
        body(
            """
    found = capabilities()
    can_ask = found.jspi or found.node
    soft = shared or name == "awaits" or (name == "asks" and can_ask)
    async with WorkerPool(1, grace=60 if soft else 0.1) as pool:
        before = await pool.submit(os.getpid)
        future = pool.submit(locals()[task])
        await starts(future)
        asked = future.cancel(), future.cancel(running=True), future.cancelled()
        queued = [pool.submit(abs, -n) for n in range(50)]
        total = sum([await other for other in queued])
        return asked, total, await pool.submit(os.getpid) == before, soft
"""
        ).replace("locals()[task]", task),
        name=task,
        shared=hub.mode == "shared",
    )
    assert outcome == [[False, True, True], 1225]
    assert stayed == soft


@pytest.mark.parametrize("task", ["in_c", "stubborn", "refuses"])
def test_what_cannot_be_interrupted_is_ended_after_the_grace_period(hub: Hub, task: str) -> None:
    """X-02 A-08: the future does not wait for that; what waited behind it runs elsewhere."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(1, grace=0.2) as pool:
        before = await pool.submit(os.getpid)
        future = pool.submit(task)
        await starts(future)
        asked = future.cancel(running=True), future.cancelled()
        total = sum([await other for other in [pool.submit(abs, -n) for n in range(50)]])
        late = pool.submit_with(task, timeout=0.1)
        error = type((await asyncio.gather(late, return_exceptions=True))[0]).__name__
        while await pool.submit(os.getpid) == before: pass
        return asked, total, error
"""
        ).replace("(task", f"({task}")
    )
    assert outcome == [[True, True], 1225, "TimeoutError"]


def test_finally_blocks_run_and_time_outs_are_told_at_once(hub: Hub) -> None:
    """X-02 A-08: the future of a late task does not wait until the task has ended."""
    skip_if("interrupt", hub)
    outcome = hub.run(
        body(
            """
    def tidy():
        try:
            spin()
        except BaseException as error:
            sys.ended = type(error).__name__
            raise
        finally:
            sys.tidied = task.cancelled()
            end = time.perf_counter() + 0.3
            while time.perf_counter() < end: pass
            sys.tidied_to_the_end = True
    def look():
        found = sys.ended, sys.tidied, sys.tidied_to_the_end
        del sys.ended, sys.tidied, sys.tidied_to_the_end
        return found
    async with WorkerPool(1, grace=60) as pool:
        await pool.submit(abs, 1)
        outcome = []
        for _ in range(3):
            late = pool.submit_with(tidy, timeout=0.1)
            await asyncio.gather(late, return_exceptions=True)
            outcome.append((repr(late.exception()), await pool.submit(look)))
        return outcome
"""
        )
    )
    late = "TimeoutError('the task was not done within its timeout')"
    assert outcome == [[late, ["TaskCancelled", True, True]]] * 3


def test_a_cancelled_coroutine_leaves_its_siblings_alone(hub: Hub) -> None:
    """X-02 X-06: it gets asyncio's CancelledError, and so do its finally blocks."""
    outcome = hub.run(
        body(
            """
    async def tidy(name):
        try:
            sys.tidied = None
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            sys.tidied = name, task.cancelled()
            raise
    async def sibling(name):
        while getattr(sys, "tidied", None) is None:
            await asyncio.sleep(0.01)
        return name, sys.tidied
    async with WorkerPool(1, grace=60) as pool:
        others = [pool.submit(sibling, n) for n in range(3)]
        victim = pool.submit(tidy, "victim")
        others += [pool.submit(sibling, n) for n in range(3, 6)]
        while not await pool.submit(lambda: hasattr(sys, "tidied")): pass
        answers = victim.cancel(running=True), victim.cancelled()
        return answers, [await other for other in others]
"""
        )
    )
    assert outcome == [[True, True], [[n, ["victim", True]] for n in range(6)]]


def test_a_thousand_cancels_hit_only_their_own_tasks(hub: Hub) -> None:
    """X-02: every future settles once; a task that is not cancelled returns its result."""
    skip_if("interrupt", hub)
    cancelled, done, total, runs = hub.run(
        body(
            """
    import random
    dice = random.Random(11)
    def work(n, steps):
        for _ in range(steps): pass
        sys.runs = getattr(sys, "runs", 0) + 1
        return n
    def runs():
        time.sleep(0.05)
        return os.getpid(), getattr(sys, "runs", 0)
    async with WorkerPool(2, grace=60) as pool:
        await both_started(pool)
        settled = []
        futures = []
        for n in range(1000):
            future = pool.submit(work, n, dice.randrange(20_000))
            future.add_done_callback(settled.append)
            futures.append(future)
            if n >= 10:
                dice.choice(futures[-10:]).cancel(running=True)
            if n % 3 == 0:
                await futures[max(0, n - 5)] if not futures[max(0, n - 5)].cancelled() else None
        await asyncio.wait([asyncio.wrap_future(future) for future in futures])
        cancelled = [future for future in futures if future.cancelled()]
        done = [future for future in futures if not future.cancelled()]
        counts = {}
        while len(counts) < 2:
            counts |= [await f for f in [pool.submit(runs), pool.submit(runs)]]
        assert all(f.result() == n for n, f in enumerate(futures) if not f.cancelled())
        return len(cancelled), len(done), len(settled), sum(counts.values())
"""
        )
    )
    assert cancelled + done == total == 1000
    assert cancelled > 100
    assert done <= runs <= total


def test_killing_is_the_hard_way(hub: Hub) -> None:
    """A-08: no finally block runs, and a task that is being cancelled softly can be killed too."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(1, grace=3600) as pool:
        before = await pool.submit(os.getpid)
        await starts(future := pool.submit(stubborn))
        answers = future.cancel(running=True), pool.kill(future), future.cancelled()
        return answers, await pool.submit(os.getpid) != before
"""
        )
    )
    assert outcome == [[True, True, True], True]


def test_a_closed_pool_waits_no_longer_than_the_grace_period(hub: Hub) -> None:
    """X-02 B-04: nothing hangs."""
    outcome = hub.run(
        body(
            """
    pool = WorkerPool(2, grace=0.2)
    futures = [pool.submit(stubborn), pool.submit(refuses), pool.submit(in_c)]
    await starts(futures[0])
    for future in futures:
        future.cancel(running=True)
    await asyncio.wait_for(pool.aclose(), 60)
    return [future.cancelled() for future in futures], repr(pool)
"""
        )
    )
    assert outcome[0] == [True, True, True]
    assert "shut down, 0 of 2 workers" in outcome[1]


def test_a_user_who_interrupts_waiting_cancels_the_task(hub: Hub) -> None:
    """X-01 X-02: as a notebook's stop button does while ``result()`` blocks."""
    skip_if("block", hub)
    outcome = hub.run(
        body(
            """
    from pyodide.code import run_js
    import pyodide_js
    stop = run_js('''() => {
        const start = performance.now();
        let over = false;
        return {
            get 0() {
                if (over || performance.now() - start < 300) return 0;
                over = true;
                return 2;
            },
            set 0(_) {},
        };
    }''')
    async with WorkerPool(1, grace=60) as pool:
        before = await pool.submit(os.getpid)
        outcome = []
        for wait in (
            lambda: pool.submit(spin).result(),
            lambda: pool.submit(spin).exception(),
            lambda: next(pool.map(lambda n: spin(), range(3))),
        ):
            pyodide_js.setInterruptBuffer(stop())
            try:
                wait()
            except KeyboardInterrupt:
                outcome.append(True)
            pyodide_js.setInterruptBuffer()
        return outcome, await pool.submit(os.getpid) == before
"""
        )
    )
    assert outcome == [[True, True, True], True]


@pytest.mark.parametrize("task", ["spin", "asks"])
def test_a_task_makes_room_for_one_of_higher_priority(hub: Hub, task: str) -> None:
    """C-07 X-02: it is run again from its beginning; its future knows nothing of it."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(1, grace=0.2) as pool:
        lower = pool.submit_with(twice, priority="low", preemptible=True)
        await starts(lower)
        higher = pool.submit_with(abs, [-7], priority="high")
        first = [await higher, lower.done()]
        equal = pool.submit_with(abs, [-8], priority="low")
        same = equal.done()
        lower.cancel(running=True)
        return first, same, await equal, lower.cancelled(), pool.stats().preempted
"""
        ).replace("twice", task)
    )
    assert outcome == [[7, False], False, 8, True, 1]
