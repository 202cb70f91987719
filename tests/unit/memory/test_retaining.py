"""What a worker tells of objects that it goes on using."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pyworkers import SharedArray, _codec, _shared_array
from pyworkers._arena import LocalArena
from pyworkers._channels.memory import MemoryLink
from pyworkers._protocol import Kind
from pyworkers._store import ArenaStore, Block, stores
from pyworkers._worker import Worker
from tests.unit.memory.tools import here, keep_here

pytestmark = pytest.mark.timeout(60)


class Apart:
    """A worker that has a store of its own in the arena of its hub, and a test as that hub."""

    def __init__(self) -> None:
        self.arena = LocalArena()
        self._own = ArenaStore(self.arena, is_hub=True)
        self.block: Block | None = self._own.own(self.arena.allocate(8))
        self._store = ArenaStore(self.arena, is_hub=False)
        self._hub_end = MemoryLink()
        self.link = self._hub_end.connect(1, lambda: None)
        self.worker = Worker(self.link, 1, self._store, is_apart=True)
        self._functions: dict[Callable[..., Any], int] = {}

    def send(self, function: Callable[..., Any], *, given: bool = False) -> None:
        """Has the worker run a task, which is given an array or nothing."""
        id = self._functions.setdefault(function, len(self._functions) + 1)
        self._hub_end.send(1, Kind.FUNCTION, id, _codec.encode_function(function)[0])
        args: tuple[Any, ...] = ()
        if given:
            assert self.block is not None
            stores["other"] = self._own
            args = (_shared_array.attach("other", self.block.id, (1,), "q"),)
        call = _codec.encode((id, args, {}))[0]
        self._hub_end.send(1, Kind.TASK, 1, call)
        del args
        stores["other"] = self._store
        self.worker.step()

    def heard(self) -> list[Kind]:
        return [Kind(frame.kind) for frame in self._hub_end.receive(0)]


def look_at(made: SharedArray) -> int:
    return int(made[0])


def return_it(made: SharedArray) -> SharedArray:
    return made


def fail_here(made: SharedArray) -> None:
    here["made"] = made
    raise LookupError


def drop_here() -> None:
    del here["made"]


async def keep_here_later(made: SharedArray) -> None:
    await here["gate"].wait()
    here["made"] = made


async def drop_here_later() -> None:
    await here["gate"].wait()
    del here["made"]


def test_a_worker_tells_of_what_it_goes_on_using_before_its_task_ends() -> None:
    apart = Apart()
    apart.send(look_at, given=True)
    assert apart.heard() == [Kind.RESULT]
    apart.send(keep_here, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.RESULT]
    apart.send(look_at, given=True)
    assert apart.heard() == [Kind.RESULT]
    apart.send(drop_here)
    assert apart.heard() == [Kind.RESULT, Kind.RELEASE]
    apart.send(fail_here, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.ERROR]


def test_a_result_is_told_of_before_and_released_after_it() -> None:
    apart = Apart()
    apart.send(return_it, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.RESULT, Kind.RELEASE]


def test_a_worker_tells_of_what_a_coroutine_goes_on_using() -> None:
    async def main() -> None:
        here["gate"] = asyncio.Event()
        apart = Apart()
        apart.send(keep_here_later, given=True)
        apart.send(int)
        here["gate"].set()
        heard = apart.heard()
        while heard.count(Kind.RESULT) < 2:
            await asyncio.sleep(0)
            heard += apart.heard()
        assert heard.count(Kind.RETAIN) == 1
        assert heard[-1] is Kind.RESULT

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_worker_tells_at_once_of_what_a_coroutine_dropped() -> None:
    async def main() -> None:
        here["gate"] = asyncio.Event()
        apart = Apart()
        apart.send(keep_here, given=True)
        apart.send(drop_here_later)
        assert apart.heard() == [Kind.RETAIN, Kind.RESULT, Kind.PARKED]
        here["gate"].set()
        heard: list[Kind] = []
        while Kind.RESULT not in heard:
            await asyncio.sleep(0)
            heard += apart.heard()
        assert heard == [Kind.RESULT, Kind.RELEASE]

    asyncio.run(asyncio.wait_for(main(), 10))
