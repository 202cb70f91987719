"""Who runs what and when, and what a pool tells of it, in every place and mode."""

import pytest

from tests.hubs import Hub


def test_each_worker_is_listed_with_what_it_does_and_since_when(hub: Hub) -> None:
    """C-01: as it starts, waits, runs, awaits, and is gone."""
    outcome = hub.run(
        """
        def holds():
            from pyworkers import task
            task.progress(1)
            time.sleep(60)
        def states():
            return [worker.state for worker in pool.workers()]
        async with WorkerPool(2, capabilities={"model": 1}) as pool:
            seen = [states()]
            warm = pool.warm_up()
            seen.append(states())
            young = [worker.age for worker in pool.workers()]
            await warm
            seen.append(states())
            older = [worker.age for worker in pool.workers()]
            begun = asyncio.Event()
            runs = pool.submit_with(holds, requires=["model"])
            runs.add_progress_callback(lambda *progress: begun.set())
            await begun.wait()
            await pool.submit(abs, -1)
            workers = {bool(worker.capabilities): worker for worker in pool.workers()}
            seen.append([workers[True].state, workers[False].state])
            told = [workers[True].task == runs.task, workers[False].task, workers[False].tasks_done]
            waits = pool.submit(asyncio.sleep, 60)
            while not [worker for worker in pool.workers() if worker.awaiting]:
                await asyncio.sleep(0.005)
            told.append(sum(worker.awaiting for worker in pool.workers()))
            times = [0 <= worker.unchanged <= worker.age for worker in pool.workers()]
            times += [before <= after for before, after in zip(young, older)]
            numbers = {worker.number for worker in pool.workers()}
            pool.kill(runs)
            waits.cancel(running=True)
            await pool.submit_with(abs, [-1], requires=["model"])
            fresh = {worker.number for worker in pool.workers()} - numbers
            shown = repr(pool)
        return seen, told, times, len(fresh), shown, states()
        """
    )
    seen, told, times, fresh, shown, left = outcome
    idle = ["idle", "idle"]
    assert seen == [[], ["initializing", "initializing"], idle, ["busy", "idle"]]
    assert told == [True, None, 1, 1]
    assert all(times)
    assert len(times) == 4
    assert fresh == 1
    assert "2 workers, 0 tasks queued" in shown
    assert left == []


def test_a_worker_that_has_ended_is_remembered_with_its_reason(hub: Hub) -> None:
    """C-01: "error" if that was not what anybody wanted, else "terminated"."""
    outcome = hub.run(
        """
        def holds():
            from pyworkers import task
            task.progress(1)
            time.sleep(60)
        def fails(): raise LookupError("not today")
        async with WorkerPool(1, max_tasks_per_child=2) as pool:
            await asyncio.gather(pool.submit(os._exit, 3), return_exceptions=True)
            for n in range(2): await pool.submit(abs, -n)
            begun = asyncio.Event()
            killed = pool.submit(holds)
            killed.add_progress_callback(lambda *progress: begun.set())
            await begun.wait()
            pool.kill(killed)
            await pool.submit(abs, -1)
            living = [worker.reason for worker in pool.workers()]
        unset = WorkerPool(1, initializer=fails)
        await asyncio.gather(unset.submit(abs, -1), return_exceptions=True)
        await unset.aclose()
        told = [*pool.workers(ended=True), *unset.workers(ended=True)]
        return (
            [f"{worker.state} {worker.tasks_done}" for worker in told if worker.reason],
            all(0 <= worker.unchanged <= worker.age < 60 for worker in told),
            told[2].task == killed.task, living, pool.workers() + unset.workers(),
        )
        """
    )
    states = ["error 0", "terminated 2", "terminated 0", "terminated 1", "error 0"]
    assert outcome == [states, True, True, [None], []]


def test_a_pool_grows_with_its_queue_and_shrinks_to_its_least(hub: Hub) -> None:
    """C-04: what one worker can do starts no second one."""
    outcome = hub.run(
        """
        async def until(count):
            while len(pool.workers()) != count:
                await asyncio.sleep(0.005)
        async with WorkerPool(3, min_workers=1, idle_timeout=0.3) as pool:
            counts = [len(pool.workers())]
            for n in range(50):
                await pool.submit(abs, -n)
            counts.append(pool.stats().workers_started)
            naps = [pool.submit(time.sleep, 0.05) for _ in range(3)]
            counts.append(pool.stats().workers_started)
            await asyncio.gather(*naps)
            await until(1)
            counts.append(pool.stats().workers_ended)
            for n in range(50):
                await pool.submit(abs, -n)
            stats = pool.stats()
        return [*counts, stats.workers_started, stats.workers_lost, stats.done]
        """
    )
    assert outcome == [1, 1, 3, 2, 3, 0, 103]


