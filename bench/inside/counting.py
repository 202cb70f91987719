"""Loops that add 1 to something shared; each returns how many seconds it took."""

from time import perf_counter
from typing import Any

from pyodide.code import run_js

from pyworkers import SharedArray
from pyworkers.sync import SharedCounter, SharedProgress


def counter(shared: SharedCounter, count: int) -> float:
    """Over a counter."""
    began = perf_counter()
    for _ in range(count):
        shared.add()
    return perf_counter() - began


counter32 = counter


def progress(shared: SharedProgress, count: int) -> float:
    """Over a progress."""
    began = perf_counter()
    for _ in range(count):
        shared.increment()
    return perf_counter() - began


def crossing(shared: None, count: int) -> float:
    """Calls into JavaScript, and does nothing there."""
    call = run_js("(number) => number")
    began = perf_counter()
    for _ in range(count):
        call(1)
    return perf_counter() - began


def array(shared: SharedArray, count: int) -> float:
    """Over an element of an array."""
    began = perf_counter()
    for _ in range(count):
        shared.add(0, 1)
    return perf_counter() - began


def value(shared: Any, count: int) -> float:
    """As with multiprocessing."""
    began = perf_counter()
    for _ in range(count):
        with shared.get_lock():
            shared.value += 1
    return perf_counter() - began
