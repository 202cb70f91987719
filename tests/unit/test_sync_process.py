"""Processes, pools and contexts in mode inline, where a process runs while it is started."""

import asyncio
import itertools
import os
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyworkers import ModeError, PayloadError, sync
from tests.programs import INLINE, on_cpython

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("name", INLINE)
def test_a_program_does_what_it_does_on_cpython(name: str) -> None:
    """X-05"""
    # Each function of it has globals of its own, as in a worker: they travel by value.
    scope: dict[str, Any] = {"__name__": "program", "ctx": sync.get_context(), "wait": sync.wait}
    exec(INLINE[name], scope)
    outcome = as_json(scope["main"]())
    expected = on_cpython(INLINE[name])
    if name == "pool":
        assert outcome.pop() == 1  # one interpreter
        assert expected.pop() == 2
    assert outcome == expected


def as_json(value: Any) -> Any:
    return [as_json(item) for item in value] if isinstance(value, tuple | list) else value


def fails() -> None:
    raise LookupError("none")


async def fails_later() -> None:
    await asyncio.sleep(0)
    sys.exit("some text")


def test_what_a_process_raises_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """X-05: behind its name, as multiprocessing does."""
    processes = [sync.Process(target=target, name="it") for target in (fails, fails_later)]
    for process in processes:
        process.start()
        process.join()
    assert [process.exitcode for process in processes] == [1, 1]
    printed = capsys.readouterr().err
    assert printed.startswith("Process it:\nTraceback (most recent call last):\n")
    assert "LookupError: none\n" in printed
    assert printed.endswith("some text\n")


def test_what_cannot_be_sent_is_the_starters_error() -> None:
    """X-05: and the process can be started again."""
    process = sync.Process(target=print, args=(iter_nothing(),))
    with pytest.raises(PayloadError, match="argument 1 of main"):
        process.start()
    assert process.exitcode is None
    assert sync.active_children() == []
    process = sync.Process(target=int)
    process.start()
    with pytest.raises(TypeError, match="cannot be sent"):
        pickle.dumps(process)


def iter_nothing() -> Iterator[None]:
    return (nothing for nothing in [None])


def test_a_process_shows_what_becomes_of_it() -> None:
    """X-05"""
    process = sync.Process(name="seen", daemon=True)
    states = [repr(process)]
    process.start()
    process.join()
    states.append(repr(process))
    process.close()
    states.append(repr(process))
    pid = os.getpid()
    assert states == [
        f"<Process name='seen' parent={pid} initial daemon>",
        f"<Process name='seen' pid={pid} parent={pid} stopped exitcode=0 daemon>",
        "<Process name='seen' closed>",
    ]


def test_a_context_says_what_it_has_not() -> None:
    """X-05"""
    context = sync.get_context()
    assert pickle.loads(pickle.dumps(context)) is context
    assert context.Lock is sync.Lock
    assert {"Lock", "Queue", "TimeoutError", "Pool"} <= set(dir(context))
    with pytest.raises(ModeError, match="share a Queue"):
        context.Manager()
    with pytest.raises(AttributeError, match="has no 'reducer'"):
        _ = context.reducer
    for wrong in (context.get_context, context.set_start_method, sync.get_context):
        with pytest.raises(ValueError, match="'spawn' only"):
            wrong("fork")
    context.set_start_method("spawn", force=True)
    assert context.get_all_start_methods() == ["spawn"]


def test_multiprocessing_itself_is_left_alone() -> None:
    """X-05: what looks for it finds what was there."""
    import multiprocessing  # noqa: PLC0415

    assert multiprocessing.Process.__module__ == "multiprocessing.context"


def test_a_pool_refuses_nonsense() -> None:
    """X-05"""
    with pytest.raises(TypeError, match="initializer"):
        sync.Pool(1, initializer=3)  # type: ignore[arg-type]
    with sync.Pool(1) as pool:
        with pytest.raises(ValueError, match="still running"):
            pool.join()
        with pytest.raises(NotImplementedError, match="cannot be passed"):
            pickle.dumps(pool)
        assert repr(pool) == "<Pool state=running pool_size=1>"
    with pytest.raises(ValueError, match="not running"):
        pool.map(abs, [1])
    pool.join()


def test_an_iterable_that_fails_fails_who_takes_results() -> None:
    """X-05: after what was there before."""

    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with sync.Pool(1) as pool:
        for stream in (pool.imap(abs, numbers()), pool.imap_unordered(abs, numbers())):
            assert next(stream) == 1
            with pytest.raises(LookupError, match="no more"):
                next(stream)
            with pytest.raises(StopIteration):
                next(stream)


def test_a_stream_may_be_endless() -> None:
    """X-05: it is read some way ahead."""
    read = []

    def numbers() -> Iterator[int]:
        for n in itertools.count():
            read.append(n)
            yield n

    async def run() -> None:
        with sync.Pool(1) as pool:
            for stream in (pool.imap(abs, numbers()), pool.imap_unordered(abs, numbers(), 2)):
                assert [await anext(stream) for _ in range(3)] == [0, 1, 2]

    asyncio.run(run())
    assert 1000 <= len(read) < 5000


def test_a_pool_that_is_closed_reads_all_there_is() -> None:
    """X-05: and no less where its results are taken late."""
    with sync.Pool(1) as pool:
        stream = pool.imap(abs, iter(range(2500)))
        pool.close()
        pool.join()
        assert list(stream) == list(range(2500))
