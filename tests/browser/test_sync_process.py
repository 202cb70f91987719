"""Processes, pools and contexts as in multiprocessing: programs do here what they do on CPython."""

import time
from pathlib import Path

import pytest

from tests.hubs import Hub, NodeHub, PageHub
from tests.programs import PROGRAMS, in_hub, on_cpython


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_what_it_does_on_cpython(hub: Hub, name: str) -> None:
    """X-05: the same text, with a context of multiprocessing and with ours."""
    assert in_hub(hub, PROGRAMS[name]) == on_cpython(PROGRAMS[name])


def threads(hub: Hub) -> int:
    """How many threads there are at the place of a hub."""
    if isinstance(hub, PageHub):
        return hub.threads()
    assert isinstance(hub, NodeHub)
    return len(list(Path(f"/proc/{hub.process.pid}/task").iterdir()))


def left(hub: Hub, count: int, used: int) -> tuple[int, int]:
    """Waits until no more threads are there, and no more shared memory is in use; returns both.

    What an ended worker may have been using is freed when its thread is known to have ended.
    """
    end = time.monotonic() + 20
    while True:
        found = max(threads(hub), count), max(hub.run(USED), used)
        if found == (count, used) or time.monotonic() > end:
            return found
        hub.run("await asyncio.sleep(0.05)")


SYNC = "    from pyworkers import sync, task\n"

FIRST = """
    async def take(lock):
        return await lock.acquire_async(1)
    async with WorkerPool(1) as pool:  # the first one to use a lock brings a table for all
        await pool.submit(take, sync.Lock())
"""
USED = """
    import gc
    gc.collect()
    memory = WorkerPool(1).memory()
    return memory.used if memory else 0
"""


def test_processes_leave_nothing_behind(hub: Hub) -> None:
    """X-05: neither those that nobody joins, nor those that crash, nor their children."""
    hub.run(SYNC + FIRST)
    used, count = hub.run(USED), threads(hub)
    codes = hub.run(
        SYNC
        + """
    lock = sync.Lock()
    def crashes(lock):
        lock.acquire(False) if lock is not None else None
        os._exit(3)
    async def forgets(lock):
        sync.Process(target=time.sleep, args=(3600,), daemon=True).start()
        sync.Process(target=print, args=("forgotten",)).start()
        os._exit(4)
    def loops(lock):
        while True: pass
    lock = lock if lock.mode == "shared" else None
    codes = []
    for target in (crashes, forgets, loops):
        process = sync.Process(target=target, args=(lock,))
        process.start()
        if target is loops:
            process.kill()
        sentinel = process.sentinel
        del process
        codes.append(await sentinel)
    return codes, len(sync.active_children())
    """
    )
    assert codes == [[3, 4, -9], 0]
    assert left(hub, count, used) == (count, used)


def test_a_process_ends_with_the_one_that_started_it(hub: Hub) -> None:
    """X-05: however that one ends; nobody else could end it."""
    used, count = hub.run(USED), threads(hub)
    codes = hub.run(
        SYNC
        + """
    def sleeps(): time.sleep(3600)
    async def starts():
        child = sync.Process(target=sleeps)
        child.start()
        while child.pid is None:
            await asyncio.sleep(0.01)
        print("started", child.name, flush=True)
        await child.join_async()
    parent = sync.Process(target=starts)
    parent.start()
    from pyworkers.sync._children import _adopted
    while not _adopted:
        await asyncio.sleep(0.01)
    (child,) = _adopted.values()
    parent.terminate()
    await parent.join_async()
    return parent.exitcode, await child.ended, len(_adopted)
    """
    )
    assert codes == [-15, -15, 0]
    assert left(hub, count, used) == (count, used)


def test_a_process_is_ended_while_it_starts(hub: Hub) -> None:
    """X-05"""
    codes = hub.run(
        SYNC
        + """
    processes = [sync.Process(target=print) for _ in range(2)]
    for process in processes: process.start()
    processes[0].kill()
    processes[1].terminate()
    alive = [process.is_alive() for process in processes]
    return [*alive, *[process.exitcode for process in processes]]
    """
    )
    assert codes == [False, False, -9, -15]


def test_an_interpreter_that_breaks_has_a_code_of_its_own(hub: Hub) -> None:
    """X-05: as after the signal ABRT."""
    codes = hub.run(
        SYNC
        + """
    def breaks():
        import ctypes
        ctypes.string_at(2**31)
    process = sync.Process(target=breaks)
    process.start()
    await process.join_async()
    return process.exitcode
    """
    )
    assert codes == -6


def test_what_a_process_prints_is_seen_here(hub: Hub) -> None:
    """X-05: as of tasks, and its traceback too."""
    hub.run(
        SYNC
        + """
    def speaks():
        print("a word", end="")
        raise LookupError("no more words")
    process = sync.Process(target=speaks, name="speaker")
    process.start()
    await process.join_async()
    """
    )
    assert isinstance(hub, PageHub | NodeHub)
    printed = hub.output()
    assert "] a word" in printed
    assert "] Process speaker:\n" in printed
    assert "] LookupError: no more words\n" in printed


