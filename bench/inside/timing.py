"""The loops that time calls: the same for pyworkers and for its peers."""

from collections.abc import Awaitable, Callable
from time import perf_counter


def blocking(call: Callable[[], object], calls: int) -> list[float]:
    """Calls again and again; returns the clock before, between and after, in seconds."""
    times = [perf_counter()]
    for _ in range(calls):
        call()
        times.append(perf_counter())
    return times


async def awaited(call: Callable[[], Awaitable[object]], calls: int) -> list[float]:
    """Like ``blocking``, awaiting each call."""
    times = [perf_counter()]
    for _ in range(calls):
        await call()
        times.append(perf_counter())
    return times