def test_a_few_tasks_do_not_keep_all_workers(hub: Hub) -> None:
    """C-04: those that are not needed end, though there is always something to do."""
    outcome = hub.run(
        """
        async with WorkerPool(2, idle_timeout=0.5) as pool:
            await both_started(pool)
            while len(pool.workers()) > 1:
                await pool.submit(abs, -1)
                await asyncio.sleep(0.01)
            (last,) = pool.workers()
            stats = pool.stats()
        # More than two were started if one had ended before both had begun.
        return stats.workers_started - stats.workers_ended, last.tasks_done > 1
        """
    )
    assert outcome == [1, True]


@pytest.mark.lengthy
def test_work_that_comes_and_goes_does_not_start_a_worker_each_time(hub: Hub) -> None:
    """C-04: in pauses longer than the time-out, which waits longer each time it was wrong."""
    bursts, started, done = hub.run(
        """
        bursts = 0
        async with WorkerPool(1, idle_timeout=0.2) as pool:
            while pool.stats().workers_ended < 2 or bursts < 20:
                await pool.submit(abs, -1)
                bursts += 1
                await asyncio.sleep(0.3)
                if bursts < 4:
                    while pool.workers(): await asyncio.sleep(0.005)
            stats = pool.stats()
        return bursts, stats.workers_started, stats.done
        """
    )
    assert done == bursts
    assert 3 <= started <= bursts // 2


def test_workers_start_as_the_thresholds_of_a_pool_ask_for(hub: Hub) -> None:
    """C-02 C-04: fewer than tasks wait; but none waits for ever, and each finds who can run it."""
    outcome = hub.run(
        """
        def started(pool): return pool.stats().workers_started
        counts = []
        slow = Scaling(start_waiting=3.0, start_utilisation=0.99, window=60.0, interval=0.05)
        async with WorkerPool(4, scaling=slow) as pool:
            naps = [pool.submit(time.sleep, 0.1) for _ in range(6)]
            counts.append(started(pool))
            await asyncio.gather(*naps)
            counts.append(started(pool))
            naps = [pool.submit(time.sleep, 0.1) for _ in range(20)]
            await asyncio.gather(*naps)
            counts.append(started(pool))
        helps = Scaling(start_waiting=100.0, window=0.2, interval=0.1)
        async with WorkerPool(2, scaling=helps) as pool:
            holds = pool.submit(time.sleep, 60)
            behind = pool.submit(abs, -1)
            counts.append(behind.result(60) if blocks else await behind)
            counts.append(started(pool))
            pool.kill(holds)
        never = Scaling(start_waiting=100.0, window=600.0, interval=600.0)
        async with WorkerPool(3, scaling=never, capabilities={"model": 1}) as pool:
            for n in range(20): await pool.submit(abs, -n)
            counts.append(started(pool))
            both = [pool.submit_with(abs, [-n], requires=["model"]) for n in range(20)]
            counts.append(sum(await asyncio.gather(*both)))
            counts.append(started(pool))
        return counts
        """,
        blocks=hub.can_block,
    )
    assert outcome == [1, 2, 4, 1, 2, 1, 190, 2]


def test_workers_end_as_the_thresholds_of_a_pool_allow(hub: Hub) -> None:
    """C-04: at its pace, but not while somebody waits for all; the next task has a worker again."""
    outcome = hub.run(
        """
        scaling = Scaling(window=0.5, interval=0.5, max_ends=1)
        async with WorkerPool(3, scaling=scaling, idle_timeout=0.05) as pool:
            await pool.warm_up()
            seen = {len(pool.workers())}
            while pool.workers():
                await asyncio.sleep(0.005)
                seen.add(len(pool.workers()))
            before = pool.stats()
            value = await pool.submit(abs, -7)
            after = pool.stats()
        counts = [before.workers_started, before.workers_ended, after.workers_started]
        return sorted(seen), counts, after.workers_lost, value
        """
    )
    assert outcome == [[0, 1, 2, 3], [3, 3, 4], 0, 7]


