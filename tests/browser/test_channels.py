"""Messages between hub and workers: named channels, requests, answers and how they fail."""

import pytest

from tests.hubs import Hub

HANDLERS = """
    from array import array
    from concurrent.futures import CancelledError
    from functools import partial
    from pyworkers import task
    def handlers():
        channel = task.channel("test")
        channel.on("twice", lambda message: message.payload * 2)
        def fails(message):
            raise KeyError(message.payload)
        channel.on("fails", fails)
        async def steps(message):
            for n in range(message.payload):
                message.progress(n, message.payload, "step")
                await asyncio.sleep(0)
            return message.worker, message.id is not None, message.channel, message.kind
        channel.on("steps", steps)
        async def waits(message):
            sys.waits = "waits"
            message.progress(0)
            try:
                await asyncio.sleep(3600)
            finally:
                sys.waits = "over"
        channel.on("waits", waits)
        channel.on("state", lambda message: sys.waits)
        def gone(message):
            os._exit(3)
        channel.on("exit", gone)
    async def numbers(pool):
        await pool.warm_up()
        return [worker.number for worker in pool.workers()]
    async def reported(future):
        heard = asyncio.Event()
        future.add_progress_callback(lambda *_: heard.set())
        await heard.wait()
    async def failure(future):
        (error,) = await asyncio.gather(future, return_exceptions=True)
        return type(error).__name__, str(error)
"""


def body(text: str) -> str:
    """The body of a program in which the functions above are known."""
    return HANDLERS + text


def test_workers_answer_requests(hub: Hub) -> None:
    """B-01 B-02 C-08: plain and async handlers, of one worker or all, with large buffers too."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(2, initializer=handlers) as pool:
        first, second = await numbers(pool)
        channel = pool.channel("test")
        twice = await channel.request("twice", 21, worker=second)
        both = sorted([await future for future in channel.broadcast("twice", "ab")])
        large = await channel.request("twice", bytes(100_000), worker=first)
        heard = []
        future = channel.request("steps", 3, worker=first)
        future.add_progress_callback(lambda *progress: heard.append(progress))
        told = await future
        stats = channel.stats()
        return (
            twice, both, len(large), told, heard[-1],
            (stats.sent, stats.failed, stats.pending, stats.oldest),
        )
"""
        )
    )
    assert outcome == [
        42,
        ["abab", "abab"],
        200_000,
        [None, True, "test", "steps"],
        [2, 3, "step"],
        [5, 0, 0, 0],
    ]


def test_the_hub_answers_tasks_that_await(hub: Hub) -> None:
    """B-01 C-08: many at a time, each with its own answer; handlers know who asks."""
    outcome = hub.run(
        body(
            """
    async def ask(n):
        channel = task.channel("test")
        answers = []
        for k in range(20):
            await channel.room()
            answers.append(channel.request("async" if k % 2 else "plain", (n, k)))
        return [await answer for answer in answers] == [(n, k) for k in range(20)]
    async with WorkerPool(2, initializer=handlers) as pool:
        workers = set()
        channel = pool.channel("test")
        def plain(message):
            workers.add(message.worker)
            return message.payload
        async def later(message):
            await asyncio.sleep(0)
            return message.payload
        channel.on("plain", plain)
        channel.on("async", later)
        known = await numbers(pool)
        done = await asyncio.gather(*[pool.submit(ask, n) for n in range(20)])
        return all(done), workers <= set(known), channel.stats().received
"""
        )
    )
    assert outcome == [True, True, 400]


def test_a_plain_task_waits_for_its_hub(hub: Hub) -> None:
    """B-01: where memory is shared, whether the hub awaits or blocks; elsewhere by switching
    stacks, and where the browser cannot, an error says what to do."""
    ask = """
    def ask(n):
        channel = task.channel("test")
        return [channel.request("inc", k).result() for k in range(n)]
    async with WorkerPool(1) as pool:
        pool.channel("test").on("inc", lambda message: message.payload + 1)
"""
    if hub.mode == "transfer" and not hub.run("return capabilities().jspi"):
        with pytest.raises(Exception, match=r"ModeError: a plain function cannot wait .* `await`"):
            hub.run(body(ask + "        await pool.submit(ask, 1)"))
        return
    if hub.mode == "transfer":
        outcome = hub.run(
            body(
                ask
                + """
        await_beside = pool.submit(asyncio.sleep, 0.05, "beside")
        awaited = await pool.submit(ask, 50)
        behind = [pool.submit(ask, 3), pool.submit(abs, -1), pool.submit(ask, 2)]
        return awaited, [await future for future in behind], await await_beside
"""
            )
        )
        assert outcome == [list(range(1, 51)), [[1, 2, 3], 1, [1, 2]], "beside"]
        return
    outcome = hub.run(
        body(
            ask
            + """
        awaited = await pool.submit(ask, 50)
        behind = [pool.submit(ask, 3), pool.submit(abs, -1), pool.submit(ask, 2)]
        return awaited, pool.submit(ask, 3).result(), [await future for future in behind]
"""
        )
    )
    assert outcome == [list(range(1, 51)), [1, 2, 3], [[1, 2, 3], 1, [1, 2]]]


