"""Messages in mode inline, where handlers of both sides run in the calling thread.

What these tests say of channels, errors and limits holds in the other modes too; that of the
conversation's rules is tested between two messengers without anything below them.
"""

import asyncio
import contextlib
import functools
import logging
import pickle
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pyworkers import (
    Future,
    Message,
    ModeError,
    NoHandler,
    PayloadError,
    QueueFull,
    WorkerLost,
    WorkerPool,
    page,
    task,
)
from pyworkers._messages import Channel, Messenger
from pyworkers._pickled import Pickled
from pyworkers._pool_messages import PoolChannel
from pyworkers._protocol import Kind
from pyworkers.errors import ProtocolError, RemoteTraceback

pytestmark = pytest.mark.timeout(30)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test in an event loop, and fails it rather than let it wait for ever."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 10))

    return run


def twice(message: Message) -> Any:
    message.progress(1, 2, "half")
    return message.payload * 2


async def later(message: Message) -> Any:
    await asyncio.sleep(0)
    return message.payload * 2


async def never(message: Message) -> None:
    message.progress(0)
    await asyncio.sleep(3600)


def fails(message: Message) -> None:
    raise KeyError(message.payload)


def iter_nothing() -> Iterator[None]:
    """Something that cannot be pickled."""
    return (nothing for nothing in [None])


def register() -> None:
    channel = task.channel("test")
    for handler in (twice, later, never, fails):
        channel.on(handler.__name__, handler)


def ask(kind: str, payload: Any) -> Any:
    return task.channel("test").request(kind, payload).result()


async def ask_async(kind: str, payload: Any) -> Any:
    return await task.channel("test").request(kind, payload)


def opened(pool: WorkerPool) -> tuple[PoolChannel, int]:
    """The channel to a pool's worker, which is ready, and its number."""
    pool.warm_up().result()
    return pool.channel("test"), pool.workers()[0].number


def test_both_sides_answer_without_an_event_loop() -> None:
    """B-01 B-02 B-06"""
    with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        channel.on("twice", twice)
        channel.on("later", later)
        for kind in ("twice", "later"):
            assert channel.request(kind, 21, worker=worker).result() == 42
            assert [future.result() for future in channel.broadcast(kind, "a")] == ["aa"]
            assert pool.submit(ask, kind, 4).result() == 8
            assert pool.submit(ask_async, kind, 5).result() == 10
        assert channel.stats().sent == channel.stats().received == 4
        assert repr(channel) == ("<Channel 'test' of the hub: handles 'twice', 'later', 0 pending>")


@in_loop
async def test_both_sides_answer_within_an_event_loop() -> None:
    """B-01 B-02 B-06"""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        channel.on("twice", twice)
        channel.on("later", later)
        heard: list[Any] = []
        for kind in ("twice", "later"):
            future = channel.request(kind, 21, worker=worker)
            future.add_progress_callback(lambda *progress: heard.append(progress))
            assert await future == 42
            assert await pool.submit(ask_async, kind, 5) == 10
        assert heard == [(1, 2, "half")]
        assert await pool.submit(ask, "twice", 4) == 8
        with pytest.raises(ModeError, match="async def"):
            await pool.submit(ask, "later", 4)


@in_loop
async def test_errors_are_the_requesters() -> None:
    """B-01 C-08"""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        with pytest.raises(KeyError, match="a") as raised:
            await channel.request("fails", "a", worker=worker)
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        assert "in fails" in raised.value.__cause__.text
        with pytest.raises(NoHandler, match=r"worker .* has no handler for 'x' on channel 'test'"):
            await channel.request("x", worker=worker)
        with pytest.raises(LookupError, match="the hub has no handler for 'twice' on channel"):
            await pool.submit(ask_async, "twice", 1)
        with pytest.raises(PayloadError, match="'twice' on channel 'test' cannot be sent"):
            await channel.request("twice", iter_nothing(), worker=worker)
        with pytest.raises(PayloadError, match="cannot be sent"):
            channel.post("twice", iter_nothing())
        channel.on("twice", lambda message: iter_nothing())
        with pytest.raises(PayloadError, match="what the handler of 'twice' returned"):
            await pool.submit(ask_async, "twice", 1)
        with pytest.raises(WorkerLost, match="worker 99999 ended before it answered"):
            await channel.request("twice", worker=99999)
        assert channel.stats().pending == 0


