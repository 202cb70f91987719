"""What the tests of a pool in mode inline have it run, and what that leaves behind for them."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from pyworkers import WorkerPool
from pyworkers._worker import Worker


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test in an event loop, and fails it rather than let it wait for ever."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 10))

    return run


log: list[Any] = []
"""What functions note that tasks call by name: they run in this very interpreter."""

here: dict[str, Any] = {}
"""What tasks use of this interpreter."""


class Gate:
    """An event that each test finds closed, and in the event loop of its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()


gate = Gate()


def note(item: Any) -> Any:
    log.append(item)
    return item


def square(n: int) -> int:
    return n * n


def inverse(n: float) -> float:
    return 1 / n


async def pass_gate(result: Any = None) -> Any:
    """A task, or an initializer, that takes until a test opens the gate."""
    await gate.wait()
    return result


async def later(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


class GatedPool(WorkerPool):
    """Opens the gate when a test fails, which would else wait for its tasks for ever."""

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            gate.set()
        await super().__aexit__(kind, error, trace)


def closed_pool(**options: Any) -> WorkerPool:
    """A pool whose worker is not ready before the gate opens: what is submitted stays queued."""
    return GatedPool(initializer=pass_gate, **options)


def verbs(pool: WorkerPool) -> list[Callable[..., object]]:
    return [pool.submit, pool.submit_with, pool.map]


class Choosy(Exception):
    """Can be pickled, and not be read back, as many exceptions with arguments of their own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Clinging(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("it clings")
        self.lock = threading.Lock()


def fail_choosily(_: object = None) -> None:
    raise Choosy(7, "too bad")


def cling(_: object = None) -> None:
    raise Clinging


class Listed(Worker):
    """A worker that a test or a task can reach."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        here["worker"] = self