def test_a_task_is_told_of_from_its_submission_to_its_end(hub: Hub) -> None:
    """C-05: its number, function, worker, times and end; by name, the more urgent one first."""
    events, order, futures, waited = hub.run(
        """
        def named(name): return name
        def fails(): raise LookupError
        events, order = [], []
        async with WorkerPool(1) as pool:
            await pool.submit(abs, -1)
            for kind in ("task_started", "task_retried", "task_done"):
                pool.on(kind, events.append)
            before = time.time()
            holds = pool.submit(time.sleep, 0.2)
            futures = [holds]
            for name in ("low", "normal", "critical", "high"):
                future = pool.submit_with(named, [name], priority=name, timeout=60)
                future.add_done_callback(lambda future: order.append(future.result()))
                futures.append(future)
            late = pool.submit_with(named, ["late"], delay=0.4)
            futures.append(late)
            futures.append(pool.submit_with(fails, retries=1, retry_on=LookupError))
            await asyncio.gather(*futures, return_exceptions=True)
            after = time.time()
            stats = pool.stats()
        told = {}
        for event in events:
            told.setdefault(event.task, []).append(
                [event.kind, event.function.split(".")[-1], event.outcome, event.attempt])
        times = [event.time for event in events]
        sane = times == sorted(times) and before - 0.1 <= times[0] and times[-1] <= after + 0.1
        began = {event.task: event.time for event in events if event.kind == "task_started"}
        ended = {e.task: e.seconds for e in events if e.kind == "task_done"}
        sane = sane and len({event.worker for event in events}) == 1
        sane = sane and began[late.task] >= before + 0.35 and ended[holds.task] >= 0.19
        return (
            [told[future.task] for future in futures], order, sane,
            [stats.submitted, stats.waiting.longest > 0.1, stats.executing.longest > 0.19],
        )
        """
    )
    assert order == ["critical", "high", "normal", "low"]
    assert futures is True
    assert waited == [8, True, True]
    held, *named, failed = events
    assert held == [["task_started", "sleep", None, None], ["task_done", "sleep", "done", None]]
    assert (
        named == [[["task_started", "named", None, None], ["task_done", "named", "done", None]]] * 5
    )
    assert failed == [
        ["task_started", "fails", None, None],
        ["task_retried", "fails", None, 1],
        ["task_started", "fails", None, None],
        ["task_done", "fails", "failed", None],
    ]