def test_what_goes_wrong_is_the_requesters(hub: Hub) -> None:
    """B-01 C-08: exceptions of handlers, missing handlers, payloads and answers."""
    outcome = hub.run(
        body(
            """
    async def ask(kind):
        return await task.channel("test").request(kind)
    async with WorkerPool(1, initializer=handlers) as pool:
        (worker,) = await numbers(pool)
        channel = pool.channel("test")
        def fails(message):
            raise ValueError("of the hub")
        channel.on("fails", fails)
        channel.on("unsendable", lambda message: (n for n in ()))
        future = channel.request("fails", "a", worker=worker)
        raised = await failure(future), "in fails" in str(future.exception().__cause__)
        other = pool.channel("other").request("twice", worker=worker)
        return [
            raised,
            await failure(channel.request("nothing", worker=worker)),
            await failure(other),
            isinstance(other.exception(), LookupError),
            await failure(pool.submit(ask, "fails")),
            await failure(pool.submit(ask, "nothing")),
            (await failure(pool.submit(ask, "unsendable")))[0],
            (await failure(channel.request("twice", (n for n in ()), worker=worker)))[0],
            await failure(channel.request("twice", worker=worker + 1000)),
            await channel.request("twice", 1, worker=worker),
        ], worker
"""
        )
    )
    found, worker = outcome
    assert found == [
        [["KeyError", "'a'"], True],
        ["NoHandler", f"worker {worker} has no handler for 'nothing' on channel 'test'"],
        ["NoHandler", f"worker {worker} has no handler for 'twice' on channel 'other'"],
        True,
        ["ValueError", "of the hub"],
        ["NoHandler", "the hub has no handler for 'nothing' on channel 'test'"],
        "PayloadError",
        "PayloadError",
        ["WorkerLost", f"worker {worker + 1000} ended before it answered: it is not in the pool"],
        2,
    ]


def test_a_request_that_is_not_wanted_any_more_is_withdrawn(hub: Hub) -> None:
    """B-01 B-03: cancelled, or over its time; a handler that awaits is cancelled."""
    outcome = hub.run(
        body(
            """
    async def ask():
        return await task.channel("test").request("waits", timeout=0.05)
    async with WorkerPool(1, initializer=handlers) as pool:
        (worker,) = await numbers(pool)
        channel = pool.channel("test")
        ended = asyncio.Event()
        async def waits(message):
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()
        channel.on("waits", waits)
        future = channel.request("waits", worker=worker)
        await reported(future)
        answers = future.cancel(), future.cancelled()
        while await channel.request("state", worker=worker) != "over": pass
        late = await failure(channel.request("waits", timeout=0.05, worker=worker))
        while await channel.request("state", worker=worker) != "over": pass
        later = await failure(pool.submit(ask))
        await ended.wait()
        stats = channel.stats()
        return answers, late, later, (stats.pending, stats.timed_out, stats.answering), worker
"""
        )
    )
    worker = outcome.pop()
    text = "did not answer 'waits' on channel 'test' within 0.05 s"
    assert outcome == [
        [True, True],
        ["TimeoutError", f"worker {worker} {text}"],
        ["TimeoutError", f"the hub {text}"],
        [0, 1, 0],
    ]


def test_a_request_is_repeated_as_often_as_allowed(hub: Hub) -> None:
    """B-01"""
    outcome = hub.run(
        body(
            """
    async def ask(retries):
        return await task.channel("test").request("third", timeout=1.0, retries=retries)
    async with WorkerPool(1) as pool:
        asked = []
        async def third(message):
            asked.append(message.id)
            await asyncio.sleep(0 if len(asked) == 3 else 3600)
            return len(asked)
        pool.channel("test").on("third", third)
        return await pool.submit(ask, 2), len(set(asked)), await failure(pool.submit(ask, 1))
"""
        )
    )
    assert outcome[:2] == [3, 1]
    assert outcome[2][0] == "TimeoutError"


