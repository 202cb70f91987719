"""What a careful user of comlink would write in Python."""

from collections.abc import Awaitable, Callable
from typing import Any

from pyodide.ffi import run_sync


def by_stack_switching(call: Callable[[], Awaitable[object]]) -> Callable[[], object]:
    """Makes a blocking function of an awaitable one."""
    return lambda: run_sync(call())


def swap_often(swap: Callable[[], object], swaps: int) -> None:
    """Answers: each swap gives the answer to the last and waits for the next."""
    for _ in range(swaps):
        swap()


def length(array: Any) -> int:
    """Copies a typed array into a bytes object, as Python code needs it."""
    return len(array.to_bytes())


def post_all(post: Callable[[bytes], object], count: int, payload: bytes) -> None:
    """Posts so many messages."""
    for _ in range(count):
        post(payload)


class Counter:
    """Counts messages."""

    def __init__(self) -> None:
        self.count = 0

    def receive(self, array: Any) -> int:
        """Takes a message, as bytes; returns how many there were."""
        array.to_bytes()
        self.count += 1
        return self.count