def test_tasks_of_a_pool_start_processes(hub: Hub) -> None:
    """X-05: and know which they are themselves."""
    outcome = hub.run(
        SYNC
        + """
    async def starts(code):
        process = sync.Process(target=sys.exit, args=(code,))
        process.start()
        await process.join_async()
        return process.exitcode, sync.current_process().name, sync.parent_process()
    async with WorkerPool(1) as pool:
        (worker,) = await asyncio.gather(pool.submit(starts, 6))
        return worker, [info.number for info in pool.workers()]
    """
    )
    (code, name, parent), (number,) = outcome
    assert (code, name, parent) == (6, f"PoolWorker-{number}", None)


def test_who_cannot_block_is_told_what_to_do(hub: Hub) -> None:
    """X-05: where it can, a program may look again and again."""
    outcome = hub.run(
        SYNC
        + """
    process = sync.Process(target=time.sleep, args=(0.1,))
    process.start()
    pool = sync.Pool(1)
    result = pool.apply_async(abs, (-1,))
    calls = [process.join, lambda: sync.wait([process.sentinel]), result.get]
    calls += [lambda: next(pool.imap(abs, [1])), lambda: pool.apply(abs, (-1,))]
    if can_block:
        while process.is_alive(): time.sleep(0.01)
        while not result.ready(): time.sleep(0.01)
        found = [str(call()) for call in calls]
    else:
        found = []
        for call in calls:
            try: found.append(str(call()))
            except ModeError as error: found.append(str(error))
        await process.join_async()
        await result
    pool.close()
    found.append(await pool.join_async())
    return [process.exitcode, found, capabilities().can_run_sync]
    """,
        can_block=hub.can_block,
    )
    code, found, can_switch = outcome
    assert code == 0
    if hub.can_block or can_switch:
        assert found[0] == "None"
        assert found[2:] == ["1", "1", "1", None]
    else:
        ways = ["process.join_async()", "sync.wait_async()", "await result", "async for"]
        for text, way in zip(found, [*ways, "await result"], strict=False):
            assert way in text


def test_results_that_take_too_long_or_never_come(hub: Hub) -> None:
    """X-05: where multiprocessing would wait for ever, the result of a lost worker fails."""
    outcome = hub.run(
        SYNC
        + """
    import builtins, multiprocessing
    context = sync.get_context()
    pool = context.Pool(1)
    found = []
    if can_block:
        try: pool.apply_async(time.sleep, (0.2,)).get(0.01)
        except context.TimeoutError as error:
            found.append(isinstance(error, builtins.TimeoutError))
        stream = pool.imap(time.sleep, [0.2])
        try: stream.next(timeout=0.01)
        except multiprocessing.TimeoutError: found.append(stream.next())
    async def failure(result):
        try: await result
        except Exception as error: return type(error).__name__
    found.append(await failure(pool.apply_async(os._exit, (3,))))
    running = pool.apply_async(time.sleep, (3600,))
    queued = pool.map_async(abs, range(3))
    pool.terminate()
    found += await asyncio.gather(failure(running), failure(queued))
    await pool.join_async()
    try: import _multiprocessing
    except ImportError: found.append("left alone")
    return found
    """,
        can_block=hub.can_block,
    )
    if hub.can_block:
        assert outcome[:2] == [True, None]
    assert outcome[-4] == "WorkerLost"
    assert outcome[-3] in ("BrokenWorkerPool", "CancelledError")
    assert outcome[-2:] == ["CancelledError", "left alone"]


def test_a_worker_creates_what_others_use(hub: Hub) -> None:
    """X-05 A-04: it outlives that worker where memory is shared, and is freed with its last use."""
    hub.run(SYNC + FIRST)
    used, count = hub.run(USED), threads(hub)
    outcome = hub.run(
        SYNC
        + """
    async def make():
        lock, semaphore, dropped = sync.Lock(), sync.Semaphore(2), sync.Event()
        await lock.acquire_async()
        await semaphore.acquire_async()
        dropped.set()
        was_set = await dropped.wait_async(1)
        try: sync.Lock(mode="inline")
        except ModeError: return lock, semaphore, was_set
    async def take(lock, semaphore):
        taken = [await each.acquire_async(0.02) for each in (lock, semaphore, semaphore)]
        lock.release()
        return taken
    async with WorkerPool(2) as pool:
        *made, was_set = await pool.submit(make)
        taken = await pool.submit(take, *made)
        (free,) = [made[0].locked()]
    if made[0].mode == "shared":
        await made[0].acquire_async()
        made[1].release()
    from pyworkers.sync._created import _made
    return was_set, taken, free, sum(map(len, _made.values()))
    """
    )
    assert outcome == [True, [False, True, False], False, 0]
    assert left(hub, count, used) == (count, used)
    assert "was refused" not in hub.output()  # type: ignore[attr-defined]


def test_a_process_is_joined_in_no_time_at_all(hub: Hub) -> None:
    """X-05: a timeout that has gone by is over at once."""
    assert hub.run(
        SYNC
        + """
    async def wait(event):
        await event.wait_async()
    event = sync.Event()
    process = sync.Process(target=wait, args=(event,))
    process.start()
    await process.join_async(-0.5)
    before = process.exitcode
    event.set()
    await process.join_async()
    return before, process.exitcode
        """
    ) == [None, 0]