def test_no_more_requests_wait_than_a_channel_allows(hub: Hub) -> None:
    """B-01: then QueueFull, or room by waiting for it."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(1, initializer=handlers) as pool:
        (worker,) = await numbers(pool)
        channel = pool.channel("test")
        channel.max_pending = 3
        waiting = [channel.request("waits", worker=worker) for _ in range(3)]
        refused = []
        for ask in (partial(channel.request, worker=worker), channel.broadcast):
            try:
                ask("twice")
            except QueueFull as error:
                refused.append("max_pending" in str(error))
        pool.channel("another").request("waits", worker=worker).cancel()
        room = asyncio.ensure_future(channel.room())
        await asyncio.sleep(0)
        full = room.done()
        waiting.pop().cancel()
        await room
        answer = await channel.request("twice", 4, worker=worker)
        before = channel.stats().pending, channel.stats().oldest > 0
        for future in waiting:
            future.cancel()
        return refused, full, answer, before, channel.stats().pending
"""
        )
    )
    assert outcome == [[True, True], False, 8, [2, True], 0]


def test_requests_to_a_worker_that_ends_fail(hub: Hub) -> None:
    """B-01 C-08: killed or shut down; each future settles once, and others are not touched."""
    outcome = hub.run(
        body(
            """
    async with WorkerPool(2, initializer=handlers) as pool:
        first, second = await numbers(pool)
        channel = pool.channel("test")
        settled = []
        def counted(future):
            future.add_done_callback(lambda future: settled.append(future))
            return future
        lost = [counted(channel.request("waits", worker=first)) for _ in range(5)]
        lost.append(counted(channel.request("exit", worker=first)))
        kept = counted(channel.request("waits", worker=second))
        await reported(kept)
        ends = [await failure(future) for future in lost]
        alive = not kept.done(), await channel.request("twice", 1, worker=second)
    try:
        channel.request("twice", worker=second)
    except RuntimeError as error:
        refused = str(error)
    said = "worker {} ended before it answered: {}".format
    return (
        [end[0] for end in ends], ends[0][1].startswith(said(first, "")), alive,
        await failure(kept) == ("WorkerLost", said(second, "the pool was shut down")),
        len(settled), refused, channel.stats().pending,
    )
"""
        )
    )
    refused = "cannot submit to a pool that is shut down"
    assert outcome == [["WorkerLost"] * 6, True, [True, 2], True, 7, refused, 0]


def test_what_a_dead_worker_has_asked_is_dropped(hub: Hub) -> None:
    """C-08: the hub's handler is cancelled."""
    outcome = hub.run(
        body(
            """
    async def ask():
        await task.channel("test").request("waits", timeout=None)
    async with WorkerPool(1) as pool:
        began, ended = asyncio.Event(), asyncio.Event()
        async def waits(message):
            began.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()
        channel = pool.channel("test")
        channel.on("waits", waits)
        future = pool.submit(ask)
        await began.wait()
        pool.kill(future)
        await ended.wait()
        return channel.stats().answering, await pool.submit(abs, -3)
"""
        )
    )
    assert outcome == [0, 3]


def test_messages_without_an_answer_come_in_order(hub: Hub) -> None:
    """B-02: both ways; one that nobody handles is logged where it was sent."""
    outcome = hub.run(
        body(
            """
    import logging
    def sums():
        sys.total = []
        channel = task.channel("sums")
        channel.on("add", lambda message: sys.total.append(message.payload))
        channel.on("total", lambda message: sys.total)
    def tell(count):
        for n in range(count):
            task.channel("sums").post("told", n)
    records = []
    class Records(logging.Handler):
        def emit(self, record):
            records.append((record.getMessage(), type(record.exc_info[1]).__name__))
    handler = Records()
    logging.getLogger("pyworkers").addHandler(handler)
    async with WorkerPool(2, initializer=sums) as pool:
        first, second = await numbers(pool)
        channel = pool.channel("sums")
        told = []
        channel.on("told", lambda message: told.append((message.payload, message.id)))
        for n in range(100):
            channel.post("add", n)
        channel.post("add", "one", worker=first)
        channel.post("nothing", worker=second)
        totals = [await channel.request("total", worker=worker) for worker in (first, second)]
        await pool.submit(tell, 100)
        logging.getLogger("pyworkers").removeHandler(handler)
        return (
            totals[0] == [*range(100), "one"], totals[1] == [*range(100)],
            told == [(n, None) for n in range(100)], records, channel.stats().failed, second,
        )
"""
        )
    )
    second = outcome.pop()
    text = f"worker {second} failed with the message 'nothing' on channel 'sums'"
    assert outcome == [True, True, True, [[text, "NoHandler"]], 1]