def test_each_task_is_listed_with_what_it_does_and_what_became_of_it(hub: Hub) -> None:
    """C-05: its state, worker, options, metadata and times, as it waits, runs, and has ended."""
    outcome = hub.run(
        """
        def fails(): raise LookupError
        def holds():
            from pyworkers import task
            task.progress(1)
            time.sleep(60)
        def names(tasks): return [(t.function.split(".")[-1], t.state) for t in tasks]
        before = time.time()
        async with WorkerPool(1) as pool:
            await pool.submit(abs, -1)
            awaits = pool.submit(asyncio.sleep, 60)
            while not [t for t in pool.tasks() if t.state == "awaiting"]:
                await asyncio.sleep(0.005)
            begun = asyncio.Event()
            runs = pool.submit_with(holds, priority="high", timeout=50)
            runs.add_progress_callback(lambda *progress: begun.set())
            await begun.wait()
            waits = pool.submit_with(fails, retries=1, retry_on=LookupError, backoff=0.01,
                                     metadata={"user": 7})
            gone = pool.submit(len, "x")
            later = pool.submit_with(abs, [-2], delay=0.3, priority="critical")
            gone.cancel()
            living = pool.tasks()
            awaits.cancel(running=True)
            runs.cancel(running=True)
            lost = pool.submit(os._exit, 3)
            await asyncio.gather(lost, return_exceptions=True)
            await pool.submit(abs, -1)
            slow = pool.submit_with(time.sleep, [60], timeout=0.5)
            rest = [awaits, runs, waits, gone, later, lost, slow]
            await asyncio.gather(*rest, return_exceptions=True)
            told = {t.number: t for t in pool.tasks(ended=True)}
        after = time.time()
        ended = [told[future.task] for future in rest]
        times = []
        for t in ended:
            known = [t.created, t.scheduled, t.started, t.completed]
            known = [when for when in known if when is not None]
            is_within = before - 0.1 <= known[0] <= known[-1] <= after + 0.1
            times.append(is_within and known == sorted(known))
        return (
            names(living),
            [(t.priority, t.timeout, t.retries, t.metadata, bool(t.worker), bool(t.started))
             for t in living],
            names(ended), times, [bool(t.started) for t in ended],
            (ended[2].retried, ended[2].metadata), ended[4].scheduled - ended[4].created,
        )
        """
    )
    living, options, ended, times, started, retried, delay = outcome
    assert living == [
        ["sleep", "awaiting"],
        ["holds", "running"],
        ["fails", "queued"],
        ["abs", "delayed"],
    ]
    assert options == [
        [5, None, 0, None, True, True],
        [8, 50, 0, None, True, True],
        [5, None, 1, {"user": 7}, False, False],
        [10, None, 0, None, False, False],
    ]
    states = ["cancelled", "cancelled", "failed", "cancelled", "done", "lost", "timed_out"]
    assert [state for _, state in ended] == states
    assert all(times)
    assert started == [True, True, True, False, True, True, True]
    assert retried == [1, {"user": 7}]
    assert round(delay, 3) == 0.3


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("fifo", ["a", "b", "c", "d"]),
        ("priority", ["d", "b", "a", "c"]),
        ("deadline", ["c", "a", "d", "b"]),
        ("Newest()", ["d", "c", "b", "a"]),
    ],
)
def test_a_policy_says_what_is_first(hub: Hub, policy: str, order: list[str]) -> None:
    """C-06: also one that a user has written."""
    found = hub.run(
        """
        class Newest(Policy):
            def rank(self, task): return -task.number
        order = []
        chosen = Newest() if policy == "Newest()" else policy
        async with WorkerPool(1, policy=chosen) as pool:
            await pool.submit(abs, -1)
            futures = [pool.submit(time.sleep, 0.1)]
            calls = {"a": (5, 120), "b": (7, None), "c": (0, 60), "d": (9, None)}
            for name, (priority, timeout) in calls.items():
                future = pool.submit_with(str, [name], priority=priority, timeout=timeout)
                future.add_done_callback(lambda future: order.append(future.result()))
                futures.append(future)
            await asyncio.gather(*futures)
        return order
        """,
        policy=policy,
    )
    assert found == order


def test_a_policy_says_who_is_next(hub: Hub) -> None:
    """C-06: in turns, to the least loaded, or as a user wrote."""
    outcome = hub.run(
        """
        class Last(Policy):
            def choose(self, workers):
                asked.append([[worker.number, list(worker.held)] for worker in workers])
                return max(worker.number for worker in workers)
        class Nobody(Policy):
            def choose(self, workers): return 0
        asked = []
        async def homes(policy, count):
            async with WorkerPool(2, policy=policy) as pool:
                await pool.warm_up()
                first, second = sorted(worker.number for worker in pool.workers())
                got = []
                pool.on("task_started", lambda event: got.append(event.worker - first))
                for n in range(count): await pool.submit(abs, -n)
                waits = []
                for n in range(4):
                    waits.append(pool.submit(asyncio.sleep, 60))
                    while sum(worker.awaiting for worker in pool.workers()) <= n:
                        await asyncio.sleep(0.005)
                awaiting = [worker.awaiting for worker in pool.workers()]
                for future in waits: future.cancel(running=True)
                return got[:count], awaiting
        found = [await homes("round_robin", 6), await homes("least_loaded", 1)]
        found.append(await homes(Last(), 4))
        async with WorkerPool(2, policy=Nobody()) as pool:
            await pool.warm_up()
            try:
                await pool.submit(abs, -1)
            except BrokenWorkerPool as error:
                found.append(str(error))
        return found, [len(workers) for workers in asked[:4]]
        """
    )
    (turns, least, last, broken), asked = outcome
    assert turns[0] in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])
    assert turns[1] == least[1] == [2, 2]
    assert last[0] == [1, 1, 1, 1]
    assert "the policy chose worker 0, which is none of " in broken
    assert asked == [2, 2, 2, 2]
