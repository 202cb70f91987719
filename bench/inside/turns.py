"""Two workers that take turns, and what a lock costs one of them."""

from collections.abc import Callable
from time import perf_counter

from pyodide.code import run_js

from pyworkers import SharedArray
from pyworkers.sync import Lock, Semaphore

_BARE = """
(words, me, rounds) => {
  for (let i = 0; i < rounds; i++) {
    const turn = 2 * i + me;
    for (let now = Atomics.load(words, 0); now !== turn; now = Atomics.load(words, 0)) {
      Atomics.wait(words, 0, now, 1000);
    }
    Atomics.store(words, 0, turn + 1);
    Atomics.notify(words, 0, 1);
  }
}
"""


def each(call: Callable[[], object], times: int) -> float:
    """Returns how many seconds a call takes."""
    started = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - started) / times


def crossing(times: int) -> float:
    """Calls into JavaScript, for a number."""
    return each(run_js("() => 1"), times)


def pair(lock: Lock, times: int) -> float:
    """Takes a lock that nobody else wants, and releases it."""
    acquire, release = lock.acquire, lock.release
    started = perf_counter()
    for _ in range(times):
        acquire()
        release()
    return (perf_counter() - started) / times


def block(lock: Lock, times: int) -> float:
    """The same by ``with``."""
    started = perf_counter()
    for _ in range(times):
        with lock:
            pass
    return (perf_counter() - started) / times


def take_turns(mine: Semaphore, other: Semaphore, rounds: int) -> float:
    """Waits for the other worker and lets it go on; returns the seconds of each turn."""
    started = perf_counter()
    for _ in range(rounds):
        mine.acquire()
        other.release()
    return (perf_counter() - started) / (2 * rounds)


def take_bare_turns(words: SharedArray, me: int, rounds: int) -> float:
    """The same in JavaScript, with nothing but the words."""
    started = perf_counter()
    run_js(_BARE)(words._cells.items, me, rounds)
    return (perf_counter() - started) / (2 * rounds)