def test_a_missing_handler_survives_the_way_to_another_interpreter() -> None:
    """C-08"""
    error = NoHandler("worker 3", "crypto", "hash")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "worker 3 has no handler for 'hash' on channel 'crypto'"
    assert (copy.where, copy.channel, copy.kind) == ("worker 3", "crypto", "hash")


@in_loop
async def test_a_time_out_of_range_is_refused() -> None:
    """B-01"""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
                channel.request("twice", 1, worker=worker, timeout=timeout)
        with pytest.raises(ValueError, match="retries must be 0 or more, not -1"):
            channel.request("twice", 1, worker=worker, retries=-1)


@in_loop
async def test_a_late_answer_is_a_time_out() -> None:
    """B-01: on either side."""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        channel.on("never", never)
        with pytest.raises(TimeoutError, match=r"worker .* did not answer 'never' on channel"):
            await channel.request("never", worker=worker, timeout=0.01)

        async def impatient() -> None:
            await task.channel("test").request("never", timeout=0.01)

        with pytest.raises(TimeoutError, match="the hub did not answer 'never'"):
            await pool.submit(impatient)
        assert (channel.stats().timed_out, channel.stats().pending) == (1, 0)


@in_loop
async def test_a_full_channel_has_room_again_when_a_request_is_over() -> None:
    """B-01"""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        channel.max_pending = 1
        await channel.room()
        future = channel.request("never", worker=worker)
        with pytest.raises(QueueFull, match="its max_pending says"):
            channel.request("twice", 1, worker=worker)
        waiting = asyncio.ensure_future(channel.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert future.cancel()
        await waiting
        assert await channel.request("twice", 1, worker=worker) == 2


@in_loop
async def test_the_end_of_the_pool_ends_its_requests() -> None:
    """B-01"""
    async with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        future = channel.request("never", worker=worker)
    with pytest.raises(WorkerLost, match="it answered: the pool was shut down") as lost:
        await future
    assert (lost.value.worker, lost.value.task) == (worker, None)
    for send in (channel.post, channel.broadcast, functools.partial(channel.request, worker=1)):
        with pytest.raises(RuntimeError, match="shut down"):
            send("twice")


@in_loop
async def test_a_handler_can_be_replaced_and_ended() -> None:
    """B-02"""
    async with WorkerPool(initializer=register) as pool:
        channel = pool.channel("test")
        end_first = channel.on("it", lambda message: 1)
        end_second = channel.on("it", lambda message: 2)
        end_first()
        assert await pool.submit(ask_async, "it", None) == 2
        end_second()
        end_second()
        with pytest.raises(NoHandler):
            await pool.submit(ask_async, "it", None)


def test_a_post_that_fails_is_logged_where_it_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    """B-02 C-08"""
    with WorkerPool(initializer=register) as pool:
        channel, _ = opened(pool)
        channel.post("twice", 1)
        channel.post("fails", "why")
        channel.post("nothing", worker=99999)
        pool.submit(lambda: task.channel("test").post("nothing")).result()
        assert channel.stats().failed == 1
    assert [record.getMessage().partition(" failed")[2] for record in caplog.records] == [
        " with the message 'fails' on channel 'test'",
        " with the message 'nothing' on channel 'test'",
    ]


def test_messages_are_logged_for_who_wants_to_see_all(caplog: pytest.LogCaptureFixture) -> None:
    """B-01"""
    caplog.set_level(logging.DEBUG, "pyworkers")
    with WorkerPool(initializer=register) as pool:
        channel, worker = opened(pool)
        caplog.clear()
        channel.request("twice", 1, worker=worker).result()
    assert caplog.messages[:2] == [
        f"request from the hub to worker {worker}: 'twice' on channel 'test'",
        f"response from worker {worker} to the hub: 'twice' on channel 'test'",
    ]


def test_a_channel_of_a_task_is_only_where_tasks_run() -> None:
    """B-02"""
    with pytest.raises(ModeError, match=r"where the pool is, use `pool\.channel`"):
        task.channel("test")


def test_a_handler_of_a_worker_is_outside_of_tasks() -> None:
    """B-02: whatever ran before it; a pool cannot be made there."""

    def told(message: Message) -> Any:
        task.progress(1)
        task.channel("test").on("nested", lambda message: "nested")
        try:
            WorkerPool()
        except ModeError:
            return task.cancelled()

    def register_it() -> None:
        task.channel("test").on("told", told)

    with WorkerPool(initializer=register_it) as pool:
        channel, worker = opened(pool)
        pool.submit(abs, -1).result()
        assert channel.request("told", worker=worker).result() is False
        assert channel.request("nested", worker=worker).result() == "nested"


class Wire(Pickled):
    """A side whose other side is in the same list of two; everything waits to be carried over."""

    def __init__(self, name: str, peer: int) -> None:
        self.name = name
        self.peer = peer
        self.waiter: Any = None
        self.sent: deque[tuple[Kind, int, Any, float]] = deque()
        self.reminders: list[float] = []
        self.remind = self.reminders.append
        self.messenger = Messenger(self)

    def send(self, peer: int, kind: Kind, id: int, value: Any, number: float) -> None:
        self.sent.append((kind, id, value, number))

    def flush(self) -> None:
        pass

    def after(self, call: Callable[[], object]) -> None:
        call()

    def apart(self, call: Callable[[], object]) -> None:
        call()

    def beside(self, work: Any, then: Any) -> None:
        work.close()  # a handler that never comes to its end

    def undisturbed(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def called(self, peer: int) -> str:
        return f"worker {peer}"

    def number_of(self, peer: int) -> int | None:
        return peer


class Wires:
    """Two sides, and the frames between them, which the test carries over."""

    def __init__(self) -> None:
        self.asking, self.answering = Wire("asking", 2), Wire("answering", 1)
        self.channel = self.asking.messenger.channels["test"] = Channel(
            "test", self.asking.messenger
        )
        self.handlers = self.answering.messenger.channels["test"] = Channel(
            "test", self.answering.messenger
        )

    def request(self, kind: str, timeout: float | None = 30.0, retries: int = 0) -> Future[Any]:
        return self.asking.messenger.request(self.channel, 2, kind, 1, timeout, retries)

    def carry(self) -> list[str]:
        """Carries over all that was sent, both ways; returns the kinds."""
        kinds = []
        for wire, other in ((self.asking, self.answering), (self.answering, self.asking)):
            while wire.sent:
                kind, id, value, number = wire.sent.popleft()
                kinds.append(kind.name)
                other.messenger.handle(
                    kind, other.peer, id, number, functools.partial(pickle.loads, value[0])
                )
        return kinds


def settled(future: Future[Any]) -> list[Any]:
    """What a future is settled with, each time it is."""
    times: list[Any] = []
    future.add_done_callback(times.append)
    return times


def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """B-01: the future settles once."""
    wires = Wires()
    wires.handlers.on("twice", twice)
    future = wires.request("twice", timeout=1.0)
    times = settled(future)
    (deadline,) = wires.asking.reminders
    assert wires.asking.messenger.tick(deadline) is None
    with pytest.raises(TimeoutError, match="did not answer 'twice' on channel 'test' within 1 s"):
        future.result()
    assert wires.carry() == ["REQUEST", "WITHDRAW", "REPORT", "RESPONSE"]
    assert len(times) == 1


def test_a_retry_is_the_same_request_and_any_answer_counts() -> None:
    """B-01"""
    wires = Wires()
    future = wires.request("never", timeout=1.0, retries=1)
    times = settled(future)
    wires.handlers.on("never", never)
    assert wires.carry() == ["REQUEST"]
    assert wires.handlers.stats().answering == 1
    wires.asking.messenger.tick(wires.asking.reminders[-1])
    wires.handlers.on("never", twice)
    assert wires.carry() == ["WITHDRAW", "REQUEST", "REPORT", "RESPONSE"]
    assert future.result() == 2
    assert wires.asking.messenger.tick(wires.asking.reminders[-1]) is None
    assert len(times) == 1
    assert (wires.channel.stats().sent, wires.handlers.stats().received) == (1, 2)


def test_a_future_is_answered_when_it_is_done_and_cancelled_when_nobody_waits() -> None:
    """B-01"""
    wires = Wires()
    taken_back: list[int] = []

    def take_back(task: int, running: bool) -> bool:
        taken_back.append(task)
        return True

    found: list[Future[int]] = [Future(wires.answering.waiter, n, take_back) for n in range(4)]
    done = iter(found)
    wires.handlers.on("next", lambda _: next(done))
    answered, failed, withdrawn, lost = (wires.request("next") for _ in found)
    assert wires.carry() == ["REQUEST"] * 4
    found[0].set_result(42)
    found[1].set_exception(LookupError("none"))
    assert withdrawn.cancel()
    assert wires.carry() == ["WITHDRAW", "RESPONSE", "FAILURE"]
    wires.answering.messenger.lost(1, WorkerLost(1, None, "gone"))
    assert answered.result() == 42
    assert isinstance(failed.exception(), LookupError)
    assert taken_back == [2, 3]
    assert wires.carry() == []
    assert not lost.done()
    assert wires.handlers.stats().answering == 0


def test_a_request_that_is_withdrawn_before_it_is_handled_is_not_handled() -> None:
    """B-01: and its answer is nobody's."""
    wires = Wires()
    handled: list[Any] = []
    wires.handlers.on("note", handled.append)
    later: list[Callable[[], object]] = []
    wires.answering.after = later.append  # type: ignore[assignment, method-assign]
    future = wires.request("note")
    assert future.cancel()
    assert future.cancelled()
    assert wires.carry() == ["REQUEST", "WITHDRAW"]
    for call in later:
        call()
    assert handled == []
    assert wires.carry() == []


def test_who_is_lost_fails_what_it_was_asked_and_drops_what_it_asked() -> None:
    """B-01 C-08"""
    wires = Wires()
    future = wires.request("never")
    times = settled(future)
    wires.handlers.on("never", never)
    wires.carry()
    wires.asking.messenger.lost(2, WorkerLost(2, None, "gone"))
    wires.answering.messenger.lost(1, WorkerLost(1, None, "gone"))
    assert str(future.exception()) == "worker 2 ended before it answered: gone"
    assert wires.handlers.stats().answering == 0
    assert len(times) == 1


def test_what_cannot_be_read_is_a_failure_of_the_sender() -> None:
    """B-01"""
    wires = Wires()
    future = wires.request("twice")
    (frame,) = wires.asking.sent
    wires.asking.sent.clear()
    kind, id, _, number = frame

    def unreadable() -> Any:
        raise PayloadError("ModuleNotFoundError: No module named 'absent'")

    wires.answering.messenger.handle(kind, 1, id, number, unreadable)
    wires.carry()
    with pytest.raises(PayloadError, match="cannot be read by answering: ModuleNotFoundError"):
        future.result()


def test_who_answers_for_somebody_else_breaks_the_protocol() -> None:
    """A-07 C-08"""
    wires = Wires()
    wires.request("twice")
    with pytest.raises(ProtocolError, match="worker 7 spoke of request 1"):
        wires.asking.messenger.handle(Kind.RESPONSE, 7, 1, 0.0, lambda: None)


def test_a_channel_to_a_page_is_only_where_there_is_one() -> None:
    """B-02"""
    with pytest.raises(ModeError, match="there is no page to talk with"):
        page.channel("test")