def test_a_task_that_waits_for_its_hub_can_be_cancelled(hub: Hub) -> None:
    """B-01 B-03 X-02: softly, plain function or coroutine; its request goes with it."""
    blocks = hub.mode == "shared" or hub.run("return capabilities().jspi")
    outcome = hub.run(
        body(
            """
    def ask():
        channel = task.channel("test")
        future = channel.request("waits", timeout=None)
        future.add_progress_callback(lambda *_: channel.post("waiting"))
        return future
    def plain():
        ask().result()
    async def awaits():
        await ask()
    outcome = []
    async with WorkerPool(1, grace=60) as pool:
        pid = await pool.submit(os.getpid)
        for function in (plain, awaits) if blocks else (awaits,):
            waiting, ended = asyncio.Event(), asyncio.Event()
            async def waits(message):
                message.progress(0)
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.set()
            pool.channel("test").on("waits", waits)
            pool.channel("test").on("waiting", lambda message, event=waiting: event.set())
            future = pool.submit(function)
            await waiting.wait()
            future.cancel(running=True)
            await ended.wait()
            outcome.append(await pool.submit(os.getpid) == pid)
    return outcome
"""
        ),
        blocks=blocks,
    )
    assert outcome == ([True, True] if blocks else [True])


def test_early_requests_wait_for_the_initializer(hub: Hub) -> None:
    """C-08: which may itself ask the hub."""
    outcome = hub.run(
        body(
            """
    async def initializer():
        given = await task.channel("test").request("what")
        task.channel("test").on("given", lambda message: given)
    async with WorkerPool(1, initializer=initializer) as pool:
        channel = pool.channel("test")
        channel.on("what", lambda message: "this")
        warm = pool.warm_up()
        (future,) = channel.broadcast("given")
        answer = await future
        await warm
        return answer
"""
        )
    )
    assert outcome == "this"


def test_messages_carry_what_is_kept(hub: Hub) -> None:
    """C-08 X-04: an object that is kept, and a shared array, as arguments of tasks do."""
    outcome = hub.run(
        """
        kept = []
        def prepare():
            from pyworkers import task
            channel = task.channel("kept")
            seen = []
            def write(message):
                message.payload[0] = 7
                seen.append(message.payload)
            channel.on("take", lambda message: sum(message.payload["values"]))
            channel.on("write", write)
            channel.on("sum", lambda message: sum(seen[0][i] for i in range(3)))
            channel.on("give", lambda message: seen[0])
            channel.on("drop", lambda message: seen.clear())
        async def swap(n):
            from pyworkers import task
            got = await task.channel("kept").request("more", n)
            return sum(got)
        async with WorkerPool(1, initializer=prepare) as pool:
            channel = pool.channel("kept")
            channel.on("more", lambda message: pool.put(list(range(message.payload))))
            early = pool.submit(os.getpid)  # starts the worker, which is not ready yet
            (worker,) = [w.number for w in pool.workers()]
            first = channel.request("take", {"values": pool.put([1, 2, 3])}, worker=worker)
            five = pool.put(range(5))
            sums = [await first, await channel.request("take", {"values": five}, worker=worker)]
            del five
            sums.append(await pool.submit(swap, 5))
            await early
            if pool.mode == "shared":
                array = SharedArray(3, "int32", mode=pool.mode)
                array[1] = 20
                before = pool.memory().used
                channel.post("write", array, worker=worker)
                del array
                for _ in range(3):
                    sums.append(await channel.request("sum", worker=worker))
                again = await channel.request("give", worker=worker)
                again[2] = 100
                sums.append(await channel.request("sum", worker=worker))
                del again
                await channel.request("drop", worker=worker)
                while pool.memory().used >= before:
                    await pool.submit(os.getpid)
        return sums
        """
    )
    more = [27, 27, 27, 127] if hub.mode == "shared" else []
    assert outcome == [6, 10, 10, *more]


def test_a_task_that_waits_for_its_own_worker_ends_by_its_timeout(hub: Hub) -> None:
    """C-08 X-01: a coroutine lets its worker do what it asks for; a plain function cannot."""
    found = hub.run(
        """
        def blocks():
            return task.channel("nested").request("more", timeout=0.5).result()
        async def awaits():
            return await task.channel("nested").request("more", timeout=20)
        async with WorkerPool(1) as pool:
            pool.channel("nested").on("more", lambda message: pool.submit(abs, -3))
            answers = [await pool.submit(awaits)]
            if can_block:
                try:
                    await pool.submit(blocks)
                except TimeoutError:
                    answers.append("late")
            answers.append(await pool.submit(abs, -2))
        return answers
        """,
        can_block=hub.can_block,
    )
    assert found == ([3, "late", 2] if hub.can_block else [3, 2])
